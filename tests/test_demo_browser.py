"""The demo as a user meets it: started from the command line, used in headless Chromium on a desktop and a phone."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")
pytest.importorskip("mediapipe", reason="finding people needs mediapipe: pip install 'pg2lib[pose]'")
playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")

from pg2lib import PG2Config, PG2Pipeline, build_models  # noqa: E402
from pg2lib.data.synthetic import render_person  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from tests.browsers import CHROMIUM, FLAGS, MARKS, Visit  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE_S = 240  # for machines that are busy with something else; nothing here measures time

pytestmark = MARKS


class DemoVisit(Visit):
    """Somebody at the demo's page."""

    own = ("data:", "blob:")

    def use(self, photo: Path) -> None:
        self.page.locator(".photo-place input[type=file]").first.set_input_files(photo)

    def found(self, people: int = 1) -> None:
        """Wait until so many people are drawn on the photo."""
        self.page.wait_for_function("n => document.querySelectorAll('.person').length === n", arg=people)

    def pose(self, name: str) -> None:
        """Click a pose of the gallery, and wait for its picture."""
        before = self.results
        self.page.locator(".gallery").get_by_role("radio", name=re.compile(f"^{name}")).click()
        self.made(before + 1)

    @property
    def results(self) -> int:
        """How many results the strip shows."""
        return int(self.page.locator(".strip button").count())

    def made(self, results: int) -> None:
        self.page.wait_for_function("n => document.querySelectorAll('.strip button').length >= n", arg=results)
        self.page.wait_for_function("document.querySelector('.progress').hidden")

    @property
    def focused(self) -> str:
        """The name of what has the focus."""
        return str(self.page.evaluate("(document.activeElement.ariaLabel || document.activeElement.innerText).trim()"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def note(self, place: str) -> str:
        """What is said below the photo or the result."""
        shown = self.page.locator(f".{place}-place > .note")
        shown.wait_for()
        return str(shown.inner_text())

    def joints(self) -> list[list[float]]:
        """Where the editor shows its ring and the 18 joints, in pixels of the canvas."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            "[...document.querySelectorAll('.pose-canvas circle')]"
            ".map((c) => ['cx', 'cy'].map((name) => +c.getAttribute(name)))"
        )

    def middle(self, joint: int) -> tuple[float, float]:
        """Where a joint of the editor is on the screen."""
        box = self.page.locator(".pose-canvas circle").nth(joint + 1).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and log of ``python demo/app.py`` with random weights."""
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    config = PG2Config.preset("fast")
    g1, g2, _ = build_models(config)
    framing = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88})
    PG2Pipeline(g1, g2, config, framing, {"data": "Market-1501 train"}).save_pretrained(folder / "weights")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    command = [sys.executable, "demo/app.py", "--port", str(port), "--weights", str(folder / "weights")]
    # No proxy, no hub: whatever the app looks up outside fails loudly in its log.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = wait_for_address(process, log)
        assert address == f"http://127.0.0.1:{port}"
        yield address, log
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := re.search(r"http://\S+", log.read_text()):
            return found.group()
        assert process.poll() is None, f"the demo ended at once: {log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"the demo printed no address: {log.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *FAKE_CAMERA])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, server: tuple[str, Path]) -> Iterator[DemoVisit]:
    """A fresh page; fails the test if the page logged an error, asked another host, or the server had a fault."""
    yield from visiting(browser, server, viewport={"width": 1280, "height": 900})


@pytest.fixture
def phone(browser: Any, server: tuple[str, Path]) -> Iterator[DemoVisit]:
    yield from visiting(
        browser, server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark",
        reduced_motion="reduce",
    )  # fmt: skip


