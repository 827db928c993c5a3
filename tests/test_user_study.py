"""The engine of the user study: what raters see, what is stored, and the table that comes of it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import pg2lib
from pg2lib import ConfigError, DataError, PG2Config, PG2Pipeline, build_models
from pg2lib.framing import Framing
from pg2lib.images import to_uint8
from pg2lib.user_study import Protocol, Session, Study, create_study, create_study_from_pairs, results
from pg2lib.user_study.result import bootstrap, wilson

SMALL = Protocol(real=4, generated=4, practice=2)


def noise(count: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, size=(count, 12, 6, 3), dtype=np.uint8)


def make(folder: Path, protocol: Protocol = SMALL, pool: int = 4, models: tuple[str, ...] = ("one",)) -> Study:
    generated = {model: noise(pool, seed) for seed, model in enumerate(models, start=1)}
    return create_study(folder / "study", noise(pool, 0), generated, "A title", "noise", protocol)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make(tmp_path)


def rate(session: Session, says_real: Callable[[int, bool], bool], exposure_ms: float = 1000.0) -> None:
    """Answers all that is left of a session; `says_real` is asked with the position and the truth."""
    for position in range(session.answered, len(session)):
        truth = session.study.is_real(session.images[position])
        session.answer(position, says_real(position, truth), exposure_ms, 500.0)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


# -- The folder --------------------------------------------------------------------------------------------------------


def test_the_default_protocol_is_the_papers() -> None:
    protocol = Protocol()
    assert (protocol.real, protocol.generated, protocol.practice, protocol.exposure_s) == (55, 55, 10, 1.0)
    assert protocol.images == 110


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"practice": 3}, "practice must be even"),
        ({"practice": -2}, "practice must be even"),
        ({"real": 5}, "real is 5, 5 of them practice"),
        ({"generated": 2}, "generated is 2"),
        ({"exposure_s": 0.0}, "exposure_s"),
        ({"exposure_s": math.nan}, "exposure_s"),
    ],
)
def test_a_protocol_that_scores_nothing_is_refused(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        Protocol(**values)


def test_every_picture_is_kept_to_the_pixel_and_its_kind_is_known(study: Study) -> None:
    for kind, names, given in (("real", study.real, noise(4, 0)), ("one", study.generated["one"], noise(4, 1))):
        kept = {pixels(study.image_path(name)).tobytes() for name in names}
        assert kept == {image.tobytes() for image in given}, kind
        assert all(study.is_real(name) == (kind == "real") for name in names)
    assert Study.open(study.folder) == study


def test_names_and_files_do_not_betray_what_is_real(tmp_path: Path) -> None:
    """Real images from files that carry a comment; the study's have pixels and nothing else, in mixed order."""
    (tmp_path / "real").mkdir()
    for index, image in enumerate(noise(20, 0)):
        comment = PngImagePlugin.PngInfo()
        comment.add_text("Software", "a camera")
        Image.fromarray(image).save(tmp_path / "real" / f"photo{index}.png", pnginfo=comment)
    for name in ("Thumbs.db", "._photo0.png"):  # as Windows and macOS leave them
        (tmp_path / "real" / name).write_bytes(b"no picture")
    study = create_study(tmp_path / "study", tmp_path / "real", {"m": noise(20, 1)}, "t", "d", Protocol(20, 20, 2))
    names = sorted(path.name for path in (study.folder / "images").iterdir())
    assert names == [f"{index:05d}.png" for index in range(40)]
    assert not any(Image.open(study.image_path(name)).info for name in names)
    kinds = "".join("r" if study.is_real(name) else "g" for name in names)
    assert kinds.count("r") == 20
    assert 10 < sum(a != b for a, b in itertools.pairwise(kinds)) < 30, "real and generated are mixed"


def test_tensors_arrays_paths_and_pictures_are_all_taken(tmp_path: Path) -> None:
    images = noise(4, 0)
    Image.fromarray(images[1]).save(tmp_path / "a.png")
    mixed = [images[0], tmp_path / "a.png", Image.fromarray(images[2]), torch.from_numpy(images[3]).permute(2, 0, 1)]
    floats = torch.from_numpy(noise(4, 1)).permute(0, 3, 1, 2).float() / 127.5 - 1  # as a generator gives them
    study = create_study(tmp_path / "study", mixed, {"m": floats}, "t", "d", SMALL)
    assert {pixels(study.image_path(name)).tobytes() for name in study.real} == {image.tobytes() for image in images}
    assert {pixels(study.image_path(name)).tobytes() for name in study.generated["m"]} == {
        image.tobytes() for image in noise(4, 1)
    }


