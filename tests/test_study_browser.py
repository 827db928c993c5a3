"""The user study as raters meet it: served from the command line, rated in headless Chromium."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the app needs gradio: pip install 'pg2lib[demo]'")
playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")

from demo import app  # noqa: E402
from pg2lib.user_study import Protocol, Session, Study, create_study, results  # noqa: E402
from tests.browsers import CHROMIUM, FLAGS, MARKS, Visit  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120  # for machines that are busy with something else
PROTOCOL = Protocol(real=3, generated=3, practice=2)

pytestmark = MARKS


def make_study(folder: Path) -> Study:
    """Each image has a colour of its own, by which a screen shows which it is."""
    colours = np.random.default_rng(0).permutation(np.arange(20, 250, 10))[:9]
    images = np.stack([np.full((128, 64, 3), (colour, 255 - colour, colour), dtype=np.uint8) for colour in colours])
    generated = {"zebra": images[3:6], "quagga": images[6:9]}
    return create_study(folder / "study", images[:3], generated, "Real or not", "plain colours", PROTOCOL)


class Server:
    """``python demo/app.py --study``, to be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "demo/app.py", "--study", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed = ""
        while (found := re.search(r"runs on (http://\S+)", printed)) is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            assert line, f"the server ended without printing its address: {printed}"
            printed += line
        assert found.group(1) == self.address

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)

    def end(self) -> None:
        """Stops the server as Ctrl-C does; it must end without a traceback."""
        self.process.terminate()
        assert "Traceback" not in self.process.communicate(timeout=60)[0]


class Rater(Visit):
    """A browser of their own."""

    @property
    def name(self) -> str:
        return re.search(r"\?rater=([0-9a-f]{16})$", self.page.url).group(1)  # type: ignore[union-attr]

    def start(self) -> None:
        self.page.locator("#start").click()
        self.proceed()

    def cannot_start(self) -> None:
        start = self.page.locator("#start")
        assert start.is_visible() and start.is_disabled()
        start.click(force=True)
        assert start.is_visible()

    def proceed(self) -> None:
        self.page.locator("#ready").wait_for()
        self.page.keyboard.press("Enter")
        self.page.locator("#rating").wait_for()

    def wait_for_question(self) -> None:
        self.page.locator("#real[aria-disabled=false]").wait_for()

    def answer(self, key: str) -> None:
        self.wait_for_question()
        self.page.keyboard.press(key)

    def rate(self, keys: str) -> None:
        """Answers with the keys of a string, going on after the practice."""
        for key in keys:
            self.page.locator("#real[aria-disabled=false], #ready:not([hidden])").first.wait_for()
            if self.page.locator("#ready").is_visible():
                self.proceed()
            self.answer(key)

    def wait_for_answers(self, session: Session, count: int) -> None:
        self.page.wait_for_function("count => state.answered >= count", arg=count)
        assert session.answered == count


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def server(study: Study) -> Iterator[Server]:
    server = Server(study.folder)
    yield server
    server.end()


def visit(browser: Any, address: str, **options: Any) -> Rater:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    context.set_default_timeout(PATIENCE_S * 1000)
    rater = Rater(context.new_page(), address)
    rater.page.goto(address)
    return rater


def rows(study: Study, rater: str) -> list[Any]:
    with study.database() as database:
        return database.execute("SELECT * FROM answers WHERE rater = ? ORDER BY rowid", (rater,)).fetchall()


def colour_of(study: Study, image: str) -> tuple[int, ...]:
    return Image.open(study.image_path(image)).getpixel((0, 0))  # type: ignore[return-value]


def colour_shown(rater: Rater) -> tuple[int, ...]:
    script = "() => [...document.querySelector('#picture').getContext('2d').getImageData(5, 5, 1, 1).data]"
    return tuple(rater.page.evaluate(script))


