"""The page in a real browser: it turns, filters, toggles, and runs nothing that it should not."""

import base64
import io
import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import browsers, needs_browser, opened, pixels
from PIL import Image

from pointssl_datasets.base.errors import DataError, UserError
from pointssl_datasets.viewer import part_colours, write_page

EVIL = "<script>document.title='run'</script>"
EVIL_IMAGE = '"><img src=x onerror="document.title=1">'
PARTS = ["box/low", "box/high", "box/side"]
BLUE, ORANGE, GREEN = part_colours(PARTS).astype(int)


def box(seed, points=1500):
    """A tall box whose lower half is part 0, the upper part 1, but one side is part 2."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1, 1, (points, 3)) * (0.4, 1.0, 0.7)
    part = (xyz[:, 1] > 0).astype(np.int64)
    part[xyz[:, 2] > 0.4] = 2
    normals = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    return {"xyz": xyz.astype(np.float32), "normals": normals, "part": part}


def clouds():
    image = np.full((30, 60, 3), (200, 40, 40), dtype=np.uint8)
    rng = np.random.default_rng(9)
    bare = rng.normal(size=(400, 3)).astype(np.float32)
    return [
        {**box(0), "name": "box/first", "label": 0, "image": image},
        {**box(1), "name": "box/second", "label": 0, "caption": "predicted: ball"},
        {"xyz": bare, "name": "ball/third", "label": 1, "colours": rng.random((400, 3))},
        {**box(3), "name": f"evil/{EVIL}", "label": 2, "predicted": box(3)["part"][::-1]},
        {"xyz": bare, "name": EVIL_IMAGE, "label": -1, "caption": EVIL},
    ]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "new folder" / "show.html"
    write_page(
        path, clouds(), title=f"Boxes {EVIL}", subtitle=EVIL_IMAGE,
        classes=["box", "ball", EVIL], parts=PARTS,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def launch():
    with browsers() as start:
        yield start


@pytest.fixture(scope="module")
def chromium(launch):
    return launch()


def near(values, colour, hue=0.06):
    """How many pixels have the colour, at any brightness but black."""
    direction = colour / np.linalg.norm(colour)
    length = np.linalg.norm(values, axis=-1)
    cosine = (values @ direction) / np.maximum(length, 1)
    return int(((cosine > 1 - hue**2) & (length > 40) & (np.ptp(values, axis=-1) > 40)).sum())


def show(page, number=0):
    """Opens a cloud, and stops it."""
    page.locator(".card").nth(number).click()
    page.locator("#canvas").wait_for()
    settle(page)


def stage(page):
    """What the large canvas shows; its rim shows whether it has the focus."""
    return pixels(page.locator("#canvas"))[8:-8, 8:-8]


def settle(page):
    """Until the next images are drawn."""
    page.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def wait_until_true(page, expression, seconds=30):
    """Playwright's own waiting evaluates text inside the page, which the page's policy forbids as
    soon as the first look is not enough."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(20)


STILL = {"reduced_motion": "reduce"}


@needs_browser
def test_thumbnails_are_drawn_with_webgl(chromium, page_file):
    with opened(chromium, page_file) as page:
        assert page.locator("html").get_attribute("data-painter") == "webgl"
        cards = page.locator(".card")
        assert cards.count() == 5
        wait_until_true(page, "document.querySelectorAll('.card')[4].cloud.thumbnailMode")
        values = pixels(cards.nth(1).locator("canvas"))
        for colour in (BLUE, ORANGE, GREEN):
            assert near(values, colour) > 200
        assert cards.nth(0).locator("img").get_attribute("alt") == "Image of box/first"
        assert page.evaluate("document.querySelector('.card img').naturalWidth") == 60