@pytest.mark.parametrize(
    ("real", "generated", "wrong"),
    [
        (noise(3, 0), {"m": noise(4, 1)}, "shows 4 real images, and there are 3"),
        (noise(4, 0), {"m": noise(4, 1), "n": noise(2, 2)}, "shows 4 generated images of n, and there are 2"),
        (noise(4, 0), {}, "at least one model"),
        (noise(4, 0), {"": noise(4, 1)}, "every model a name"),
        (noise(4, 0), {"m": noise(4, 1)[:, :, :4]}, "different sizes.*4x12.*6x12|different sizes.*6x12.*4x12"),
        (noise(4, 0), {"m": np.concatenate([noise(3, 1), noise(1, 0)])}, "the same picture is real and generated"),
        (noise(4, 0)[0], {"m": noise(4, 1)}, "four dimensions"),
        ("nowhere", {"m": noise(4, 1)}, "no folder nowhere"),
    ],
)
def test_what_cannot_be_a_study_is_refused_and_leaves_nothing(
    tmp_path: Path, real: Any, generated: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(DataError, match=wrong):
        create_study(tmp_path / "study", real, generated, "t", "d", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_not_written_over(study: Study) -> None:
    study.session("anna", "one").answer(0, True, 1000, 500)
    with pytest.raises(DataError, match="exists already"):
        create_study(study.folder, noise(4, 0), {"one": noise(4, 1)}, "t", "d", SMALL)
    assert study.session("anna", "one").answered == 1


def test_broken_folders_say_what_is_wrong(study: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no study"):
        Study.open(tmp_path)
    study.image_path(study.real[0]).unlink()
    with pytest.raises(DataError, match=f"lacks 1 images of the study: .*{study.real[0]}"):
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
     "a\\b.png", "C:x.png", "a\0.png", "\ud800.png", "a" * 5000, 3, None, ["00000.png"], {"path": "00000.png"}],
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
    with pytest.raises(DataError, match="not the name of a file that itself lies in the folder of the study"):
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
    with pytest.raises(DataError, match=rf"study\.json: {kind}.* a session shows 1000000000 images, and 4 are listed"):
        Study.open(study.folder)


def test_from_pairs_generates_what_the_pipeline_does_and_shows_no_target_twice(
    tiny_market1501: Path, tmp_path: Path
) -> None:
    store = pg2lib.ImageStore.open(pg2lib.read_market1501(tiny_market1501, "train"))
    pairs = pg2lib.make_pairs(store.table, "torso")  # 12 images, each the target of 3 pairs
    torch.manual_seed(0)
    config = PG2Config.preset("fast")
    framing = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88})
    pipelines = {name: PG2Pipeline(*build_models(config)[:2], config, framing) for name in ("one", "two")}
    protocol = Protocol(real=4, generated=4, practice=2)
    study = create_study_from_pairs(tmp_path / "study", pipelines, store, pairs, "t", "d", protocol)

    all_real = {
        image.permute(1, 2, 0).numpy().tobytes(): row for row, image in enumerate(store.images(torch.arange(12)))
    }
    real_rows = {all_real[pixels(study.image_path(name)).tobytes()] for name in study.real}
    assert len(real_rows) == 8, "four for each model"
    for model, pipeline in pipelines.items():
        batch = store.batch(pairs, torch.arange(len(pairs)))
        every = to_uint8(pipeline.generate(batch.condition_image, batch.target_heatmaps).refined)
        targets = []
        for name in study.generated[model]:
            kept = torch.from_numpy(np.array(pixels(study.image_path(name)))).permute(2, 0, 1)
            away = (every.int() - kept.int()).abs().flatten(1)
            pair = int(away.float().mean(dim=1).argmin())
            assert away[pair].max() <= 1, "the same but for the rounding of another batch size"
            targets.append(int(batch.to_rows[pair]))
        assert len(set(targets)) == 4 and real_rows.isdisjoint(targets)

    with pytest.raises(DataError, match=r"need 15 different target images \(10 real, 5 to generate\), .* have 12"):
        create_study_from_pairs(tmp_path / "more", pipelines, store, pairs, "t", "d", Protocol(5, 5, 2))


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
        with pytest.raises(DataError, match="a rater's name is"):
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
        with pytest.raises(DataError, match="position 0 already has another answer"):
            session.answer(0, *other)
    assert session.answered == 1


