"""A study on disk: what it refuses, who sees what, and what is stored."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pg2lib import ConfigError, DataError
from pg2lib.user_study import Protocol, Study
from tests.user_study.conftest import SMALL, make, rate


def test_the_default_protocol_is_the_papers() -> None:
    protocol = Protocol()
    assert (protocol.real, protocol.generated, protocol.practice, protocol.exposure_s) == (55, 55, 10, 1.0)
    assert protocol.images == 110


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"practice": 3}, "practice must be even"),
        ({"practice": -2}, "practice must be even"),
        ({"real": 5}, "real must be more than 5.* got 5"),
        ({"generated": 2}, "generated must be more than 5.* got 2"),
        ({"exposure_s": 0.0}, "exposure_s"),
        ({"exposure_s": math.nan}, "exposure_s"),
    ],
)
def test_a_protocol_that_scores_nothing_is_refused(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        Protocol(**values)


def test_broken_folders_say_what_is_wrong(study: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no study"):
        Study.open(tmp_path)
    study.image_path(study.real[0]).unlink()
    with pytest.raises(DataError, match=f"images.*{study.real[0]}"):
        Study.open(study.folder)
    (study.folder / "study.json").write_text('{"format": "another"}')
    with pytest.raises(DataError, match="not of the format"):
        Study.open(study.folder)
    (study.folder / "study.json").write_text('{"format": "pg2lib user study 1"}')
    with pytest.raises(DataError, match="does not describe a study"):
        Study.open(study.folder)


@pytest.mark.parametrize(
    "name",
    ["../../secret.png", "..", ".", "", "/etc/hostname", "../study.json", "sub/../00000.png", "sub/00000.png",
     "a\\b.png", "C:x.png", "a\0.png", "a" * 5000, 3, None, ["00000.png"], {"path": "00000.png"}],
)  # fmt: skip
@pytest.mark.parametrize("field", ["real", "generated"])
def test_a_study_names_images_of_its_own_folder_alone(study: Study, name: Any, field: str) -> None:
    (study.folder / "images" / "sub").mkdir()
    Image.new("RGB", (6, 12)).save(study.folder / "images" / "sub" / "00000.png")
    Image.new("RGB", (6, 12)).save(study.folder.parent / "secret.png")
    path = study.folder / "study.json"
    values = json.loads(path.read_text())
    names = values["real"] if field == "real" else values["generated"]["one"]
    names[1] = name
    path.write_text(json.dumps(values))
    with pytest.raises(DataError) as refused:
        Study.open(study.folder)
    assert str(path) in str(refused.value) and f"{field}" in str(refused.value)
    if not isinstance(name, list | dict):
        assert repr(name[:80] if isinstance(name, str) else name) in str(refused.value)
    if isinstance(name, str):
        with pytest.raises(DataError, match="not the name of a file"):
            study.image_path(name)


@pytest.mark.parametrize("target", ["../../secret.png", "../study.json", "../answers.sqlite3", "{self}", "/dev/zero"])
def test_a_study_does_not_follow_links_out_of_its_folder(study: Study, target: str) -> None:
    Image.new("RGB", (6, 12)).save(study.folder.parent / "secret.png")
    image = study.image_path(study.real[0])
    image.unlink()
    image.symlink_to(target.format(self=image.name))
    with pytest.raises(DataError, match=rf"study\.json: real: '{image.name}'|lacks 1 images .*{image.name}"):
        Study.open(study.folder)
    if target == "../../secret.png":  # and a study that is open does not either
        with pytest.raises(DataError, match=image.name):
            study.image_path(image.name)


@pytest.mark.parametrize("name", ["images", "answers.sqlite3"])
def test_a_study_is_no_link_to_another_folder(study: Study, tmp_path: Path, name: str) -> None:
    elsewhere = (study.folder / name).rename(tmp_path / "elsewhere")
    before = elsewhere.stat().st_mtime_ns
    (study.folder / name).symlink_to(elsewhere)
    with pytest.raises(DataError, match=name):
        Study.open(study.folder)
    assert elsewhere.stat().st_mtime_ns == before


def test_a_study_may_lie_behind_a_link(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(study.folder)
    assert Study.open(tmp_path / "link").real == study.real
    monkeypatch.chdir(study.folder)
    assert Study.open(".").session("anna", "one").image_path(0).is_file()


@pytest.mark.parametrize("kind", ["real", "generated"])
def test_a_study_lists_enough_images_for_a_session(study: Study, kind: str) -> None:
    path = study.folder / "study.json"
    values = json.loads(path.read_text())
    values["protocol"][kind] = 10**9
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=rf"study\.json: {kind}.*\b1000000000\b.*\b4\b"):
        Study.open(study.folder)


# -- Who sees what -----------------------------------------------------------------------------------------------------


def test_a_session_shows_every_image_once_practice_first_and_half_of_it_real(tmp_path: Path) -> None:
    study = make(tmp_path, Protocol(real=20, generated=20, practice=10), pool=20)
    orders = {study.order(f"rater{number}", "one") for number in range(30)}
    assert len(orders) == 30, "everybody has an order of their own"
    for order in orders:
        assert sorted(order) == sorted(study.real + study.generated["one"])
        assert sum(map(study.is_real, order[:10])) == 5
    first_real = sum(study.is_real(order[10]) for order in orders)
    assert 5 <= first_real <= 25, "the first scored image is either"


def test_an_order_never_changes() -> None:
    """Pinned: sessions that were begun must go on alike with any later version, on any machine."""
    names = tuple(f"{number:05d}.png" for number in range(8))
    study = Study(Path(), "t", "d", SMALL, (12, 6), names[:4], {"m": names[4:]}, {})
    assert [int(name[:5]) for name in study.order("anna", "m")] == [5, 2, 0, 1, 6, 3, 4, 7]


def test_more_images_than_a_session_needs_give_raters_others(tmp_path: Path) -> None:
    study = make(tmp_path, pool=12, models=("one", "two", "three"))
    first, second, third = ({n for n in study.order("anna", m) if study.is_real(n)} for m in study.models)
    assert len(first) == len(second) == len(third) == 4
    assert first | second | third == set(study.real), "no real image twice while there are enough"
    seen = {name for number in range(20) for name in study.order(f"rater{number}", "one")}
    assert seen == {*study.real, *study.generated["one"]}


def test_a_rater_goes_on_with_what_is_unfinished_then_with_the_model_least_judged(tmp_path: Path) -> None:
    study = make(tmp_path, models=("one", "two", "three"))
    study.session("bert", "one")
    anna = study.next_session("anna")
    assert anna is not None and (anna.model, anna.number) == ("two", 1)
    anna.answer(0, True, 1000, 500)
    again = study.next_session("anna")
    assert again == anna and again is not None and again.answered == 1
    rate(anna, lambda position, truth: True)
    assert anna.finished
    study.session("carl", "three")
    assert study.next_session("anna") == study.sessions_of("anna")[1]
    assert [session.model for session in study.sessions_of("anna")] == ["two", "one"]
    for _ in range(2):
        session = study.next_session("anna")
        assert session is not None
        rate(session, lambda position, truth: True)
    assert study.next_session("anna") is None
    assert study.raters() == ("bert", "anna", "carl")


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "naïve", "a\n"])
def test_names_no_rater_can_have(study: Study, name: str) -> None:
    for ask in (study.next_session, study.sessions_of, lambda rater: study.session(rater, "one")):
        with pytest.raises(DataError, match="rater name"):
            ask(name)
    assert study.raters() == ()


def test_new_raters_are_strangers_to_each_other(study: Study) -> None:
    names = {study.new_rater() for _ in range(100)}
    assert len(names) == 100
    assert all(study.session(name, "one").rater == name for name in list(names)[:3])


# -- Answers -----------------------------------------------------------------------------------------------------------


def test_a_rater_breaks_off_and_comes_back_where_they_were(study: Study) -> None:
    before = study.session("anna", "one")
    for position in range(3):
        assert before.answer(position, position == 1, 1000 + position, 500) == position + 1
    after = Study.open(study.folder).session("anna", "one")
    assert after.images == before.images and after.answered == 3 and not after.finished
    rate(after, lambda position, truth: truth)
    assert before.finished


def test_an_answer_given_twice_counts_once_and_another_is_refused(study: Study) -> None:
    session = study.session("anna", "one")
    for _ in range(3):
        assert session.answer(0, True, 1000.25, 500.5, showings=2) == 1
    for other in (
        (False, 1000.25, 500.5, 2),
        (True, 999.0, 500.5, 2),
        (True, 1000.25, 1.0, 2),
        (True, 1000.25, 500.5, 1),
    ):
        with pytest.raises(DataError, match="position 0"):
            session.answer(0, *other)
    assert session.answered == 1


def test_answers_come_in_order_and_make_sense(study: Study) -> None:
    session = study.session("anna", "one")
    with pytest.raises(DataError, match="position 1.*position 0"):
        session.answer(1, True, 1000, 500)
    for position in (-1, 8):
        with pytest.raises(DataError, match="positions 0 to 7"):
            session.answer(position, True, 1000, 500)
    for times in ((-1.0, 500.0), (1000.0, math.nan), (math.inf, 500.0)):
        with pytest.raises(DataError, match="number of milliseconds"):
            session.answer(0, True, *times)
    with pytest.raises(DataError, match="showings"):
        session.answer(0, True, 1000, 500, showings=0)
    with pytest.raises(DataError, match="no model 'two'; it has one"):
        study.session("anna", "two")
    assert session.answered == 0


def test_an_answer_is_on_disk_when_it_is_confirmed(study: Study, tmp_path: Path) -> None:
    """A process answers until it is killed without warning: what it was told is stored, is."""
    code = (
        "import os, sys; from pg2lib.user_study import Study\n"
        "session = Study.open(sys.argv[1]).session('anna', 'one')\n"
        "for position in range(5): print(session.answer(position, True, 1000, 500), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(study.folder)], capture_output=True, text=True, check=False)
    assert run.returncode == -9, run.stderr
    assert int(run.stdout.split()[-1]) == 5
    assert study.session("anna", "one").answered == 5


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the size of files")
def test_an_answer_that_finds_a_full_disk_is_refused_with_a_sentence_and_can_be_given_again(study: Study) -> None:
    import resource

    session = study.session("rater", "one")
    session.answer(0, True, 1000.0, 500.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(DataError, match=r"answers\.sqlite3 .*Free some space"):
            session.answer(1, False, 1000.0, 500.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert session.answered == 1
    assert session.answer(1, False, 1000.0, 500.0) == 2


def test_a_database_that_is_none_is_named(study: Study) -> None:
    (study.folder / "answers.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"answers\.sqlite3 .*file is not a database"):
        Study.open(study.folder)


def test_raters_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    study = make(tmp_path, Protocol(real=8, generated=8, practice=2), pool=8, models=("one", "two"))

    def rate_all(number: int) -> None:
        rater = f"rater{number}"
        while (session := Study.open(study.folder).next_session(rater)) is not None:
            rate(session, lambda position, truth: (position + number) % 3 == 0, exposure_ms=1000.0 + number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(rate_all, range(6)))
    assert sorted(study.raters()) == [f"rater{number}" for number in range(6)]
    with study.database() as database:
        rows = database.execute("SELECT * FROM answers").fetchall()
    assert len(rows) == 6 * 2 * 16
    for row in rows:
        number = int(row["rater"][-1])
        assert row["exposure_ms"] == 1000.0 + number
        assert row["says_real"] == ((row["position"] + number) % 3 == 0)
        assert row["image"] == study.order(row["rater"], row["model"])[row["position"]]


def test_one_answer_from_many_windows_is_stored_once(study: Study) -> None:
    session = study.session("anna", "one")

    def answer(window: int) -> bool:
        try:
            session.answer(0, window % 2 == 0, 1000, 500)
        except DataError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(answer, range(16)))
    assert session.answered == 1
    assert taken in ([True, False] * 8, [False, True] * 8), "all that agree with the first, and none else"


def test_the_database_itself_refuses_a_second_answer(study: Study) -> None:
    study.session("anna", "one").answer(0, True, 1000, 500)
    with study.database() as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO answers SELECT * FROM answers")


def test_nothing_is_kept_of_a_rater_but_a_name(study: Study) -> None:
    with study.database() as database:
        sessions, answers = (
            " ".join(row["name"] for row in database.execute(f"PRAGMA table_info({table})"))
            for table in ("sessions", "answers")
        )
    assert sessions == "rater number model started"
    assert answers == "rater model position image says_real exposure_ms response_ms showings answered"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE answers SET exposure_ms = 'long'", "an answer is of another form"),
        ("UPDATE answers SET exposure_ms = 9e999", "an answer is of another form"),
        ("DELETE FROM answers WHERE position = 0", "answers of a session are missing"),
        ("UPDATE sessions SET model = 'two'", "study.json has no model 'two'"),
        ("CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END", "it has a trigger t"),
        ("DROP TABLE sessions; CREATE TABLE sessions (rater)", "cannot be read or written: no such column"),
    ],
)
def test_a_database_of_another_form_is_refused(study: Study, statement: str, message: str) -> None:
    rate(study.session("anna", "one"), lambda position, truth: True)
    with closing(sqlite3.connect(study.folder / "answers.sqlite3")) as database:
        database.executescript(statement)
    with pytest.raises(DataError, match=rf"answers\.sqlite3 .*{message}"):
        Study.open(study.folder)


def test_a_database_whose_index_differs_from_its_table_is_refused(study: Study) -> None:
    rate(study.session("anna", "one"), lambda position, truth: True)
    path = study.folder / "answers.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    places = [found.start() for found in re.finditer(b"annaone", content)]  # rater and model of answers and indexes
    assert len(places) > 2 * study.protocol.images
    for place in places:
        path.write_bytes(content[:place] + b"annaole" + content[place + 7 :])
        with pytest.raises(DataError, match=r"answers\.sqlite3 is damaged"):
            Study.open(study.folder)


def test_a_damaged_database_is_refused(study: Study) -> None:
    path = study.folder / "answers.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 8192)
    with pytest.raises(DataError, match=r"answers\.sqlite3 .*(malformed|damaged)"):
        Study.open(study.folder)
