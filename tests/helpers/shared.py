"""Where the reference values and the real data lie: beside the repository, or $POINTSSL_SHARED."""

import os
from pathlib import Path

import pytest

SHARED = Path(
    os.environ.get("POINTSSL_SHARED") or Path(__file__).resolve().parents[3] / "shared"
).resolve()

needs_shared = pytest.mark.skipif(
    not (SHARED / "golden").is_dir(),
    reason=f"reference values and real data are not at {SHARED} (set POINTSSL_SHARED)",
)