def test_a_session_with_the_keyboard_one_second_an_image(browser: Any, server: Server, study: Study) -> None:
    before = study.raters()
    anna = visit(browser, server.address)
    assert "The first 2 pictures are for practice. The 4 pictures after them count" in " ".join(
        anna.page.locator("#welcome").inner_text().split()
    )
    assert study.raters() == before, "looking at the page stores nothing"
    anna.start()
    (session,) = study.sessions_of(anna.name)

    # While the picture is there keys do nothing; then it is gone.
    anna.page.locator("#cross.on").wait_for()
    anna.page.locator("#cross:not(.on)").wait_for(state="attached")
    assert colour_shown(anna)[:3] == colour_of(study, session.images[0])
    assert anna.page.locator("#count").inner_text() == "Practice 1 of 2"
    anna.page.keyboard.press("r")
    anna.page.locator("#real").click(force=True)
    anna.wait_for_question()
    assert colour_shown(anna) == (0, 0, 0, 0)
    assert session.answered == 0

    anna.rate("rg")
    anna.page.locator("#ready").filter(has_text="Practice is over").wait_for()
    anna.proceed()
    assert anna.page.locator("#count").inner_text() == "Picture 1 of 4"
    for key in ("ArrowLeft", "ArrowRight"):
        anna.answer(key)
    anna.wait_for_question()
    anna.page.get_by_role("button", name="Generated").click()
    anna.wait_for_question()
    anna.page.get_by_role("button", name="Real").click()
    anna.page.locator("#finished").wait_for()

    stored = rows(study, anna.name)
    assert [row["says_real"] for row in stored] == [1, 0, 1, 0, 0, 1]
    assert [row["image"] for row in stored] == list(session.images)
    assert [row["showings"] for row in stored] == [1] * 6
    exposures = [row["exposure_ms"] for row in stored]
    print("measured exposures in ms:", [round(exposure, 1) for exposure in exposures])
    assert 900 < statistics.median(exposures) < 1200
    assert min(exposures) > 900
    assert (anna.errors, anna.elsewhere) == ([], [])

    # Another round is about the other model, and its name is nowhere to be seen.
    anna.page.locator("#another").click()
    anna.page.locator("#ready").wait_for()
    assert {session.model for session in study.sessions_of(anna.name)} == {"zebra", "quagga"}
    told = anna.page.request.post(f"{server.address}/session", data={"rater": anna.name}).text()
    assert not re.search("zebra|quagga", anna.page.content() + told)


def test_breaking_off_and_coming_back_with_the_link(browser: Any, server: Server, study: Study) -> None:
    anna = visit(browser, server.address)
    anna.start()
    anna.rate("rg")
    anna.page.locator("#ready").wait_for()
    anna.proceed()
    anna.answer("r")
    (session,) = study.sessions_of(anna.name)
    anna.wait_for_answers(session, 3)
    link = anna.page.url
    anna.page.context.close()

    again = visit(browser, link)  # another browser: nothing but the link
    again.page.locator(".back").filter(has_text="3 of 6").wait_for()
    again.start()
    assert again.page.locator("#count").inner_text() == "Picture 2 of 4"
    again.rate("ggg")
    again.page.locator("#finished").wait_for()
    assert [row["says_real"] for row in rows(study, again.name)] == [1, 0, 1, 0, 0, 0]
    assert again.name == link[-16:]

    again.page.goto(server.address)  # and now the browser remembers the name
    again.page.locator("#finished").wait_for()
    assert again.name == link[-16:]
    assert again.errors == []

    stranger = visit(browser, f"{server.address}/?rater=0123456789abcdef")
    stranger.page.locator(".back").filter(has_text="This link does not belong to this study").wait_for()
    assert "0123456789abcdef" not in study.raters()


