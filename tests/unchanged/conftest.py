"""The tiny runs, each once for all tests here."""

import pytest
from kept_runs import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("unchanged"))