def visiting(browser: Any, server: tuple[str, Path], **options: Any) -> Iterator[DemoVisit]:
    address, log = server
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_S * 1000)
    visit = DemoVisit(context.new_page(), address)
    visit.page.goto(address)
    visit.page.locator(".gallery button").first.wait_for()
    yield visit
    context.close()
    assert visit.errors == []
    assert visit.elsewhere == []
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos of one person, of two, and of nobody; and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    first, second = (
        render_person(seed, 0, "studio", shot="full", yaw_deg=0, action="standing").image.resize((512, 512))
        for seed in (40, 48)
    )
    both = Image.new("RGB", (900, 512), (225, 225, 225))
    both.paste(first.crop((100, 0, 412, 512)), (40, 0))
    both.paste(second.crop((100, 0, 412, 512)).resize((280, 460)), (520, 40))
    pictures = {"one": first, "two": both, "side": first.rotate(90), "nobody": Image.effect_noise((400, 300), 40)}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    (folder / "letter.jpg").write_text("Dear photo, you are none.")
    return {path.stem: path for path in folder.iterdir()}


def test_two_clicks_lead_to_a_first_result(visit: DemoVisit) -> None:
    page = visit.page
    page.get_by_role("button", name=re.compile("^Example: ")).first.click()
    visit.found()
    page.locator(".gallery").get_by_role("radio").first.click()
    visit.made(1)
    page.locator(".result-stage .after").evaluate("(image) => image.decode()")
    assert page.locator(".result-stage .after").evaluate("(image) => image.naturalHeight") == 128
    page.get_by_label("Show the pose").check()
    assert page.locator(".result-stage line").count() > 20
    page.get_by_label("Compare with the photo").press("End")
    assert page.locator(".result-stage.comparing").count() == 1
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Image.open(download.value.path()).size == (64, 128)
    page.get_by_text("How it works").click()
    assert page.locator(".steps img").count() == 5
    assert "no commercial use" in page.locator(".card").inner_text()


def test_photos_come_by_drop_and_paste(visit: DemoVisit, photos: dict[str, Path]) -> None:
    photo = base64.b64encode(photos["one"].read_bytes()).decode()
    transfer = (
        "(photo) => { const data = new DataTransfer();"
        "const bytes = Uint8Array.from(atob(photo), (c) => c.charCodeAt(0));"
        "data.items.add(new File([bytes], 'a.png', {type: 'image/png'}));"
    )
    drop = "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})"
    visit.page.evaluate(f"{transfer} document.querySelector('.photo-place').dispatchEvent({drop}) }}", photo)
    visit.found()
    visit.pose("waving")
    paste = "new ClipboardEvent('paste', {clipboardData: data})"
    visit.page.evaluate(f"{transfer} document.dispatchEvent({paste}) }}", photo)
    visit.made(2)  # the pose in use is made for the new photo at once


def test_a_photo_comes_from_the_camera(visit: DemoVisit) -> None:
    """On a computer a file dialog would be no camera. The fake one shows nobody."""
    visit.page.get_by_role("button", name="Camera").first.click()
    visit.page.wait_for_function("document.querySelector('.viewfinder video').videoWidth > 0")
    visit.page.get_by_role("button", name="Take it now").click()
    visit.page.locator(".photo-place > .note", has_text="Nobody was found").wait_for()
    assert visit.page.locator(".photo-stage").is_visible()
    assert visit.page.evaluate("document.querySelector('.viewfinder video').srcObject") is None, "the camera is off"


def test_of_two_people_the_one_is_taken_that_is_clicked(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["two"])
    visit.found(2)
    assert "2 people" in visit.note("photo")
    visit.pose("waving")
    first = visit.page.locator(".before").get_attribute("src")
    visit.page.locator(".person:not(.chosen)").click()
    visit.made(2)
    assert visit.page.locator(".before").get_attribute("src") != first


def test_a_person_can_be_found_in_an_area(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["two"])
    visit.found(2)
    visit.page.get_by_role("button", name="Mark the person").click()
    box = visit.page.locator(".photo-stage").bounding_box()
    x, y, width, height = (box[side] for side in ("x", "y", "width", "height"))
    visit.page.mouse.move(x + 0.55 * width, y + 0.02 * height)
    visit.page.mouse.down()
    visit.page.mouse.move(x + 0.9 * width, y + 0.98 * height, steps=4)
    visit.page.mouse.up()
    visit.found(1)
    visit.page.get_by_role("button", name="Look at the whole photo").click()
    visit.found(2)