def test_two_raters_at_once_do_not_mix(browser: Any, server: Server, study: Study) -> None:
    anna, bert = (visit(browser, server.address) for _ in range(2))
    for rater in (anna, bert):
        rater.start()
    assert anna.name != bert.name
    for position in range(3):
        if position == 2:
            anna.proceed()
            bert.proceed()
        anna.wait_for_question()
        bert.wait_for_question()
        anna.answer("r")
        bert.answer("g")
    for rater, says_real in ((anna, 1), (bert, 0)):
        (session,) = study.sessions_of(rater.name)
        rater.wait_for_answers(session, 3)
        stored = [(row["image"], row["says_real"]) for row in rows(study, rater.name)]
        assert stored == [(image, says_real) for image in session.images[:3]]
        assert rater.errors == []


def test_a_killed_server_loses_no_answer_and_the_page_goes_on(browser: Any, server: Server, study: Study) -> None:
    anna = visit(browser, server.address)
    anna.start()
    anna.rate("r")
    anna.wait_for_question()
    (session,) = study.sessions_of(anna.name)
    assert session.answered == 1, "the second picture comes after the first answer is stored"
    server.kill()
    assert Study.open(study.folder).sessions_of(anna.name)[0].answered == 1

    anna.page.keyboard.press("g")
    anna.page.get_by_role("alert").filter(has_text="The connection is lost. Your answer will be sent").wait_for()
    assert anna.page.locator("#count").inner_text() == "Practice 2 of 2", "no further picture before it is stored"
    server.start()
    anna.page.locator("#ready").filter(has_text="Practice is over").wait_for()
    assert anna.page.locator("#trouble").is_hidden()
    anna.rate("r")
    anna.wait_for_answers(session, 3)
    assert [row["says_real"] for row in rows(study, anna.name)] == [1, 0, 1]


def test_an_answer_that_was_not_sent_before_the_window_closed_is_sent_later(
    browser: Any, server: Server, study: Study
) -> None:
    anna = visit(browser, server.address)
    anna.start()
    anna.wait_for_question()
    anna.page.route("**/answer", lambda route: route.abort())
    anna.page.keyboard.press("g")
    anna.page.get_by_role("alert").filter(has_text="The connection is lost").wait_for()
    (session,) = study.sessions_of(anna.name)
    assert session.answered == 0
    anna.page.unroute("**/answer")
    anna.page.reload()
    anna.page.locator(".back").filter(has_text="1 of 6").wait_for()
    assert [row["says_real"] for row in rows(study, anna.name)] == [0]


def test_a_double_click_on_start_makes_one_rater(browser: Any, server: Server, study: Study) -> None:
    before = study.raters()
    anna = visit(browser, server.address)
    asked: list[Any] = []
    anna.page.route("**/session", lambda route: asked.append(route))
    with anna.page.expect_request("**/session"):
        anna.page.locator("#start").dblclick()
    asked[0].continue_()
    anna.proceed()
    assert len(asked) == 1
    assert study.raters() == (*before, anna.name)


def test_start_waits_until_the_page_knows_where_the_rater_stands(browser: Any, server: Server, study: Study) -> None:
    """An answer that waits to be sent would else arrive in the midst of the pictures, and shift those after it."""
    anna = visit(browser, server.address)
    anna.start()
    anna.wait_for_question()
    anna.page.route("**/answer", lambda route: route.abort())
    anna.page.keyboard.press("g")
    anna.page.get_by_role("alert").filter(has_text="The connection is lost").wait_for()
    anna.page.unroute("**/answer")

    held: list[Any] = []
    for path in ("session", "answer"):
        anna.page.route(f"**/{path}", lambda route: held.append(route))
    with anna.page.expect_request("**/session"):
        anna.page.reload()
    anna.cannot_start()
    with anna.page.expect_request("**/answer"):  # the one left over, sent once the session is known
        held.pop().continue_()
    anna.cannot_start()
    held.pop().continue_()
    anna.page.locator("#start:enabled").filter(has_text="Continue").wait_for()
    anna.page.unroute_all()
    anna.start()
    assert anna.page.locator("#count").inner_text() == "Practice 2 of 2"
    anna.answer("r")
    (session,) = study.sessions_of(anna.name)
    anna.wait_for_answers(session, 2)
    stored = [(row["image"], row["says_real"]) for row in rows(study, anna.name)]
    assert stored == [(session.images[0], 0), (session.images[1], 1)]