def test_answers_come_in_order_and_make_sense(study: Study) -> None:
    session = study.session("anna", "one")
    with pytest.raises(DataError, match="position 1 cannot be answered before position 0"):
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


# -- The table ---------------------------------------------------------------------------------------------------------


def test_without_raters_the_table_is_empty_and_says_so(study: Study) -> None:
    result = results(study.folder)
    assert (result.raters, result.answers, result.models["one"].raters) == (0, 0, 0)
    assert "| one | 0 | 0 | – | – | – | – | – | – |" in result.to_markdown()
    assert "0 raters, 0 answers" in result.to_markdown()
    assert json.loads(result.to_json())["models"]["one"]["r2g"]["wilson"] == [None, None]


def test_r2g_and_g2r_are_the_shares_of_wrong_answers(tmp_path: Path) -> None:
    """Anna takes everything for real, Bert is always right; practice does not count, whatever is said there."""
    study = make(tmp_path, Protocol(real=13, generated=9, practice=4), pool=13)
    rate(study.session("anna", "one"), lambda position, truth: True)
    rate(study.session("bert", "one"), lambda position, truth: truth if position >= 4 else not truth)
    result = results(study)
    judged = result.models["one"]
    assert judged.raters == 2
    assert (judged.r2g.wrong, judged.r2g.shown) == (0, 22)
    assert (judged.g2r.wrong, judged.g2r.shown) == (7, 14)
    assert (judged.r2g.value, judged.g2r.value) == (0.0, 0.5)
    assert judged.r2g.wilson == pytest.approx(wilson(0, 22)) and judged.r2g.over_raters == (0.0, 0.0)
    assert judged.g2r.over_raters == (0.0, 1.0), "one rater of two is never sure"
    assert result.excluded["practice"] == 8
    assert result.answers == 44


def test_models_are_judged_apart(tmp_path: Path) -> None:
    study = make(tmp_path, models=("one", "two"))
    rate(study.session("anna", "one"), lambda position, truth: truth)
    rate(study.session("anna", "two"), lambda position, truth: not truth)
    models = results(study).models
    assert (models["one"].r2g.value, models["one"].g2r.value) == (0.0, 0.0)
    assert (models["two"].r2g.value, models["two"].g2r.value) == (1.0, 1.0)


def test_every_answer_is_counted_or_its_exclusion_is_stated(study: Study) -> None:
    broken_off = study.session("anna", "one")
    for position in range(5):
        broken_off.answer(position, True, 1000, 500)
    session = study.session("bert", "one")
    for position, (exposure, showings) in enumerate(
        [(1000, 1), (1000, 1), (799, 1), (1301, 1), (800, 1), (1300, 1), (1000, 2), (100, 2)]
    ):
        session.answer(position, True, exposure, 500, showings)
    result = results(study)
    assert result.excluded == {
        "practice": 4, "in sessions not finished": 3, "exposure too short or long": 3, "shown again": 1,
    }  # fmt: skip
    judged = result.models["one"]
    assert judged.r2g.shown + judged.g2r.shown == 2
    assert result.answers == 2 + sum(result.excluded.values())
    assert result.incomplete_sessions == 1
    text = result.to_markdown()
    assert "noise: 2 raters, 13 answers." in text
    assert "practice 4, in sessions not finished 3, exposure too short or long 3, shown again 1" in text

    lenient = results(study, tolerance=(0.0, 2.0), complete_only=False)
    assert lenient.excluded == {
        "practice": 4, "in sessions not finished": 0, "exposure too short or long": 0, "shown again": 2,
    }  # fmt: skip
    assert lenient.models["one"].raters == 2
    with pytest.raises(DataError, match="tolerance"):
        results(study, tolerance=(1.3, 0.8))