def test_a_person_is_marked_and_placed_by_keys_and_the_focus_stays(visit: DemoVisit, photos: dict[str, Path]) -> None:
    page = visit.page
    visit.use(photos["two"])
    visit.found(2)
    page.get_by_role("button", name="Mark the person").focus()
    visit.press(
        "Enter", *["ArrowRight"] * 2, *["ArrowUp"] * 12, "Enter", *["ArrowRight"] * 20, *["ArrowDown"] * 25, "Enter"
    )
    visit.found(1)
    assert visit.focused == "Mark the person"
    page.get_by_role("button", name="Look at the whole photo").focus()
    visit.press("Enter")
    visit.found(2)
    assert visit.focused == "Another photo"
    page.locator(".person:not(.chosen)").focus()
    visit.press("Enter")
    assert visit.focused.endswith("of 2, chosen")
    page.get_by_role("button", name="Place joints").focus()
    visit.press("Enter", "ArrowUp", "Enter", "ArrowDown", "Enter", "ArrowLeft", "Enter")
    assert page.get_by_role("button", name="Done").is_disabled(), "three joints are too few"
    page.get_by_role("button", name="Not visible").focus()
    visit.press("Enter", "Enter")
    assert visit.focused == "Not visible"
    page.get_by_text("Where is the left shoulder?").wait_for()
    page.locator(".photo-stage .overlay").focus()
    visit.press("Escape")
    assert visit.focused == "Place joints"
    visit.found(2)


def test_where_nobody_is_found_joints_are_placed_by_hand(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["nobody"])
    visit.page.locator(".photo-place > .note", has_text="Nobody was found").wait_for()
    visit.page.get_by_role("button", name="Place joints").click()
    box = visit.page.locator(".photo-stage").bounding_box()
    visit.page.get_by_text("Where is the nose?").wait_for()
    places = ((50, 12), (50, 25), (42, 25), (38, 40), (36, 55), (58, 25), (62, 40), (64, 55), (46, 55), (46, 75))
    for across, down in places:
        visit.page.mouse.click(box["x"] + across / 100 * box["width"], box["y"] + down / 100 * box["height"])
    visit.page.get_by_role("button", name="Not visible").click()
    visit.page.get_by_role("button", name="Done").click()
    visit.found(1)
    visit.pose("waving")


def test_a_photo_on_its_side_is_offered_upright(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["side"])
    visit.page.get_by_role("button", name="Turn it").click()
    visit.page.get_by_role("button", name="Turn it").wait_for(state="hidden")
    visit.found(1)


def test_an_error_takes_nothing_away(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["one"])
    visit.found()
    visit.pose("waving")
    visit.use(photos["letter"])
    visit.page.locator(".photo-place > .note.refused").wait_for()
    assert "cannot be read" in visit.note("photo")
    assert visit.page.locator(".photo-place > .note").get_attribute("role") == "alert"
    assert visit.page.locator(".result-stage:not(.stale)").is_visible()
    visit.pose("hands joined")  # of the photo before


def test_results_come_back_by_a_click_and_after_a_reload(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["one"])
    visit.found()
    visit.pose("waving")
    visit.pose("hands joined")
    checked = visit.page.locator(".gallery [aria-checked=true]")
    visit.page.get_by_role("button", name="Result: waving").click()
    assert checked.inner_text() == "waving"
    visit.page.reload()
    visit.made(2)
    assert checked.inner_text() == "hands joined" and visit.page.locator(".person").count() == 1
    visit.pose("standing, front")


