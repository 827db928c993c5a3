"""The demo without a browser: its poses, its words, and the handler behind the button."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")
skimage_data = pytest.importorskip("skimage.data", reason="the photos are scikit-image's")

import pg2lib  # noqa: E402
from demo import app  # noqa: E402
from pg2lib import NoPersonError, PG2Config, PG2Pipeline, Pose, build_models, pose_presets, render_heatmaps  # noqa: E402
from pg2lib.detect import Detection  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from pg2lib.pose import JOINTS  # noqa: E402

FRAMING = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88})
PRESETS = pose_presets()
NOSE, NECK = JOINTS.index("nose"), JOINTS.index("neck")
PICTURES = ("part", "condition", "target", "coarse", "difference", "refined")

Handler = Callable[..., tuple[Any, ...]]


def tiny_pipeline(**parts: Any) -> PG2Pipeline:
    """Random weights: pictures without sense that depend on the photo and on the pose."""
    torch.manual_seed(0)
    config = PG2Config.preset("fast")
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, FRAMING, **parts)


@pytest.fixture(scope="module")
def generate() -> Iterator[Handler]:
    """What the button calls: (photo, where the pose is from, preset, photo for the pose) -> note, pictures."""
    pytest.importorskip("mediapipe", reason="finding people needs mediapipe: pip install 'pg2lib[pose]'")
    yield handler_of(tiny_pipeline())


def handler_of(pipeline: PG2Pipeline) -> Handler:
    demo = app.build_demo(pipeline)
    (handler,) = (function.fn for function in demo.fns.values() if function.api_name == "generate")
    assert handler is not None
    return handler


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One person, head and chest (NASA, public domain)."""
    return saved(skimage_data.astronaut(), tmp_path_factory.mktemp("photos") / "astronaut.png")


