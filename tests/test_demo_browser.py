"""The demo as a user meets it: started from the command line, used in headless Chromium with real photos."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")
pytest.importorskip("mediapipe", reason="finding people needs mediapipe: pip install 'pg2lib[pose]'")
skimage_data = pytest.importorskip("skimage.data", reason="the photos are scikit-image's")
playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")

from pg2lib import PG2Config, PG2Pipeline, build_models  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from tests.browsers import CHROMIUM, FLAGS, MARKS, Visit  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 240  # for machines that are busy with something else; nothing here measures time

pytestmark = MARKS


class DemoVisit(Visit):
    """Somebody at the demo's page."""

    own = ("data:", "blob:")

    def upload(self, place: str, file: Path) -> None:
        self.page.locator(f"#{place} input[type=file]").set_input_files(file)
        self.page.locator(f"#{place} img").wait_for(state="attached")

    def choose(self, preset: str) -> None:
        self.page.locator("#presets").get_by_label(preset, exact=True).check()

    def generate(self) -> str:
        """Presses the button and waits for another note than the one there is."""
        outcome = self.page.locator("#outcome .note")
        outcome.evaluate("note => note.classList.add('old')")
        self.page.get_by_role("button", name="Generate").click()
        self.page.locator("#outcome .note:not(.old):is(.done, .refused)").wait_for()
        return " ".join(outcome.inner_text().split())

    def picture(self, place: str) -> np.ndarray[Any, Any]:
        """The file behind a picture on the page, as it was sent."""
        shown = self.page.locator(f"#{place} img")
        shown.scroll_into_view_if_needed()
        self.page.wait_for_function(
            "place => { const i = document.querySelector(`#${place} img`); return i.complete && i.naturalWidth > 0 }",
            arg=place,
        )
        answer = self.page.request.get(shown.get_attribute("src"))
        assert answer.ok
        picture = Image.open(io.BytesIO(answer.body()))
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


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
        started = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, server: tuple[str, Path]) -> Iterator[DemoVisit]:
    """A fresh page; fails the test if the page logged an error, asked another host, or the server had a fault."""
    yield from visiting(browser, server, {"width": 1280, "height": 900})


@pytest.fixture
def phone(browser: Any, server: tuple[str, Path]) -> Iterator[DemoVisit]:
    yield from visiting(browser, server, {"width": 390, "height": 844})


def visiting(browser: Any, server: tuple[str, Path], viewport: dict[str, int]) -> Iterator[DemoVisit]:
    address, log = server
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(PATIENCE_S * 1000)
    visit = DemoVisit(context.new_page(), address)
    visit.page.goto(address)
    visit.page.locator("#presets").wait_for()
    yield visit
    context.close()
    assert visit.errors == []
    assert visit.elsewhere == []
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(skimage_data, name)()).save(folder / f"{name}.png")
    (folder / "letter.jpg").write_text("Dear photo, you are none.")
    return {path.stem: path for path in folder.iterdir()}


def test_a_photo_in_two_poses(visit: DemoVisit, photos: dict[str, Path]) -> None:
    assert not visit.page.locator("#results").is_visible()
    visit.upload("photo", photos["astronaut"])

    visit.choose("standing, front")
    assert re.search(r"Done in [\d.]+ s", visit.generate())
    standing, coarse, pose = (visit.picture(place) for place in ("refined", "coarse", "target"))
    assert standing.shape == coarse.shape == pose.shape == (512, 256, 3)
    assert standing.std() > 1
    for place in ("part", "condition", "difference"):
        assert visit.picture(place).size > 0

    visit.choose("walking left")
    visit.generate()
    assert not np.array_equal(visit.picture("refined"), standing)
    assert not np.array_equal(visit.picture("target"), pose)

    visit.choose("standing, front")
    visit.generate()
    assert np.array_equal(visit.picture("refined"), standing)


