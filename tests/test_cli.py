"""The command line, run as a user runs it: ``python -m pg2lib``."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import DataError, PG2Config, PG2Pipeline, Pose, build_models, read_keypoints
from pg2lib.cli import main
from pg2lib.cli.options import closing_bars, progress_bar
from pg2lib.cli.training import assignments
from pg2lib.data.photos import read_photos
from pg2lib.framing import Framing
from tests.conftest import ROOT, STANDING, make_market1501

SMALL = ["--set", "model.base_width=4", "--set", "model.bottleneck=8", "--set", "model.discriminator_width=4"]
SMALL += ["--set", "stage1.batch_size=4", "--set", "stage2.batch_size=4"]


def pg2lib(*arguments: object, check: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pg2lib", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A trained run on a tiny data set, made by the train command."""
    root = tmp_path_factory.mktemp("cli")
    make_market1501(root / "market1501")
    steps = ["--set", "stage1.steps=3", "--set", "stage2.steps=2"]
    done = pg2lib(
        "train", "--data", root / "market1501", "--config", "fast", *SMALL, *steps, "--out", root / "run", "--cpu"
    )
    assert "pipeline" in done.stdout
    return root


def test_train_leaves_a_pipeline_that_loads(run: Path) -> None:
    pipeline = PG2Pipeline.from_pretrained(run / "run" / "pipeline", device="cpu")
    assert pipeline.config.stage1.steps == 3
    assert pipeline.training["data"] == "Market-1501 train, pair rule torso"
    assert pipeline.training["seconds"]["stage1"] > 0


def test_evaluate_writes_a_report_and_one_row_per_pair(run: Path) -> None:
    done = pg2lib(
        "evaluate", "--data", run / "market1501", "--split", "train", "--weights", run / "run" / "pipeline",
        "--count", 5, "--seed", 1, "--out", run / "report",
    )  # fmt: skip
    assert "| refined " in done.stdout
    report = json.loads((run / "report" / "report.json").read_text())
    assert (report["pairs"], report["data"]) == (5, "Market-1501 train, pairs all, 5 drawn with seed 1")
    assert len((run / "report" / "pairs.csv").read_text().splitlines()) == 6
    assert (run / "report" / "report.md").read_text() == done.stdout


@pytest.fixture(scope="module")
def results(run: Path) -> Path:
    """Results of two methods for some pairs of the tiny data set: the target images, and black images."""
    images = run / "market1501" / "bounding_box_train"
    names = sorted(path.name for path in images.iterdir())[:4]
    (run / "pairs.csv").write_text("from,to\n" + "".join(f"{names[0]},{name}\n" for name in [*names[1:], "gone.jpg"]))
    for method in ("perfect", "black"):
        (run / method).mkdir()
    for name in names[1:]:
        file = f"{Path(names[0]).stem}___{Path(name).stem}_vis.png"
        Image.open(images / name).save(run / "perfect" / file)
        if name != names[1]:
            Image.new("RGB", (3 * 64, 128)).save(run / "black" / file)
    return run


def test_score_writes_a_report_of_another_methods_results(results: Path) -> None:
    done = pg2lib(
        "score", results / "perfect", "--targets", results / "market1501", "--split", "train",
        "--pairs", results / "pairs.csv", "--dialect", "gfla", "--out", results / "score",
    )  # fmt: skip
    report = json.loads((results / "score" / "report.json").read_text())
    assert report["figures"]["generated"]["ssim"]["mean"] == pytest.approx(1, abs=1e-5)
    assert (report["pairs"], report["dialect"], report["model"]) == (3, "gfla", {"name": "perfect"})
    assert [(entry["kind"], entry["name"]) for entry in report["files"]["unscored"]] == [("missing", "pairs.csv:5")]
    assert len((results / "score" / "pairs.csv").read_text().splitlines()) == 4
    assert (results / "score" / "report.md").read_text() in done.stdout


