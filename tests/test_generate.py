"""``python -m pg2lib generate``: poses, people, animations and recipes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import NoPersonError, PG2Config, PG2Pipeline, Pose, build_models, interpolate, pose_presets, read_recipe
from pg2lib.cli import main
from pg2lib.detect import Detection
from pg2lib.framing import Framing
from tests.conftest import STANDING

FRAMING = Framing(x=0.5, y={"nose": 0.125, "neck": 0.2, "hips": 0.49, "knees": 0.69, "ankles": 0.89})

SMALL, LARGE, MIDDLE = ((10, 40, 0.5), (70, 10, 1.0), (150, 30, 0.7))
"""Where people stand in the photo: x, y and scale."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    folder = tmp_path_factory.mktemp("weights")
    PG2Pipeline(*build_models(config)[:2], config, FRAMING).save_pretrained(folder)
    return folder


@pytest.fixture
def generate(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command on a photo of three people; returns the exit code."""
    Image.effect_noise((240, 150), 90).save(tmp_path / "me.png")
    standing = torch.tensor(STANDING, dtype=torch.float32)

    def people(image: Image.Image) -> list[Detection]:
        if image.size != (240, 150):
            raise NoPersonError("nobody there")
        poses = [Pose(standing * scale + torch.tensor((x, y)), (150, 240)) for x, y, scale in (LARGE, MIDDLE, SMALL)]
        return [Detection(pose, attempt=0, confidence=0.9) for pose in poses]

    monkeypatch.setattr("pg2lib.detect.find_people", people)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["generate", "me.png", "--weights", str(weights), *map(str, arguments)])


def neck_x(path: str) -> float:
    return float(read_recipe(path).condition_pose.xy[1, 0])


def target(path: str) -> Pose:
    return read_recipe(path).target_pose


def test_people_are_listed_from_left_to_right_and_nothing_is_written(generate, capsys, tmp_path: Path) -> None:
    assert generate("--list-people") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1: from (19, 47) to (33, 96), full body",
        "2: from (88, 24) to (116, 122), full body, the most prominent",
        "3: from (163, 40) to (182, 108), full body",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["me.png"]


def test_of_several_people_the_most_prominent_is_used_and_said(generate, capsys) -> None:
    assert generate("--pose", "waving", "--out", "out.png") == 0
    said = capsys.readouterr().err
    assert "3 people" in said and "Person 2" in said and "--person" in said and "--list-people" in said
    assert neck_x("out.png") == 70 + 32


@pytest.mark.parametrize(("person", "x"), [(1, 10 + 16), (2, 70 + 32), (3, 150 + 32 * 0.7)])
def test_a_person_is_chosen_by_number_and_nothing_is_said(generate, capsys, person: int, x: float) -> None:
    assert generate("--pose", "waving", "--out", "out.png", "--person", person) == 0
    assert capsys.readouterr().err == ""
    assert neck_x("out.png") == pytest.approx(x)
    assert len(read_recipe("out.png").other_poses) == 2


def test_a_person_who_is_not_there(generate, capsys) -> None:
    assert generate("--pose", "waving", "--out", "out.png", "--person", 4) == 1
    assert "1 to 3" in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_presets_and_files_stand_side_by_side(generate, standing: Pose) -> None:
    Path("pose.json").write_text(standing.to_json())
    assert generate("--pose", "sitting", "--pose", "pose.json", "--out", "out.png", "--retarget", 0) == 0
    assert target("out-1.png") == pose_presets()["sitting"]
    assert target("out-2.png") == standing


def test_of_several_poses_in_a_file_one_is_chosen(generate, standing: Pose) -> None:
    flat = [value for x, y in standing.xy.tolist() for value in (x / 64, y / 128, 1)]
    squeezed = [value / (2 if number % 3 == 0 else 1) for number, value in enumerate(flat)]
    frames = [{"people": [{"pose_keypoints_2d": values}]} for values in (flat, squeezed)]
    Path("frames.json").write_text(json.dumps(frames))
    arguments = ["--pose", "frames.json", "--out", "out.png", "--retarget", 0]
    assert generate(*arguments, "--pose-number", 2) == 1, "the file holds fractions"
    assert generate(*arguments, "--pose-number", 2, "--pose-canvas", "128x64") == 0
    half = standing.xy * torch.tensor([0.5, 1.0])
    torch.testing.assert_close(target("out.png").xy, half, atol=0.01, rtol=0)
    assert generate(*arguments, "--pose-number", 3, "--pose-canvas", "128x64") == 1
    assert generate(*arguments, "--pose-canvas", "128") == 1


@pytest.mark.parametrize(("number", "scale"), [(None, 1.0), (1, 0.5), (3, 0.7)])
def test_of_several_people_in_a_target_image_one_is_chosen(generate, caplog, number: int | None, scale: float) -> None:
    arguments = [] if number is None else ["--pose-number", number]
    assert generate("--pose", "me.png", "--out", "out.png", "--person", 2, *arguments) == 0
    assert ("most prominent of 3 people" in caplog.text) == (number is None)


def test_where_nobody_is_found_a_box_is_suggested(generate, capsys) -> None:
    pytest.importorskip("mediapipe.python.solutions", reason="needs mediapipe with its models")
    Image.effect_noise((600, 500), 90).save("me.png")
    assert generate("--pose", "waving", "--out", "out.png") == 1
    assert "me.png: nobody there, or say where the person is with --box" in capsys.readouterr().err


def test_a_box_says_where_the_person_is(generate, capsys) -> None:
    Image.effect_noise((600, 500), 90).save("me.png")
    assert generate("--pose", "waving", "--out", "out.png", "--person", 2, "--box", 300, 200, 540, 350) == 0
    assert neck_x("out.png") == 300 + 70 + 32
    assert generate("--list-people", "--box", 300, 200, 540, 350) == 0
    assert capsys.readouterr().out.count("\n") == 3 + 1
    assert generate("--pose", "waving", "--out", "out.png", "--box", 700, 200, 900, 350) == 1
    assert "box: expected left, top, right and bottom" in capsys.readouterr().err


def test_an_unknown_preset_lists_the_presets(generate, capsys) -> None:
    assert generate("--pose", "wavin", "--out", "out.png", "--person", 1) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(name in error for name in pose_presets())


def test_target_poses_take_the_persons_proportions_as_far_as_asked(generate, weights: Path) -> None:
    pipe = PG2Pipeline.from_pretrained(weights, "cpu")
    for strength, arguments in ((1, []), (1, ["--retarget", 1]), (0.5, ["--retarget", 0.5]), (0, ["--retarget", 0])):
        assert generate("--pose", "waving", "--out", "out.png", *arguments) == 0
        assert target("out.png") == pipe("me.png", "waving", retarget=strength).target_pose
    with pytest.raises(SystemExit):
        generate("--pose", "waving", "--out", "out.png", "--retarget", 1.5)


def test_a_photo_is_turned_first(generate) -> None:
    Image.open("me.png").transpose(Image.Transpose.ROTATE_90).save("me.png")
    assert generate("--pose", "waving", "--out", "out.png", "--turn", 0) == 1, "nobody is found in it as it is"
    assert generate("--pose", "waving", "--out", "out.png", "--turn", 90) == 0
    recipe = read_recipe("out.png")
    assert (recipe.turn, recipe.photo_size, recipe.condition_pose.canvas) == (90, (240, 150), (150, 240))
    assert generate("--list-people", "--turn", 90) == 0


def test_a_photo_on_its_side_is_turned_by_itself(generate, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg2lib.detect.suggested_turn", lambda image, people, detector: 0 if people else 90)
    assert generate("--pose", "waving", "--out", "upright.png") == 0
    assert "turned" not in capsys.readouterr().err
    Image.open("me.png").transpose(Image.Transpose.ROTATE_90).save("me.png")
    assert generate("--pose", "waving", "--out", "out.png") == 0
    assert "me.png is turned clockwise by 90 degrees" in (told := capsys.readouterr().err) and "--turn 0" in told
    recipe = read_recipe("out.png")
    assert (recipe.turn, recipe.photo_size, recipe.condition_pose.canvas) == (90, (240, 150), (150, 240))
    assert np.array_equal(Image.open("out.png"), Image.open("upright.png"))
    assert generate("--recipe", "out.png", "--out", "again.png") == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    capsys.readouterr()
    assert generate("--list-people") == 0
    listed = capsys.readouterr()
    assert "turned" in listed.err and listed.out.count("\n") == 3


def test_a_recipe_gives_the_same_file_again(generate, capsys) -> None:
    assert generate("--pose", "waving", "--person", 1, "--retarget", 0.3, "--out", "out.png") == 0
    Path("recipe.json").write_text(read_recipe("out.png").to_json())
    for recipe in ("out.png", "recipe.json"):
        assert generate("--recipe", recipe, "--out", "again.png") == 0
        assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    assert generate("--recipe", "out.png", "--out", "grid.png", "--grid") == 0
    assert Image.open("grid.png").width > 4 * 2 * 64


def test_a_recipe_takes_the_shipped_checkpoint_that_it_names(generate, capsys) -> None:
    """The default checkpoint is another one."""
    shipped = ["--weights", "market1501-compact"]
    assert main(["generate", "me.png", "--pose", "waving", "--person", "2", "--out", "out.png", *shipped]) == 0
    assert main(["generate", "me.png", "--recipe", "out.png", "--out", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()
    assert generate("--recipe", "out.png", "--out", "again.png") == 1
    assert "market1501-compact" in capsys.readouterr().err


def test_an_animation_goes_from_one_pose_to_the_other_and_back(generate, weights: Path) -> None:
    assert generate("--animate", "waving", "arms raised", "--frames", 4, "--fps", 10, "--out", "out.gif") == 0
    gif = Image.open("out.gif")
    assert (gif.n_frames, gif.info["duration"], gif.size) == (6, 100, (64, 128))
    frames = []
    for number in range(6):
        gif.seek(number)
        frames.append(np.asarray(gif.convert("RGB")))
    assert np.array_equal(frames[1], frames[5]) and np.array_equal(frames[2], frames[4])
    pipe = PG2Pipeline.from_pretrained(weights, "cpu")
    first, last = (output.target_pose for output in pipe("me.png", ["waving", "arms raised"]))
    view = pipe.look("me.png")
    for frame, pose in zip(frames, interpolate(first, last, 4), strict=False):
        expected = np.asarray(pipe.repose(view, [pose])[0].to_pil()).astype(int)
        assert np.abs(frame.astype(int) - expected).mean() < 8, "but for the GIF's palette, the frames are the pictures"


def test_an_animation_as_mp4(generate) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    assert generate("--animate", "waving", "sitting", "--frames", 3, "--out", "out.mp4") == 0
    with av.open("out.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose", "waving"], "--out"),
        (["--pose", "waving", "--out", "out.xyz"], "out.xyz"),
        (["--animate", "waving", "sitting", "--out", "out.png"], ".gif or .mp4"),
        (["--animate", "waving", "sitting", "--out", "out.gif", "--grid"], "--animate and --grid"),
        (["--animate", "waving", "sitting", "--out", "out.gif", "--frames", "1"], "at least 2 frames"),
        (["--pose", "waving", "--out", "out.png", "--no-crop", "--person", "1"], "--no-crop and --person"),
        (["--recipe", "me.png", "--out", "out.png", "--box", "0", "0", "90", "90"], "--recipe and --box"),
        (["--recipe", "me.png", "--out", "out.png", "--person", "1"], "--recipe and --person"),
        (["--recipe", "me.png", "--out", "out.png", "--turn", "90"], "--recipe and --turn"),
        (["--recipe", "me.png", "--out", "out.png"], "me.png: .*no recipe"),
        (["--recipe", "me.png", "--out", "me.png"], "name another file"),
    ],
)
def test_options_that_do_not_go_together(generate, capsys, arguments: list[str], message: str) -> None:
    before = Path("me.png").read_bytes()
    assert generate(*arguments) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("pg2lib: ")
    assert re.search(message, error)
    assert [path.name for path in Path().iterdir()] == ["me.png"] and Path("me.png").read_bytes() == before


def test_one_of_pose_animate_recipe_and_list_people_is_needed(generate) -> None:
    for arguments in ([], ["--pose", "waving", "--list-people"], ["--turn", "45", "--list-people"]):
        with pytest.raises(SystemExit) as stopped:
            generate(*arguments, "--out", "out.png")
        assert stopped.value.code == 2