@needs_browser
def test_dragging_turns_the_cloud_and_the_wheel_zooms(chromium, page_file):
    with opened(chromium, page_file, **STILL) as page:
        show(page)
        before = stage(page)
        settle(page)
        assert np.array_equal(before, stage(page))  # it stands still
        box_ = page.locator("#canvas").bounding_box()
        x, y = box_["x"] + box_["width"] / 2, box_["y"] + box_["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 157, y)  # half a turn
        page.mouse.up()
        settle(page)
        turned = stage(page)
        assert (before != turned).any(axis=-1).mean() > 0.02
        assert abs(near(before, GREEN) - near(turned, GREEN)) > 1000  # another side is in sight
        page.keyboard.press("r")
        settle(page)
        assert np.array_equal(before, stage(page))
        page.mouse.wheel(0, 600)
        settle(page)
        far = stage(page)
        assert near(far, ORANGE) < 0.5 * near(before, ORANGE)
        page.get_by_role("button", name="Reset view").click()
        page.mouse.move(x, y)
        page.mouse.down(button="right")
        page.mouse.move(x + 100, y)
        page.mouse.up(button="right")
        settle(page)
        moved = stage(page)
        assert mean_column(moved) == pytest.approx(mean_column(before) + 100, abs=3)


def mean_column(values):
    coloured = np.ptp(values, axis=-1) > 40
    coloured[-60:] = False  # the hint
    return np.nonzero(coloured)[1].mean()


@needs_browser
def test_two_fingers_zoom(chromium, page_file):
    with opened(chromium, page_file, width=390, height=844, has_touch=True, **STILL) as page:
        show(page)
        before = near(stage(page), ORANGE)
        touch = page.context.new_cdp_session(page)

        def fingers(kind, *xs):
            points = [{"x": x, "y": 200, "id": i} for i, x in enumerate(xs)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        fingers("touchStart", 150, 240)
        for gap in range(10, 60, 10):
            fingers("touchMove", 150 - gap, 240 + gap)
        fingers("touchEnd")
        settle(page)
        assert near(stage(page), ORANGE) > 1.5 * before


@needs_browser
def test_a_part_is_switched_off_and_on_in_the_legend(chromium, page_file):
    with opened(chromium, page_file, **STILL) as page:
        show(page)
        before = stage(page)
        entry = page.get_by_role("button", name="high")
        assert entry.get_attribute("aria-pressed") == "true"
        entry.click()
        settle(page)
        without = stage(page)
        assert entry.get_attribute("aria-pressed") == "false"
        assert near(before, ORANGE) > 1000
        assert near(without, ORANGE) == 0
        assert near(without, BLUE) >= near(before, BLUE)
        entry.click()
        settle(page)
        assert np.array_equal(stage(page), before)


@needs_browser
def test_colours_can_be_chosen(chromium, page_file):
    with opened(chromium, page_file, **STILL) as page:
        show(page, 3)
        modes = page.locator("#mode option").all_inner_texts()
        assert modes == [
            "part", "predicted part", "wrong parts", "one colour", "height", "normal",
        ]  # fmt: skip
        seen = {}
        for mode in ("part", "predicted", "errors", "height", "normal"):
            page.select_option("#mode", mode)
            settle(page)
            seen[mode] = stage(page)
        assert all((seen["part"] != seen[m]).any() for m in seen if m != "part")
        assert near(seen["errors"], BLUE) < 100  # right ones are grey
        page.select_option("#mode", "errors")
        right = 100 * (box(3)["part"] == box(3)["part"][::-1]).mean()
        entries = page.locator("#legend button").all_inner_texts()
        assert [text.split() for text in entries] == [
            ["right", f"{right:.0f}%"], ["wrong", f"{100 - right:.0f}%"],
        ]  # fmt: skip
        page.locator("#legend button").last.click()
        settle(page)
        wrong = np.array([213, 94, 0])
        assert near(seen["errors"], wrong) > 1000 > 0 == near(stage(page), wrong)
        top, bottom = np.split(seen["height"][:500], 2)
        yellow, violet = np.array([253, 231, 37]), np.array([68, 1, 84])
        assert near(top, yellow) > 100 > near(bottom, yellow)
        assert near(bottom, violet, 0.1) > 100 > near(top, violet, 0.1)
        show_own = page.locator("#next")
        show_own.click()
        show_own.click()
        assert page.locator("#mode option").first.inner_text() == "part"  # round and round


@needs_browser
@pytest.mark.parametrize(
    ("wanted", "opens"), [("predicted", "predicted"), ("height", "height"), ("errors", "part")]
)
def test_the_colour_it_opens_with(chromium, tmp_path, wanted, opens):
    cloud = {**box(0), "name": "a", "label": 0}
    if wanted == "predicted":
        cloud["predicted"] = np.full(len(cloud["part"]), 1)
    path = tmp_path / "p.html"
    write_page(path, [cloud], title="t", classes=["box"], parts=PARTS, colour_by=wanted)
    with opened(chromium, path, **STILL) as page:
        assert page.locator("#colour").input_value() == opens
        show(page)
        assert page.locator("#mode").input_value() == opens
        if wanted == "predicted":
            assert near(stage(page), ORANGE) > 1000
            assert near(stage(page), BLUE) == 0
            assert page.locator("#legend button").count() == 1


@needs_browser
def test_filter_and_search(chromium, page_file):
    with opened(chromium, page_file) as page:
        names = page.locator(".card:visible")
        assert names.count() == 5
        page.select_option("#filter", label="box (2)")
        assert [c.get_attribute("title") for c in names.all()] == ["box/first", "box/second"]
        page.fill("#search", "SEC")
        assert [c.get_attribute("title") for c in names.all()] == ["box/second"]
        assert page.locator("#count").inner_text() == "1 of 5 clouds"
        page.fill("#search", "nothing like it")
        assert names.count() == 0
        page.get_by_role("button", name="Show all").click()
        assert names.count() == 5
        page.fill("#search", "predicted ball")  # every word, in names, classes and captions
        assert [c.get_attribute("title") for c in names.all()] == ["box/second"]


@needs_browser
def test_keys_and_buttons_go_through_what_is_filtered(chromium, page_file):
    with opened(chromium, page_file, **STILL) as page:
        page.fill("#search", "box/")
        show(page)
        name = page.locator("#name")
        assert name.inner_text() == "box/first"
        assert page.locator("#place").inner_text() == "1 / 2"
        page.keyboard.press("ArrowRight")
        assert name.inner_text() == "box/second"
        assert page.locator("#caption").inner_text() == "predicted: ball"
        page.keyboard.press("ArrowRight")
        assert name.inner_text() == "box/first"
        page.keyboard.press("ArrowLeft")
        assert name.inner_text() == "box/second"
        page.get_by_role("button", name="Previous").click()
        assert name.inner_text() == "box/first"
        assert page.locator("#image img").is_visible()
        page.locator("#size").press("ArrowRight")  # moves the slider alone
        assert name.inner_text() == "box/first"
        page.keyboard.press("Escape")
        assert not page.locator("#viewer").is_visible()
        assert page.evaluate("document.activeElement.title") == "box/first"
        page.keyboard.press("Enter")
        assert page.locator("#viewer").is_visible()


@needs_browser
def test_it_rotates_by_itself_until_told_otherwise(chromium, page_file):
    with opened(chromium, page_file) as page:
        show(page)
        spin = page.locator("#spin")
        assert spin.get_attribute("aria-pressed") == "true"
        first = page.evaluate("view.yaw")
        wait_until_true(page, f"view.yaw > {first} + 0.02")
        spin.click()
        assert spin.get_attribute("aria-pressed") == "false"
        settle(page)
        stopped = page.evaluate("view.yaw")
        page.wait_for_timeout(100)
        assert page.evaluate("view.yaw") == stopped


@needs_browser
def test_names_are_text_and_never_run(chromium, page_file):
    with opened(chromium, page_file, **STILL) as page:
        assert page.title() == f"Boxes {EVIL}"
        assert page.locator(".subtitle").inner_text() == EVIL_IMAGE
        show(page, 3)
        assert page.locator("#name").inner_text() == f"evil/{EVIL}"
        page.keyboard.press("ArrowRight")
        assert page.locator("#name").inner_text() == EVIL_IMAGE
        assert page.locator("#caption").inner_text() == EVIL
        page.keyboard.press("Escape")
        page.select_option("#filter", label=f"{EVIL} (1)")
        assert page.locator(".card:visible b").inner_text() == EVIL
        assert page.title() == f"Boxes {EVIL}"
        assert page.locator("script").count() == 2  # the data and the program


@needs_browser
def test_the_policy_stops_a_foreign_script(chromium, page_file, tmp_path):
    """Were a name ever written unescaped, it would still not run."""
    broken = tmp_path / "broken.html"
    text = page_file.read_text(encoding="utf-8")
    broken.write_text(text.replace("</h1>", "</h1><script>document.title='run'</script>", 1))

    def look():
        with opened(chromium, broken) as page:
            assert page.title() != "run"
            assert page.locator(".card").count() == 5

    with pytest.raises(AssertionError, match="Content Security Policy"):  # it complained
        look()


@needs_browser
def test_without_webgl_the_same_is_drawn_on_a_plain_canvas(launch, chromium, page_file):
    seen = {}

    def look(running, kind):
        with opened(running, page_file, **STILL) as page:
            assert page.locator("html").get_attribute("data-painter") == kind
            show(page, 1)
            seen[kind] = stage(page)
            page.get_by_role("button", name="low").click()
            settle(page)
            assert near(stage(page), BLUE) == 0
            page.keyboard.press("Shift+ArrowRight")
            settle(page)

    look(chromium, "webgl")
    look(launch(webgl=False), "2d")
    difference = np.abs(seen["webgl"] - seen["2d"]).max(axis=-1)
    assert np.median(difference[np.ptp(seen["webgl"], axis=-1) > 40]) < 12
    assert (difference > 60).mean() < 0.02


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(chromium, page_file, scheme):
    with opened(chromium, page_file, color_scheme=scheme, width=390, height=800) as page:
        corner = pixels(page.locator("body"))[5, 5]
        assert (corner.min() > 230) == (scheme == "light")
        assert (corner.max() < 40) == (scheme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390  # fits a phone


@needs_browser
def test_a_page_of_48_clouds_is_small_and_opens_at_once(chromium, tmp_path):
    path = tmp_path / "show.html"
    many = [
        {**box(i, 2048), "name": f"box/{i}", "label": 0, "colours": np.full((2048, 3), 0.5)}
        for i in range(48)
    ]
    write_page(path, many, title="many", classes=["box"], parts=PARTS)
    assert path.stat().st_size < 3e6
    with opened(chromium, path) as page:
        wait_until_true(page, "document.querySelector('.card').cloud.thumbnailMode")
        # In a browser without a graphics card, beside other tests.
        assert page.evaluate("performance.now()") < 5000


class Outline(HTMLParser):
    """The text of the element with a certain id."""

    def __init__(self, wanted):
        super().__init__()
        self.wanted, self.inside, self.text = wanted, False, ""

    def handle_starttag(self, tag, attrs):
        self.inside = dict(attrs).get("id") == self.wanted

    def handle_data(self, data):
        self.text += data if self.inside else ""


def data_of(path):
    outline = Outline("data")
    outline.feed(path.read_text(encoding="utf-8"))
    return json.loads(outline.text)


def decoded(text, kind, columns):
    return np.frombuffer(base64.b64decode(text), kind).astype(float).reshape(-1, columns)


def test_what_is_embedded_is_what_was_given(page_file):
    data = data_of(page_file)
    assert [c["name"] for c in data["clouds"]] == [c["name"] for c in clouds()]
    assert data["parts"] == ["low", "high", "side"]
    for given, stored in zip(clouds(), data["clouds"], strict=True):
        xyz = given["xyz"].astype(float)
        centred = xyz - (xyz.max(axis=0) + xyz.min(axis=0)) / 2
        radius = np.linalg.norm(centred, axis=1).max()
        assert np.abs(decoded(stored["xyz"], "<i2", 3) / 32767 - centred / radius).max() < 2e-5
        assert stored["size"] == pytest.approx(np.ptp(xyz, axis=0), rel=1e-3)
        if "normals" in given:
            found = decoded(stored["normals"], "i1", 3) / 127
            assert np.abs(found - given["normals"]).max() < 0.005
        if "colours" in given:
            assert (
                np.abs(decoded(stored["colours"], "u1", 3) / 255 - given["colours"]).max() < 0.003
            )
        if "part" in given:
            assert np.array_equal(decoded(stored["part"], "u1", 1)[:, 0], given["part"])
    image = data["clouds"][0]["image"].removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(image))) as image:
        assert image.size == (60, 30)
        assert np.abs(np.asarray(image).mean(axis=(0, 1)) - (200, 40, 40)).max() < 4


def test_the_file_refers_to_nothing_outside_it(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text.replace(EVIL_IMAGE, ""))
    assert "http:" not in text
    assert "https:" not in text
    assert list(page_file.parent.iterdir()) == [page_file]  # no temporary file is left


def test_unknown_parts_and_classes_are_none(tmp_path):
    cloud = {"name": "a", "label": 7, "xyz": np.eye(3), "part": np.array([-1, 0, 9])}
    write_page(tmp_path / "p.html", [cloud], title="t", classes=["one"], parts=["leg"])
    stored = data_of(tmp_path / "p.html")["clouds"][0]
    assert stored["label"] == -1
    assert decoded(stored["part"], "u1", 1)[:, 0].tolist() == [255, 0, 255]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xyz": np.full((3, 3), np.nan)}, "a: xyz must be finite"),
        ({"xyz": np.zeros((0, 3))}, "a: xyz must be finite"),
        ({"normals": np.eye(4)[:, :3]}, r"a: normals must be .* \(3, 3\), found \(4, 3\)"),
        ({"part": np.zeros(2)}, "a: part must be 3 numbers"),
    ],
)
def test_wrong_clouds_are_named_and_nothing_is_written(tmp_path, change, message):
    cloud = {"name": "a", "label": 0, "xyz": np.eye(3), **change}
    with pytest.raises(DataError, match=message):
        write_page(tmp_path / "p.html", [cloud], title="t", classes=["one"], parts=["leg"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cloud = {"name": "a", "label": 0, "xyz": np.eye(3)}
    with pytest.raises(UserError, match="could not write"):
        write_page(tmp_path / "file" / "p.html", [cloud], title="t", classes=["one"], parts=[])


def test_part_colours_begin_anew_with_every_category_and_differ_within():
    names = [f"{kind}/{i}" for kind in ("a", "b") for i in range(12)]
    colours = part_colours(names)
    assert np.array_equal(colours[:12], colours[12:])
    many = part_colours([f"p{i}" for i in range(50)]).astype(int)
    apart = np.abs(many[:, None] - many[None]).sum(axis=-1) + 999 * np.eye(50, dtype=int)
    assert apart.min() > 20
    assert apart[:12, :12].min() > 60