def test_score_compares_two_methods_on_the_pairs_they_share(results: Path, capsys) -> None:
    arguments = ["score", f"{results}/perfect", f"{results}/black", "--targets", f"{results}/market1501"]
    arguments += ["--split", "train", "--pairs", f"{results}/pairs.csv", "--out", f"{results}/two"]
    assert main([*arguments, "--name", "ours", "--name", "theirs"]) == 0
    assert (results / "two" / "ours" / "report.json").is_file() and (results / "two" / "theirs" / "pairs.csv").is_file()
    text = (results / "two" / "comparison.md").read_text()
    assert text in capsys.readouterr().out and "ours minus theirs" in text and "2 pairs." in text
    for wrong, message in (
        ([f"{results}/perfect/../perfect"], "one or two folders"),
        (["--name", "alone"], "--name: expected one name per folder"),
        (["--name", "same", "--name", "Same"], "different names"),
        (["--name", "a", "--name", "../b"], "without a slash"),
        (["--fid", "train"], "--inception"),
        (["--names", f"{results}/pairs.csv"], "pairs.csv:1"),
    ):
        split = 3 if wrong[0].startswith("/") else len(arguments)
        assert main([*arguments[:split], *wrong, *arguments[split:]]) == 1
        assert message in capsys.readouterr().err


def test_generate_takes_a_pose_in_json(run: Path) -> None:
    image = next((run / "market1501" / "bounding_box_train").iterdir())
    pose = run / "pose.json"
    pose.write_text(Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64)).to_json())
    weights = ["--weights", run / "run" / "pipeline", "--no-crop"]
    pg2lib("generate", image, "--pose", pose, "--out", run / "out.png", *weights)
    assert Image.open(run / "out.png").size == (64, 128)
    pg2lib("generate", image, "--pose", pose, "--out", run / "grid.jpg", "--grid", *weights)
    assert Image.open(run / "grid.jpg").width > 5 * 2 * 64