def test_the_tolerance_goes_with_the_exposure(tmp_path: Path) -> None:
    study = make(tmp_path, Protocol(real=4, generated=4, practice=2, exposure_s=0.5))
    rate(study.session("anna", "one"), lambda position, truth: truth, exposure_ms=1000)
    assert results(study).excluded["exposure too short or long"] == 6
    rate(study.session("bert", "one"), lambda position, truth: truth, exposure_ms=500)
    assert results(study).models["one"].raters == 1


def test_wilson_is_where_the_score_test_just_does_not_reject() -> None:
    """Its definition: at either end p, the share found lies 1.96 standard errors of p away."""
    for wrong, shown in ((0, 10), (1, 50), (7, 30), (25, 50), (50, 50), (139, 1500)):
        share = wrong / shown
        for end in wilson(wrong, shown):
            if end in (0.0, 1.0):
                assert share == end
            else:
                assert abs(share - end) / math.sqrt(end * (1 - end) / shown) == pytest.approx(1.959964, abs=1e-5)
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=5e-5)  # a textbook's figures
    assert all(map(math.isnan, wilson(0, 0)))


def test_the_bootstrap_draws_raters_and_not_answers() -> None:
    generator = np.random.default_rng(0)
    alike = np.stack([generator.binomial(50, 0.3, size=40), np.full(40, 50)], axis=1)
    apart = np.array([[45, 50]] * 13 + [[0, 50]] * 27)  # nearly the same share of all answers
    low, high = bootstrap(alike, 4_000, seed=1)
    # Of answers that do not depend on their rater the interval is the normal one.
    half = 1.96 * math.sqrt(0.3 * 0.7 / 2000)
    assert high - low == pytest.approx(2 * half, rel=0.3)
    wide_low, wide_high = bootstrap(apart, 4_000, seed=1)
    assert wide_high - wide_low > 5 * (high - low), "raters who differ make the share less sure"
    assert bootstrap(apart, 4_000, seed=1) == (wide_low, wide_high)
    assert all(map(math.isnan, bootstrap(apart[:1], 100, seed=1)))
    assert all(map(math.isnan, bootstrap(np.array([[1, 2], [0, 0]]), 100, seed=1)))


def test_published_figures_stand_beside_and_are_marked(study: Study) -> None:
    rate(study.session("anna", "one"), lambda position, truth: truth)
    result = results(study)
    text = result.to_markdown()
    assert "| G1+D, DeepFashion † | 30 | – | – | – | – | 9.3 % | – | – |" in text
    assert "| G1+G2+D, DeepFashion † | 30 | – | – | – | – | 14.9 % | – | – |" in text
    assert "† published, not verified against the PDF" in text
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["source"] for row in rows] == ["this study", *["published, not verified against the PDF"] * 2]
    assert [row["g2r"] for row in rows] == ["0.000000", "0.093", "0.149"]
    assert (rows[0]["g2r_wrong"], rows[0]["g2r_shown"], rows[1]["r2g"]) == ("0", "3", "")


def test_latex_has_its_columns_and_escapes(tmp_path: Path) -> None:
    study = make(tmp_path, models=("50%_a&b",))
    latex = results(study).to_latex()
    assert r"50\%\_a\&b" in latex and r"9.3 \%" in latex and "†" not in latex and "–" not in latex
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") or line.endswith(r"\\ \hline")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {8}
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1


def test_a_result_is_saved_in_four_forms(study: Study, tmp_path: Path) -> None:
    rate(study.session("anna", "one"), lambda position, truth: truth)
    result = results(study)
    paths = result.save(tmp_path / "out")
    assert [path.name for path in paths] == ["table2.md", "table2.csv", "table2.tex", "table2.json"]
    assert [path.read_text(encoding="utf-8") for path in paths] == [
        result.to_markdown(), result.to_csv(), result.to_latex(), result.to_json(),
    ]  # fmt: skip
    assert json.loads(paths[3].read_text())["models"]["one"]["g2r"]["shown"] == 3


# -- The widget --------------------------------------------------------------------------------------------------------