@pytest.fixture(scope="module")
def coffee(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nobody."""
    return saved(skimage_data.coffee(), tmp_path_factory.mktemp("photos") / "coffee.png")


def saved(pixels: np.ndarray[Any, Any], path: Path) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def words(note: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", note).split())


def refined(answer: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    return np.asarray(dict(zip(PICTURES, answer[1:], strict=True))["refined"])


# -- The presets -------------------------------------------------------------------------------------------------------


def test_poses_json_is_a_dozen_or_more_poses_as_pose_writes_them() -> None:
    names: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names.extend(name for name, _ in pairs if name not in ("canvas", "keypoints"))
        return dict(pairs)

    entries = json.loads(
        (Path(pg2lib.__file__).parent / "presets.json").read_text(encoding="utf-8"), object_pairs_hook=remember
    )
    assert 12 <= len(entries) <= 16
    assert names == list(entries), "a name is given twice"
    for name, entry in entries.items():
        assert json.loads(Pose.from_json(json.dumps(entry)).to_json())["canvas"] == [128, 64], name
        assert len(entry["keypoints"]) == 18, name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lies_on_its_canvas_and_shows_a_whole_body(name: str) -> None:
    pose = PRESETS[name]
    assert pose.inside() == pose
    hidden = {joint for joint, seen in zip(JOINTS, pose.visible.tolist(), strict=True) if not seen}
    assert hidden <= {"nose", "right eye", "left eye", "right ear", "left ear"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_build_of_a_person(name: str) -> None:
    xy = PRESETS[name].xy
    ankles = xy[[10, 13], 1].max()
    assert xy[NECK, 1] < xy[[8, 11], 1].mean() < ankles, "neck above hips above the lower foot"
    # The longest limbs of these figures, as shares of 128 pixels: a torso .31, a thigh .21, an upper arm .16.
    for (a, b), longest in {(8, 9): 28, (11, 12): 28, (9, 10): 26, (12, 13): 26, (2, 3): 21, (5, 6): 21}.items():
        assert (xy[a] - xy[b]).norm() < longest, (JOINTS[a], JOINTS[b])
    assert 30 < (xy[NECK] - xy[[8, 11]].mean(dim=0)).norm() < 40


def test_no_two_presets_look_alike_to_the_model() -> None:
    heatmaps = {name: render_heatmaps(pose.xy[None], (128, 64))[0] for name, pose in PRESETS.items()}
    for (a, first), (b, second) in itertools.combinations(heatmaps.items(), 2):
        same = (first * second).sum() / torch.minimum(first.sum(), second.sum())
        assert same < 0.8, (a, b)


def test_left_and_right_are_as_seen_from_the_side_a_preset_names() -> None:
    facing = [name for name in PRESETS if "front" in name or name in ("arms raised", "waving", "hands on hips")]
    backs = [name for name in PRESETS if "back" in name]
    lefts, rights = ([n for n in PRESETS if n.endswith(side)] for side in ("left", "right"))
    assert len(facing) >= 4 and len(backs) >= 2 and len(lefts) >= 2 and len(rights) >= 2
    for name in facing:
        xy = PRESETS[name].xy
        assert xy[2, 0] < xy[5, 0] and xy[8, 0] < xy[11, 0] and xy[14, 0] < xy[15, 0], (
            f"{name}: own right is at small x"
        )
    for name in backs:
        xy = PRESETS[name].xy
        assert xy[2, 0] > xy[5, 0] and xy[8, 0] > xy[11, 0], f"{name}: own right is at large x"
        assert not PRESETS[name].visible[[NOSE, 14, 15]].any(), f"{name}: no face from behind"
    for name in lefts:
        assert PRESETS[name].xy[NOSE, 0] < PRESETS[name].xy[NECK, 0] - 4, name
        assert PRESETS[name].visible[[16, 17]].tolist() == [False, True], f"{name}: the left ear is the near one"
    for name in rights:
        assert PRESETS[name].xy[NOSE, 0] > PRESETS[name].xy[NECK, 0] + 4, name
        assert PRESETS[name].visible[[16, 17]].tolist() == [True, False], f"{name}: the right ear is the near one"


def test_presets_do_what_they_are_called() -> None:
    raised, hips, sitting = PRESETS["arms raised"].xy, PRESETS["hands on hips"].xy, PRESETS["sitting"].xy
    assert (raised[[4, 7], 1] < raised[NOSE, 1]).all()
    assert ((hips[[4, 7]] - hips[[8, 11]]).norm(dim=1) < 20).all()
    assert ((sitting[[9, 12], 1] - sitting[[8, 11], 1]).abs() < 10).all(), "thighs are level"
    stride = {name: float((pose.xy[10, 0] - pose.xy[13, 0]).abs()) for name, pose in PRESETS.items()}
    assert stride["walking left"] > 2 * stride["standing, facing left"]
    assert stride["walking right"] > 2 * stride["standing, facing right"]


def test_every_preset_has_its_own_thumbnail() -> None:
    pictures = re.findall(
        r"nth-of-type\((\d+)\)::before \{ background-image: url\(([^)]+)\)", app.style((128, 64), PRESETS)
    )
    assert [int(place) for place, _ in pictures] == list(range(1, len(PRESETS) + 1))
    assert len({picture for _, picture in pictures}) == len(PRESETS)


# -- What the page says of the weights ---------------------------------------------------------------------------------


def test_the_page_names_the_weights_their_training_and_their_terms() -> None:
    record = {"data": "Market-1501 train", "images": 12936, "seconds": {"stage1": 5400.0, "stage2": 59.4}}
    pipeline = tiny_pipeline(training=record)
    pipeline.name = "some-weights"
    shown = " ".join(
        block.value for block in app.build_demo(pipeline).blocks.values() if block.get_block_name() == "markdown"
    )
    for expected in (
        "`some-weights`",
        "64 × 128 pixels",
        "Market-1501 train (12,936 images)",
        "stage I 60 steps in 1 h 30 min, stage II 30 steps in 59 s",
        "no commercial use",
    ):
        assert expected in shown


def test_weights_without_a_record_say_so_instead_of_naming_terms() -> None:
    text = app.describe_weights(tiny_pipeline())
    assert "no record of their training" in text and "commercial" not in text


def test_only_research_data_brings_the_research_only_note() -> None:
    assert "commercial" not in app.describe_training(tiny_pipeline(training={"data": "synthetic people"}))


# -- The button --------------------------------------------------------------------------------------------------------


def test_a_photo_and_a_preset_give_six_pictures_and_a_note(generate: Handler, astronaut: str) -> None:
    note, *pictures = generate(astronaut, "preset", "standing, front", None)
    assert 'class="note done"' in note and 'role="status"' in note
    assert re.search(r"Done in \d+\.\d\d s, of that \d+\.\d\d s for G1 and G2", words(note))
    assert [picture.size for picture in pictures] == [(512, 512)] + 5 * [(256, 512)]
    assert all(np.asarray(picture).std() > 0.5 for picture in pictures), "a picture is blank"


def test_the_download_is_the_refined_result_at_its_own_size(generate: Handler, astronaut: str) -> None:
    answer = generate(astronaut, "preset", "waving", None)
    (data,) = re.findall(r'download="refined-result.png" href="data:image/png;base64,([^"]+)"', answer[0])
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (64, 128)
    assert np.array_equal(np.asarray(app.enlarge(picture)), refined(answer))


def test_the_picture_follows_the_pose_and_nothing_else(generate: Handler, astronaut: str) -> None:
    walking = refined(generate(astronaut, "preset", "walking left", None))
    assert np.array_equal(walking, refined(generate(astronaut, "preset", "walking left", None)))
    assert not np.array_equal(walking, refined(generate(astronaut, "preset", "walking right", None)))


def test_half_a_person_is_shown_and_said(generate: Handler, astronaut: str) -> None:
    text = words(generate(astronaut, "preset", "standing, front", None)[0])
    assert "only part of the person (head and shoulders)" in text and "invented" in text
    assert "reaches beyond the photo" in text
    assert re.search(r"part of the photo used has \d+ × \d+ pixels .* photo 512 × 512\), brought to 64 × 128", text)


def test_a_photo_of_nobody_is_refused_in_plain_words(generate: Handler, coffee: str) -> None:
    note, *pictures = generate(coffee, "preset", "standing, front", None)
    assert 'class="note refused"' in note and 'role="alert"' in note
    assert words(note).startswith("Nobody was found in the photo.")
    assert pictures == [None] * 6, "an earlier result must not stand beside a refusal"


def test_of_several_people_one_is_taken_and_the_way_out_named(generate: Handler, tmp_path: Path) -> None:
    astronaut = skimage_data.astronaut()
    gap = np.full((512, 380, 3), 200, np.uint8)
    both = saved(np.concatenate([astronaut, gap, astronaut[:, ::-1]], axis=1), tmp_path / "two.png")
    text = words(generate(both, "preset", "standing, front", None)[0])
    assert "several people in the photo (at least 2 were found)" in text and "crop the photo" in text


def test_the_target_pose_can_come_from_a_photo(generate: Handler, astronaut: str) -> None:
    answer = generate(astronaut, "photo", "waving", astronaut)
    assert "target pose is incomplete" in words(answer[0])
    assert not np.array_equal(refined(answer), refined(generate(astronaut, "preset", "waving", None)))


def test_nobody_in_the_photo_for_the_pose_is_not_blamed_on_the_other(
    generate: Handler, astronaut: str, coffee: str
) -> None:
    assert "Nobody was found in the photo for the target pose." in words(generate(astronaut, "photo", None, coffee)[0])


@pytest.mark.parametrize(("pose_from", "preset"), [("preset", None), ("photo", "waving")])
def test_without_a_target_pose_the_user_is_asked_for_one(
    generate: Handler, astronaut: str, pose_from: str, preset: str | None
) -> None:
    assert words(generate(astronaut, pose_from, preset, None)[0]).startswith("Choose a target pose first")


def test_without_a_photo_the_user_is_asked_for_one(generate: Handler) -> None:
    assert words(generate(None, "preset", "waving", None)[0]).startswith("Choose a photo first")


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0 cut short"])
def test_a_file_that_is_no_picture_is_refused_without_its_path(
    generate: Handler, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    text = words(generate(str(path), "preset", "waving", None)[0])
    assert "The photo cannot be read" in text and str(tmp_path) not in text


def test_a_photo_on_its_side_is_turned_up(generate: Handler, tmp_path: Path) -> None:
    upright = Image.fromarray(skimage_data.astronaut())
    exif = Image.Exif()
    exif[274] = 6  # show it turned a quarter to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    turned, straight = (
        refined(generate(str(tmp_path / n), "preset", "waving", None)) for n in ("turned.png", "upright.png")
    )
    assert np.array_equal(turned, straight)


def test_people_who_use_it_at_once_do_not_mix(generate: Handler, astronaut: str, tmp_path: Path) -> None:
    blue = saved(np.ascontiguousarray(skimage_data.astronaut()[..., ::-1]), tmp_path / "blue.png")
    jobs = [(photo, "preset", name, None) for photo in (astronaut, blue) for name in ("waving", "sitting")]
    alone = [refined(generate(*job)) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: refined(generate(*job)), jobs))
    for got, expected in zip(together, alone, strict=True):
        assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


class Finds:
    """A detector that always finds the same."""

    def __init__(self, detection: Detection | None) -> None:
        self.detection, self.asked = detection, 0

    def detect(self, image: Image.Image) -> Detection:
        self.asked += 1
        if self.detection is None:
            raise NoPersonError("nobody")
        return self.detection


def test_the_pipelines_own_detector_is_asked_and_its_doubts_are_passed_on(coffee: str) -> None:
    pose = PRESETS["standing, front"].resize((400, 600))
    small = Pose(pose.xy * 0.1 + 100, (400, 600))
    doubtful = handler_of(tiny_pipeline(detector=Finds(Detection(small, attempt=3, confidence=0.4))))
    text = words(doubtful(coffee, "preset", "waving", None)[0])
    assert "hard to find" in text and "The person is small" in text and "part of the person" not in text
    sure = handler_of(tiny_pipeline(detector=Finds(Detection(pose, attempt=0, confidence=0.9))))
    text = words(sure(coffee, "preset", "waving", None)[0])
    assert "hard to find" not in text and "The person is small" not in text
    nobody = handler_of(tiny_pipeline(detector=Finds(None)))
    assert "Nobody was found" in words(nobody(coffee, "preset", "waving", None)[0])


def test_another_pose_of_the_same_photo_costs_the_networks_alone(coffee: str, tmp_path: Path) -> None:
    detector = Finds(Detection(PRESETS["standing, front"].resize((400, 600)), attempt=0, confidence=0.9))
    handler = handler_of(tiny_pipeline(detector=detector))
    first, again = handler(coffee, "preset", "waving", None), handler(coffee, "preset", "sitting", None)
    assert detector.asked == 1
    assert np.array_equal(np.asarray(first[1]), np.asarray(again[1]))
    assert not np.array_equal(refined(first), refined(again))
    Image.open(coffee).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    other = handler(str(tmp_path / "other.png"), "preset", "waving", None)
    assert detector.asked == 2
    assert not np.array_equal(refined(first), refined(other))


def test_a_fault_of_ours_is_owned_and_logged(coffee: str, caplog: pytest.LogCaptureFixture) -> None:
    class Fails:
        def detect(self, image: Image.Image) -> Detection:
            raise ZeroDivisionError("secret detail")

    handler = handler_of(tiny_pipeline(detector=Fails()))
    note, *pictures = handler(coffee, "preset", "waving", None)
    assert "Something went wrong" in words(note) and "secret detail" not in note and pictures == [None] * 6
    assert "ZeroDivisionError" in caplog.text


# -- Starting it -------------------------------------------------------------------------------------------------------


def test_the_page_is_told_to_send_no_telemetry() -> None:
    assert app.build_demo(tiny_pipeline()).analytics_enabled is False
    assert app.os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_weights_that_are_not_there_end_it_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--weights", "no such folder"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "no such folder" in error and "Traceback" not in error


def test_a_port_that_is_taken_ends_it_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "pipeline")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--weights", str(tmp_path / "pipeline"), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in error and "--port" in error and "Traceback" not in error