def test_generate_takes_several_poses(run: Path, tmp_path) -> None:
    image = next((run / "market1501" / "bounding_box_train").iterdir())
    standing = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64))
    (tmp_path / "a.json").write_text(standing.to_json())
    (tmp_path / "b.json").write_text(standing.flip().to_json())
    poses = ["--pose", f"{tmp_path}/a.json", "--pose", f"{tmp_path}/b.json"]
    common = ["generate", str(image), "--weights", f"{run}/run/pipeline", "--no-crop"]
    assert main([*common, *poses, "--out", f"{tmp_path}/out.png"]) == 0
    assert main([*common, *poses[2:], "--out", f"{tmp_path}/b.png"]) == 0
    assert main([*common, *poses, "--out", f"{tmp_path}/grid.png", "--grid"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["b.png", "grid.png", "out-1.png", "out-2.png"]
    assert grey_levels_between(tmp_path / "out-2.png", tmp_path / "b.png") <= 1
    assert Image.open(tmp_path / "grid.png").height > 2 * 2 * 128


def grey_levels_between(one: Path, other: Path) -> int:
    """The largest difference between two pictures."""
    pixels = [np.asarray(Image.open(path)).astype(int) for path in (one, other)]
    return int(np.abs(pixels[0] - pixels[1]).max())


WRITERS = {
    "generate": ["generate", "{image}", "--pose", "{run}/pose.json", "--no-crop", "--weights", "{run}/run/pipeline"],
    "evaluate": [
        "evaluate",
        "--data",
        "{run}/market1501",
        "--split",
        "train",
        "--weights",
        "{run}/run/pipeline",
        "--count",
        "2",
    ],
    "score": [
        "score",
        "{run}/perfect",
        "--targets",
        "{run}/market1501",
        "--split",
        "train",
        "--pairs",
        "{run}/pairs.csv",
    ],
    "train": ["train", "--data", "{run}/market1501", "--config", "fast", *SMALL, "--cpu"],
    "prepare": ["prepare", "{run}/pose.json", "--format", "auto"],
    "synthesize": ["synthesize", "--people", "1", "--test-people", "1", "--workers", "1"],
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_and_a_read_only_folder_are_one_sentence(
    results: Path, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch, command: str, number: int
) -> None:
    """The error comes when a folder for unfinished work is made, or at last, when a file is written to the disk."""
    standing = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64))
    (results / "pose.json").write_text(standing.to_json())
    image = min((results / "market1501" / "bounding_box_train").iterdir())
    arguments = [argument.format(run=results, image=image) for argument in WRITERS[command]]
    out = tmp_path / {"generate": "out.png", "prepare": "keypoints.csv"}.get(command, "out")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, "fsync", refuse) if number == errno.ENOSPC else ("pg2lib.files._new_part", refuse)))
    assert main([*arguments, "--out", str(out)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("pg2lib: ") and f"{tmp_path}/" in said and os.strerror(number) in said
    assert "another" in said
    assert not list(tmp_path.rglob("*.part")) or command == "synthesize"  # which resumes from it


def test_an_error_of_the_system_that_nobody_foresaw_is_a_sentence(tmp_path, capsys, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/somewhere")

    monkeypatch.setattr("pg2lib.doctor.examine_installation", refuse)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.startswith("pg2lib: /tmp/somewhere: No space left on device. Free some space")


def test_export_is_quiet_and_onnxruntime_draws_the_same_picture(tmp_path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override(
        {"model.height": 32, "model.width": 16, "model.base_width": 4, "model.bottleneck": 8}
    )
    folder = tmp_path / "my pipeline"
    PG2Pipeline(*build_models(config)[:2], config, Framing(0.5, {"neck": 0.2})).save_pretrained(folder)
    done = pg2lib("export", folder)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{folder}/model.onnx: ") and done.stdout.count("\n") == 1
    Image.effect_noise((16, 32), 60).save(tmp_path / "me.png")
    pose = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64)).resize((32, 16))
    (tmp_path / "pose.json").write_text(pose.to_json())
    for backend in ("torch", "onnxruntime"):
        arguments = ["--pose", f"{tmp_path}/pose.json", "--out", f"{tmp_path}/{backend}.png", "--weights", str(folder)]
        assert main(["generate", f"{tmp_path}/me.png", *arguments, "--no-crop", "--backend", backend]) == 0
    assert grey_levels_between(tmp_path / "torch.png", tmp_path / "onnxruntime.png") <= 1


@pytest.mark.parametrize(
    "command",
    ["synthesize", "prepare", "train", "evaluate", "score", "table1", "results", "generate", "export", "doctor"],
)
def test_help_has_an_example(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"python -m pg2lib {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere", "--out", "{tmp}/o"], "no folder nowhere"),
        (["train", "--data", "{data}", "--config", "markt1501", "--out", "{tmp}/o"], "did you mean 'market1501'"),
        (["train", "--data", "{data}", "--set", "stage1.step=1", "--out", "{tmp}/o"], "did you mean 'steps'"),
        (["train", "--data", "{data}", "--set", "steps", "--out", "{tmp}/o"], "expected KEY=VALUE"),
        (["evaluate", "--data", "{data}", "--weights", "{tmp}", "--out", "{tmp}/o"], "not a pipeline folder"),
        (["generate", "{tmp}/no.jpg", "--pose", "waving", "--out", "{tmp}/o.png"], "{tmp}/no.jpg"),
        (["export", "{tmp}/nothing"], "{tmp}/nothing"),
        (["prepare", "{tmp}/nowhere", "--out", "{tmp}/k.csv"], "no folder"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--shard", "4/3"], "numbered from 1 to 3"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--merge"], "{tmp}/k.csv has no shard"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--merge", "--crop", "9x9"], "--merge and --crop"),
        (["prepare", "{data}", "--out", "{tmp}/o", "--crop", "128"], "expected HEIGHTxWIDTH"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--person-from", "name"], "--person-from needs --crop"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--workers", "0"], "workers must be at least 1"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--format", "openpose"], "holds no *_keypoints.json"),
        (["prepare", "{tmp}/no.json", "--out", "{tmp}/k.csv", "--format", "coco"], "no file {tmp}/no.json"),
        (["prepare", __file__, "--out", "{tmp}/k.csv"], "is a file; expected a folder of images"),
        (["prepare", "{data}", "--out", "{tmp}/k.csv", "--canvas", "9x9"], "--canvas are for pose files"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, tmp_path, tiny_market1501, capsys
) -> None:
    filled = [argument.format(tmp=tmp_path, data=tiny_market1501) for argument in arguments]
    assert main(filled) == 1
    error = capsys.readouterr().err
    assert message.format(tmp=tmp_path) in error
    assert error.startswith("pg2lib: ") and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


class FindsTheStandingPerson:
    """In MediaPipe's place: the same pose in every picture, as large as the picture."""

    settings = "the standing person"

    def __enter__(self) -> FindsTheStandingPerson:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def detect(self, image: Image.Image) -> SimpleNamespace:
        pose = Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64)).resize((image.height, image.width))
        return SimpleNamespace(pose=pose)