def test_sheets_are_results_too_and_all_can_be_deleted(visit: DemoVisit, photos: dict[str, Path]) -> None:
    page = visit.page
    page.on("dialog", lambda dialog: dialog.accept())
    visit.use(photos["one"])
    visit.found()
    visit.pose("waving")
    page.get_by_text("Many pictures at once").click()
    page.get_by_role("button", name="All poses on one sheet").click()
    visit.made(2)
    visit.pose("hands joined")
    page.get_by_role("button", name="Result: All poses").focus()
    visit.press("Enter")
    assert page.locator("[download='pg2-poses.png']").is_visible() and visit.focused == "Result: All poses"
    page.reload()
    visit.made(3)
    page.get_by_role("button", name="Result: All poses").click()
    page.locator(".placeholder img").wait_for()
    page.get_by_role("button", name="Delete these pictures").click()
    page.wait_for_function("document.querySelectorAll('.strip button').length === 0")
    page.reload()
    page.locator(".gallery button").first.wait_for()
    assert page.locator(".drop").is_visible() and visit.results == 0


def test_a_picture_belongs_to_the_photo_that_it_was_asked_for(visit: DemoVisit, photos: dict[str, Path]) -> None:
    """Even if another photo is chosen before it is there; the pose in use is then made for that one."""
    visit.use(photos["one"])
    visit.found()
    visit.page.locator(".gallery").get_by_role("radio", name="waving").click()
    visit.use(photos["two"])
    visit.found(2)
    visit.page.wait_for_function(
        "document.querySelector('.strip button:not(.stale)') && document.querySelector('.progress').hidden"
    )
    for result in visit.page.locator(".strip button.stale").all():
        result.click()
        visit.found(1)


def test_a_downloaded_picture_is_made_again(visit: DemoVisit, photos: dict[str, Path], tmp_path: Path) -> None:
    """It gives its pose like any other file; whether the photo is the same, only the user can say."""

    def download(name: str) -> Image.Image:
        with visit.page.expect_download() as downloaded:
            visit.page.get_by_text("Download", exact=True).click()
        downloaded.value.save_as(tmp_path / name)
        return Image.open(tmp_path / name)

    visit.use(photos["one"])
    visit.found()
    visit.pose("waving")
    first = download("first.png")
    visit.page.locator(".pose-panel input[type=file]").set_input_files(tmp_path / "first.png")
    visit.made(2)
    visit.page.get_by_role("button", name="Make it again exactly").click()
    visit.made(3)
    assert download("again.png").tobytes() == first.tobytes()
    assert visit.page.locator(".photo-place > .note").is_hidden()


def test_a_pose_is_edited_with_the_mouse(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.use(photos["one"])
    visit.found()
    visit.pose("hands on hips")
    page = visit.page
    page.get_by_role("button", name="Edit", exact=True).click()
    before, (x, y) = visit.joints(), visit.middle(4)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 60, steps=3)
    page.mouse.up()
    dragged = visit.joints()
    assert dragged[5][1] < before[5][1] - 5 and dragged[1] == before[1]
    page.get_by_role("button", name="Undo").click()
    assert visit.joints() == before
    page.get_by_role("button", name="Redo").click()
    assert visit.joints() == dragged
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved["canvas"] == [128, 64] and saved["keypoints"][4] == pytest.approx(dragged[5], abs=0.01)
    page.get_by_role("button", name="Make the picture").click()
    visit.made(2)
    page.get_by_role("button", name="Paste JSON").click()
    page.get_by_label("Pose", exact=True).fill('{"no": "pose"}')
    page.get_by_role("button", name="Use it").click()
    page.locator("dialog[open] .note", has_text="The text is in no known format").wait_for()
    page.get_by_label("Pose", exact=True).fill(json.dumps(saved))
    page.get_by_role("button", name="Use it").click()
    visit.made(3)


def test_a_pose_is_edited_with_the_keyboard(visit: DemoVisit) -> None:
    page = visit.page
    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator(".pose-canvas").focus()
    before = visit.joints()
    for key in ("ArrowUp", "Shift+ArrowLeft"):  # of the right wrist
        page.keyboard.press(key)
    moved = visit.joints()
    assert moved[5] != before[5] and moved[1] == before[1]
    page.keyboard.press("Delete")
    assert page.get_by_role("button", name="Restore joint").is_visible()
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert visit.joints() == before
    page.keyboard.press("n")
    assert page.get_by_label("Joint", exact=True).input_value() == "5"


