"""A real browser on a page of the disk: headless Chromium, with the network cut off."""

import contextlib
import importlib.util
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = (
    os.environ.get("POINTSSL_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="needs playwright (pip install playwright) and Chromium (or set POINTSSL_CHROMIUM)",
)
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
NO_GL = ["--disable-3d-apis"]


@contextlib.contextmanager
def browsers():
    """A function that starts a Chromium: ``launch(webgl=True)``, without a graphics card."""
    from playwright.sync_api import sync_playwright

    started = []
    with sync_playwright() as play:

        def launch(webgl=True):
            flags = [*_ARGUMENTS, *(SOFTWARE_GL if webgl else NO_GL)]
            started.append(play.chromium.launch(executable_path=CHROMIUM, args=flags))
            return started[-1]

        try:
            yield launch
        finally:
            for chromium in started:
                chromium.close()


@contextlib.contextmanager
def opened(chromium, path, *, width=860, height=560, **context):
    """The page in the file ``path``. At the end it must have complained of nothing, and have asked
    for nothing but itself."""
    place = chromium.new_context(viewport={"width": width, "height": height}, **context)
    try:
        page = place.new_page()
        complaints, requests = [], []
        # Software GL remarks that copying a picture is slow; that is no fault of the page.
        page.on("console", lambda m: complaints.append(m.text) if "GPU stall" not in m.text else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        address = Path(path).absolute().as_uri()
        page.goto(address)
        yield page
        assert not complaints, complaints
        assert [url for url in requests if not url.startswith("data:")] == [address]
    finally:
        place.close()


def pixels(locator):
    """``(H, W, 3)`` of a screenshot of an element."""
    with Image.open(io.BytesIO(locator.screenshot())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)