def test_prepare_in_shards_merges_into_what_one_run_writes(
    tiny_market1501: Path, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", FindsTheStandingPerson)
    images = str(tiny_market1501 / "bounding_box_train")
    assert main(["prepare", images, "--out", f"{tmp_path}/whole.csv", "--workers", "1"]) == 0
    for shard in ("1/2", "2/2"):
        assert main(["prepare", images, "--out", f"{tmp_path}/k.csv", "--workers", "1", "--shard", shard]) == 0
    assert "6 poses in" in capsys.readouterr().out
    assert main(["prepare", images, "--out", f"{tmp_path}/k.csv", "--merge"]) == 0
    assert f"12 poses in {tmp_path}/k.csv; 0 images without a person, 0 unreadable\n" in capsys.readouterr().out
    assert (tmp_path / "k.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(read_keypoints(tmp_path / "k.csv", (128, 64))) == 12


def test_prepare_crops_ones_own_photos(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", FindsTheStandingPerson)
    for person, size in (("anna", (640, 480)), ("ben", (300, 400))):
        (tmp_path / "photos" / person).mkdir(parents=True)
        Image.new("RGB", size).save(tmp_path / "photos" / person / "beach.jpg")
    crops = tmp_path / "people"
    assert main(["prepare", f"{tmp_path}/photos", "--out", str(crops), "--crop", "128x64", "--workers", "1"]) == 0
    table = read_photos(crops)
    assert (table.persons, table.canvas) == (("anna", "ben"), (128, 64))
    assert all(float(pose.visible.sum()) == 18 for pose in table.poses())


def test_prepare_says_whom_it_understood_and_what_it_left_out(
    tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", FindsTheStandingPerson)
    for name in ("train/p01_1.jpg", "train/p01_2.gif", "test/p02_1.tif", "test/p02_2.webp"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 80)).save(tmp_path / "photos" / name)
    for name in ("p03_1.HEIC", "p03_2.HEIC"):
        (tmp_path / "photos" / "test" / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    for number in range(11):
        (tmp_path / "photos" / f"film{number:02}.mov").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "photos", "--out", "out", "--crop", "128x64", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "  train: 1 person: p01 (2)\n  test: 2 people: p02 (2), p03 (2)\n4 crops" in told
    assert "\nNo photo could be used of p03\n" in told
    assert "4 poses in out/photos.csv; 0 images without a person, 2 unreadable, 11 other files (listed in" in told
    assert "\n  photos/test/p03_1.HEIC is a HEIC photo" in told
    assert "\n  film00.mov: a video" in told and told.endswith("and 3 more\n")
    assert len((tmp_path / "out" / "photos.missing.txt").read_text().splitlines()) == 13
    assert set(read_photos(tmp_path / "out", "test").persons) == {"p02"}


def test_prepare_asks_who_is_on_the_photos(tmp_path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", FindsTheStandingPerson)
    for name in ("train/IMG_1.jpg", "test/IMG_2.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 80)).save(tmp_path / "photos" / name)
    command = ["prepare", f"{tmp_path}/photos", "--out", f"{tmp_path}/out", "--crop", "128x64", "--workers", "1"]
    assert main(command) == 1
    assert "--person-from folder gives 2 people" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--person-from", "name"]) == 0
    assert set(read_photos(tmp_path / "out").persons) == {"IMG"}


def test_prepare_imports_openpose(tmp_path) -> None:
    (tmp_path / "json").mkdir()
    values = [value for x, y in STANDING for value in (x, y, 0.9)]
    text = json.dumps({"people": [{"pose_keypoints_2d": values}]})
    (tmp_path / "json" / "0002_c1s1_000451_03_keypoints.json").write_text(text)
    assert main(["prepare", f"{tmp_path}/json", "--format", "openpose", "--out", f"{tmp_path}/k.csv"]) == 0
    table = read_keypoints(tmp_path / "k.csv", (128, 64))
    assert table.names == ("0002_c1s1_000451_03.jpg",)
    assert table.xy[0].tolist() == [[float(x), float(y)] for x, y in STANDING]


def test_prepare_refuses_to_write_among_the_photos(tmp_path, capsys) -> None:
    (tmp_path / "photos" / "anna").mkdir(parents=True)
    Image.new("RGB", (64, 128)).save(tmp_path / "photos" / "anna" / "a.png")
    before = (tmp_path / "photos" / "anna" / "a.png").read_bytes()
    for out in ("photos", "photos/crops", "."):
        assert main(["prepare", f"{tmp_path}/photos", "--crop", "128x64", "--out", f"{tmp_path}/{out}"]) == 1
        assert "holds the folder of the photos" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "anna", "a.png"]
    assert (tmp_path / "photos" / "anna" / "a.png").read_bytes() == before


def test_prepare_may_crop_again_into_its_own_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg2lib.detect.MediaPipeDetector", FindsTheStandingPerson)
    (tmp_path / "photos" / "anna").mkdir(parents=True)
    Image.new("RGB", (300, 400)).save(tmp_path / "photos" / "anna" / "a.jpg")
    for canvas in ((128, 64), (256, 256)):
        crop = ["--crop", f"{canvas[0]}x{canvas[1]}", "--out", f"{tmp_path}/people", "--workers", "1"]
        assert main(["prepare", f"{tmp_path}/photos", *crop]) == 0
        assert read_photos(tmp_path / "people").canvas == canvas


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["prepare", "{tmp}/in.json", "--format", "coco", "--out", "{tmp}/in.json"], "in.json"),
        (["generate", "{tmp}/me.png", "--pose", "{tmp}/pose.json", "--out", "{tmp}/link.png"], "me.png"),
        (["generate", "{tmp}/b.png", "--pose", "{tmp}/me.png", "--out", "{tmp}/deep/../me.png"], "me.png"),
        (["generate", "{tmp}/me-2.png", *["--pose", "{tmp}/b.png"] * 2, "--out", "{tmp}/me.png"], "me-2.png"),
        (["export", "{tmp}/pipeline", "--out", "{tmp}/pipeline/model.safetensors"], "pipeline/model.safetensors"),
        (["evaluate", "--data", "{tmp}", "--pairs", "{tmp}/pairs.csv", "--out", "{tmp}"], "pairs.csv"),
        (["evaluate", "--data", "{tmp}", "--keypoints", "{tmp}/pairs.csv", "--out", "{tmp}/deep/.."], "pairs.csv"),
        (["score", "{tmp}", "--targets", "d", "--pairs", "{tmp}/pairs.csv", "--out", "{tmp}"], "pairs.csv"),
        (["score", "r", "s", "--targets", "d", "--pairs", "{tmp}/s/pairs.csv", "--out", "{tmp}"], "s/pairs.csv"),
        (["results", "{tmp}/run", "--out", "{tmp}/README.md"], "README.md"),
    ],
)  # fmt: skip
def test_what_a_command_reads_it_does_not_write_over(
    arguments: list[str], kept: str, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("deep", "pipeline", "s"):
        (tmp_path / folder).mkdir()
    names = [
        "in.json",
        "me.png",
        "me-2.png",
        "b.png",
        "pairs.csv",
        "README.md",
        "pipeline/model.safetensors",
        "s/pairs.csv",
    ]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "pipeline" / "config.json").write_text("{}")
    (tmp_path / "pose.json").write_text(Pose(torch.tensor(STANDING, dtype=torch.float32), (128, 64)).to_json())
    (tmp_path / "link.png").symlink_to(tmp_path / "me.png")
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert "name another" in error and Path(kept).name in error
    assert (tmp_path / kept).read_text() == kept


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "--data", "d", "--out", "o", "--sample-every", "-1"],
        ["train", "--data", "d", "--out", "o", "--checkpoint-every", "0"],
        ["evaluate", "--data", "d", "--out", "o", "--count", "0"],
        ["evaluate", "--data", "d", "--out", "o", "--pose-pairs", "some"],
        ["score", "r", "--targets", "d", "--out", "o"],
        ["table1", "--out", "o", "--pairs", "pairs.csv"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_values_of_set_are_json_or_else_strings() -> None:
    given = ["stage1.steps=3", "model.part_warp=true", "stage1.lr=2e-5", "networks=G1+D", 'a="3"', "b=c=d"]
    assert assignments(given) == {
        "stage1.steps": 3, "model.part_warp": True, "stage1.lr": 2e-5, "networks": "G1+D", "a": "3", "b": "c=d",
    }  # fmt: skip


def test_a_progress_bar_starts_again_when_counting_starts_again(capsys) -> None:
    on_progress = progress_bar("decoding", "image")
    for done in (1, 2, 1, 2):
        on_progress(done, 2)
    assert [line.count("2/2") for line in capsys.readouterr().err.strip().split("\n")] == [1, 1]


def test_an_error_under_a_progress_bar_has_a_line_of_its_own(capsys) -> None:
    with pytest.raises(DataError), closing_bars():
        progress_bar("decoding", "image")(1, 2)
        raise DataError
    assert capsys.readouterr().err.endswith("\n")


def test_ctrl_c_ends_training_without_a_traceback_and_it_can_be_resumed(tmp_path) -> None:
    make_market1501(tmp_path / "market1501")
    train = [
        "train",
        "--data",
        str(tmp_path / "market1501"),
        "--out",
        str(tmp_path / "run"),
        "--config",
        "fast",
        *SMALL,
    ]
    train += ["--cpu", "--checkpoint-every", "5", "--sample-every", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pg2lib", *train, "--set", "stage1.steps=100000"],
        stderr=subprocess.PIPE, text=True, env=environment,
        # Where the tests themselves run in the background, a child would inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while not list((tmp_path / "run" / "stage1").glob("step-*.safetensors")):
            assert process.stderr.read(1), "training ended without a checkpoint"  # the progress bar writes all the time
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors
    reached = max(int(path.stem[5:]) for path in (tmp_path / "run" / "stage1").glob("step-*.safetensors"))
    pg2lib(*train, "--set", f"stage1.steps={reached + 1}", "--set", "stage2.steps=1")
    lines = (tmp_path / "run" / "stage1" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, reached + 2))