def test_many_pictures_show_progress_and_can_be_cancelled(visit: DemoVisit, photos: dict[str, Path]) -> None:
    page = visit.page
    visit.use(photos["one"])
    visit.found()
    page.get_by_text("Many pictures at once").click()
    page.get_by_role("button", name="All poses on one sheet").click()
    page.locator(".progress", has_text="of 16 pictures").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_function("document.querySelector('.progress').hidden")
    assert page.locator("[download='pg2-poses.png']").count() == 0
    page.get_by_role("button", name="All poses on one sheet").click()
    page.locator("[download='pg2-poses.png']").wait_for()
    sheet = page.locator(".placeholder img")
    assert sheet.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 4 * 64
    page.get_by_role("button", name="Animate").click()
    page.locator("[download='pg2-animation.gif']").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "pg2-animation.gif"
    assert Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).format == "GIF"


def test_the_keyboard_is_enough(visit: DemoVisit) -> None:
    page = visit.page

    def tab_to(start: str) -> int:
        for count in range(1, 30):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText")
            if name.startswith(start):
                return count
        raise AssertionError(f"there is no way by Tab to {start}")

    assert tab_to("Example: ") == 1
    page.keyboard.press("Enter")
    visit.found()
    tab_to("hands on hips")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    visit.made(1)
    assert page.evaluate("document.activeElement.innerText") == "waving", "the focus stays"
    assert tab_to("From a photo or file") == 1, "the gallery is one stop"


def test_everything_to_operate_has_a_name(visit: DemoVisit) -> None:
    unnamed = visit.page.evaluate(
        """[...document.querySelectorAll('#page :is(button, select, input, a[href], textarea):not([hidden])')]
        .filter((e) => !(e.textContent.trim() && e.tagName !== 'SELECT') && !e.ariaLabel && !e.labels?.length)
        .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


def test_on_a_phone_photo_poses_and_result_share_one_screen(phone: DemoVisit, photos: dict[str, Path]) -> None:
    page = phone.page
    phone.use(photos["one"])
    phone.found()
    phone.pose("waving")
    boxes = [page.locator(place).bounding_box() for place in (".result-stage", ".photo-stage", ".gallery")]
    assert all(box["y"] >= -1 and box["y"] + box["height"] <= 845 for box in boxes), boxes
    assert boxes[0]["height"] > 300 and boxes[0]["y"] < boxes[1]["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        """[...document.querySelectorAll('#page :is(button, select, a, summary)')].filter((e) => e.offsetParent)
        .filter((e) => { const b = e.getBoundingClientRect(); return Math.min(b.width, b.height) < 44 })
        .map((e) => e.outerHTML)"""
    )
    assert small == []
    assert page.locator(".result-place .tools").evaluate("(e) => getComputedStyle(e).color") == "rgb(250, 250, 250)"


def test_the_editor_follows_fingers(phone: DemoVisit) -> None:
    page = phone.page
    page.get_by_role("button", name="Edit", exact=True).tap()
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before, (x, y) = phone.joints(), phone.middle(4)
    touch("touchStart", (x, y))
    touch("touchMove", (x + 20, y - 40))
    touch("touchEnd")
    dragged = phone.joints()
    assert dragged[5][1] < before[5][1] and dragged[1] == before[1]
    box = page.locator(".pose-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 5
    touch("touchStart", (x - 40, y))
    touch("touchStart", (x - 40, y), (x + 40, y))
    touch("touchMove", (x - 20, y), (x + 20, y))
    touch("touchEnd")
    height = [max(y for _, y in joints[1:]) - min(y for _, y in joints[1:]) for joints in (dragged, phone.joints())]
    assert height[1] == pytest.approx(height[0] / 2, rel=0.05), "two fingers at half their distance halve the pose"