def test_the_refined_result_can_be_downloaded(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.upload("photo", photos["astronaut"])
    visit.choose("waving")
    visit.generate()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="Download the refined result").click()
    assert download.value.suggested_filename == "refined-result.png"
    small = Image.open(download.value.path()).convert("RGB")
    assert small.size == (64, 128)
    assert np.array_equal(np.asarray(small.resize((256, 512), Image.Resampling.BICUBIC)), visit.picture("refined"))


def test_a_photo_of_nobody_takes_the_earlier_result_away(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.upload("photo", photos["astronaut"])
    visit.choose("standing, back")
    visit.generate()
    assert visit.page.locator("#results").is_visible()
    visit.page.get_by_label("Remove Image").click()
    visit.upload("photo", photos["coffee"])
    assert visit.generate().startswith("Nobody was found in the photo.")
    assert visit.page.get_by_role("alert").filter(has_text="Nobody was found").is_visible()
    assert not visit.page.locator("#results").is_visible()


def test_a_file_that_is_no_picture_is_refused_in_plain_words(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.page.locator("#photo input[type=file]").set_input_files(photos["letter"])
    visit.page.locator("#photo img").wait_for(state="attached")
    visit.choose("waving")
    assert "cannot be read" in visit.generate()


def test_a_photo_that_is_no_longer_kept_is_asked_for_again(
    visit: DemoVisit, photos: dict[str, Path], server: tuple[str, Path]
) -> None:
    visit.upload("photo", photos["astronaut"])
    visit.choose("waving")
    visit.generate()
    assert visit.page.locator("#results").is_visible()
    for stored in (server[1].parent / "uploads").rglob(photos["astronaut"].name):
        stored.unlink()
    assert "choose the photo again" in visit.generate()
    assert visit.page.get_by_text(
        "Choose the photo again. It must be a file that was uploaded to this page"
    ).is_visible()
    assert not visit.page.locator("#results").is_visible()
    visit.page.get_by_label("Remove Image").click()
    visit.upload("photo", photos["astronaut"])
    assert visit.generate().startswith("Done")


def test_what_is_missing_is_asked_for(visit: DemoVisit, photos: dict[str, Path]) -> None:
    assert visit.generate().startswith("Choose a photo first")
    visit.upload("photo", photos["astronaut"])
    assert visit.generate().startswith("Choose a target pose first")


def test_the_target_pose_from_another_photo(visit: DemoVisit, photos: dict[str, Path]) -> None:
    visit.upload("photo", photos["astronaut"])
    visit.page.get_by_label("another photo").check()
    visit.page.locator("#presets").wait_for(state="hidden")
    visit.upload("pose-photo", photos["astronaut"])
    assert "target pose is incomplete" in visit.generate()
    assert visit.picture("refined").shape == (512, 256, 3)


def test_the_page_says_which_weights_are_loaded_and_their_terms(visit: DemoVisit) -> None:
    text = visit.page.locator("#weights").inner_text()
    assert "Weights loaded" in text and "Market-1501 train" in text and "no commercial use" in text


def test_presets_can_be_chosen_with_the_keyboard(visit: DemoVisit) -> None:
    visit.page.locator("#presets").get_by_label("sitting", exact=True).focus()
    visit.page.keyboard.press("Space")
    assert visit.page.locator("#presets").get_by_label("sitting", exact=True).is_checked()


def test_on_a_phone_nothing_is_cut_off_and_the_refined_result_comes_first(
    phone: DemoVisit, photos: dict[str, Path]
) -> None:
    phone.upload("photo", photos["astronaut"])
    phone.choose("walking right")
    phone.generate()
    phone.picture("refined")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = {p: phone.page.locator(f"#{p}").bounding_box()["y"] for p in ("refined", "part", "condition", "coarse")}
    assert min(tops, key=tops.__getitem__) == "refined"
    assert phone.page.locator("#refined").bounding_box()["width"] > 300