@pytest.fixture
def new_widget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes widgets without a pause between the images."""
    pytest.importorskip("ipywidgets", reason="the widget needs ipywidgets: pip install 'pg2lib[notebooks]'")
    from pg2lib.user_study import widget

    monkeypatch.setattr(widget, "PAUSE_S", 0.0)
    return widget.RaterWidget


@pytest.fixture
def quick(tmp_path: Path) -> Study:
    return make(tmp_path, Protocol(real=4, generated=4, practice=2, exposure_s=0.02))


def answers(study: Study) -> list[Any]:
    with study.database() as database:
        return database.execute("SELECT * FROM answers ORDER BY position").fetchall()


def test_the_widget_takes_a_rater_through_a_session(quick: Study, new_widget: Callable[..., Any]) -> None:
    study = quick
    rater = new_widget(study, "anna")
    rater.real.click()
    assert study.raters() == (), "nothing is stored before the start"
    shown: list[bytes] = []
    rater.picture.observe(lambda change: shown.append(change["new"]), "value")
    rater.start.click()
    for position in range(5):
        assert rater.real.disabled is rater.generated.disabled is False and rater.start.disabled
        assert ("Practice" in rater.words.value) == (position < 2)
        (rater.real if position % 2 else rater.generated).click()

    again = new_widget(study, "anna")  # another day
    again.picture.observe(lambda change: shown.append(change["new"]), "value")
    again.start.click()
    for _ in range(3):
        again.real.click()
    assert "Done" in again.words.value and again.start.disabled and again.real.disabled
    again.real.click()

    session = study.session("anna", "one")
    assert session.finished
    rows = answers(study)
    assert [row["says_real"] for row in rows] == [0, 1, 0, 1, 0, 1, 1, 1]
    assert all(row["exposure_ms"] >= 20 for row in rows)
    seen = [np.asarray(Image.open(io.BytesIO(png))) for png in shown[::2]]
    factor = seen[0].shape[0] // 12
    positions = [0, 1, 2, 3, 4, 5, 5, 6, 7]  # the sixth was on the screen when the rater broke off
    for position, picture in zip(positions, seen, strict=True):
        assert np.array_equal(picture[::factor, ::factor], pixels(session.image_path(position))), position
    assert len(set(shown[1::2])) == 1, "and between them the same grey"
    assert results(study, tolerance=(1.0, math.inf)).models["one"].raters == 1


def test_an_answer_in_the_widget_counts_for_the_image_it_showed(quick: Study, new_widget: Callable[..., Any]) -> None:
    """One rater in two notebooks: the second has answered what both show."""
    first, second = new_widget(quick, "anna"), new_widget(quick, "anna")
    first.start.click()
    second.start.click()
    second.real.click()
    first.generated.click()
    assert [(row["position"], row["says_real"]) for row in answers(quick)] == [(0, 1)]
    assert "position 0 already has another answer" in first.words.value
    assert first.real.disabled and first.generated.disabled and not first.start.disabled

    first.start.click()
    assert "Practice 2 of 2" in first.words.value
    first.generated.click()
    assert [(row["position"], row["says_real"]) for row in answers(quick)] == [(0, 1), (1, 0)]


def test_the_widget_says_what_a_session_stops_at_and_goes_on(quick: Study, new_widget: Callable[..., Any]) -> None:
    nobody = new_widget(quick, "<b>")
    nobody.start.click()
    assert "a rater's name is 1 to 64 letters, digits, '-' and '_', got '&lt;b&gt;'" in nobody.words.value

    rater = new_widget(quick, "anna")
    path = quick.image_path(quick.session("anna", "one").images[1])
    away = path.rename(path.with_suffix(".away"))
    rater.start.click()
    rater.real.click()
    assert path.name in rater.words.value and rater.real.disabled and not rater.start.disabled
    away.rename(path)
    rater.start.click()
    rater.real.click()
    assert [row["says_real"] for row in answers(quick)] == [1, 1]


def test_clicks_too_many_do_nothing_in_the_widget(
    quick: Study, new_widget: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rater = new_widget(quick, "anna")
    rater.start.click()
    rater.start.click()
    store = Session.answer
    given: list[int] = []

    def answer_while_clicked(session: Session, position: int, *values: Any) -> int:
        given.append(position)
        if len(given) == 1:
            rater.generated.click()
        return store(session, position, *values)

    monkeypatch.setattr(Session, "answer", answer_while_clicked)
    rater.real.click()
    assert given == [0]
    assert [(row["says_real"], row["showings"]) for row in answers(quick)] == [(1, 1)]