def test_an_answer_is_taken_however_long_it_took(browser: Any, server: Server, study: Study) -> None:
    anna = visit(browser, server.address)
    anna.start()
    answer = {"rater": anna.name, "number": 1, "position": 0, "says_real": True, "exposure_ms": 1000.0, "showings": 1}
    days_ms = 3 * 24 * 3600 * 1000.0
    for response_ms, status in ((-1.0, 422), (days_ms, 200)):
        reply = anna.page.request.post(f"{server.address}/answer", data={**answer, "response_ms": response_ms})
        assert reply.status == status, response_ms
    assert [row["response_ms"] for row in rows(study, anna.name)] == [days_ms]


def test_sessions_have_numbers_from_one_on(browser: Any, server: Server) -> None:
    anna = visit(browser, server.address)
    anna.start()
    for number, status in ((-1, 404), (0, 404), (1, 200), (2, 404)):
        reply = anna.page.request.get(f"{server.address}/image/{anna.name}/{number}/0")
        assert reply.status == status, number


def test_closing_the_page_on_a_picture_is_noted(browser: Any, server: Server, study: Study) -> None:
    anna = visit(browser, server.address)
    anna.start()
    anna.wait_for_question()
    anna.page.reload()
    anna.page.locator(".back").wait_for()
    anna.start()
    anna.answer("r")
    anna.rate("g")
    (session,) = study.sessions_of(anna.name)
    anna.wait_for_answers(session, 2)
    assert [row["showings"] for row in rows(study, anna.name)] == [2, 1]


def test_on_a_phone_picture_and_buttons_fit_the_screen(browser: Any, server: Server) -> None:
    anna = visit(browser, server.address)
    anna.page.set_viewport_size({"width": 360, "height": 640})
    anna.start()
    anna.wait_for_question()
    assert anna.page.evaluate("document.documentElement.scrollWidth") <= 360
    for place in ("#picture", "#real", "#generated"):
        box = anna.page.locator(place).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 640, place
    picture = anna.page.locator("#picture").bounding_box()
    assert picture["width"] % 64 == 0 and picture["width"] >= 128 and picture["height"] == 2 * picture["width"]
    for place in ("#real", "#generated"):
        assert anna.page.locator(place).bounding_box()["height"] >= 44, "large enough for a thumb"


def test_the_owner_gets_the_table_and_raters_do_not(
    browser: Any, server: Server, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["--study", str(study.folder), "--results"]) == 0
    printed = capsys.readouterr().out
    assert printed == results(study).to_markdown()
    assert "| zebra " in printed and "not verified against the PDF" in printed
    anna = visit(browser, server.address)
    for path in ("results", "study.json", "answers.sqlite3", "images/00000.png", "docs", "openapi.json", "image/a/1/0"):
        assert anna.page.request.get(f"{server.address}/{path}").status == 404, path


def test_what_cannot_be_served_is_said(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--study", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert app.main(["--study", str(tmp_path), "--results"]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert app.main(["--study", str(server.folder), "--port", str(server.port)]) == 2
    assert "try another --port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        app.main(["--results"])
    assert "--results needs --study DIR" in capsys.readouterr().err


def test_dark_mode_changes_the_page_but_not_what_the_picture_lies_on(browser: Any, server: Server) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = visit(browser, server.address, color_scheme=scheme).page
        background = "(place) => getComputedStyle(document.querySelector(place)).backgroundColor"
        shades[scheme] = [page.evaluate(background, place) for place in ("#welcome", "#frame")]
    assert shades["light"] == ["rgb(255, 255, 255)", shades["dark"][1]]
    assert shades["dark"][0] == "rgb(28, 28, 31)"
