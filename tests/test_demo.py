"""The demo without a browser: what stands behind the endpoints, and the endpoints as `gradio_client` calls them."""

from __future__ import annotations

import base64
import io
import json
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")
gradio_client = pytest.importorskip("gradio_client", reason="it comes with gradio")

from demo import app, service, steps, words  # noqa: E402
from demo.looks import Choice, Looks, RefusedError, Remembered  # noqa: E402
from demo.service import Options, Service, read_own_pose, read_pose  # noqa: E402
from demo.steps import Progress, counted  # noqa: E402
from pg2lib import NoPersonError, PG2Config, PG2Pipeline, Pose, build_models, pose_presets  # noqa: E402
from pg2lib.condition import ConditionView  # noqa: E402
from pg2lib.detect import Detection  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from pg2lib.images import Crop  # noqa: E402

FRAMING = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88})
PRESETS = pose_presets()
FRONT = PRESETS["standing, front"]


class Finder:
    """A detector that finds a standing person wherever it looks, and counts how often it is asked."""

    def __init__(self) -> None:
        self.shown: list[Image.Image] = []

    def detect(self, image: Image.Image) -> Detection:
        self.shown.append(image)
        if image.getpixel((0, 0)) == (0, 0, 0):
            raise NoPersonError("nobody")
        return Detection(FRONT.resize((image.height, image.width)), attempt=0, confidence=0.9)


def tiny_pipeline(detector: Any = None, **parts: Any) -> PG2Pipeline:
    """Random weights: pictures without sense that depend on the photo and on the pose."""
    torch.manual_seed(0)
    config = PG2Config.preset("fast")
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, FRAMING, detector=detector or Finder(), **parts)


@pytest.fixture
def finder() -> Finder:
    return Finder()


@pytest.fixture
def served(finder: Finder) -> Service:
    return Service({"tiny": tiny_pipeline(finder)})


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    pixels = np.random.default_rng(0).integers(1, 256, (200, 100, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), tmp_path_factory.mktemp("photos") / "photo.png")


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(Image.new("RGB", (100, 200)), tmp_path_factory.mktemp("photos") / "nobody.png")


def saved(picture: Image.Image, path: Path) -> str:
    picture.save(path)
    return str(path)


def opened(url: str) -> Image.Image:
    assert url.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


# -- One picture -------------------------------------------------------------------------------------------------------


def test_a_photo_and_a_pose_give_a_picture_and_details(served: Service, photo: str) -> None:
    content, details = served.repose(Choice(photo), "waving", Options())
    assert Image.open(io.BytesIO(content)).size == (64, 128)
    assert details["canvas"] == [128, 64] and len(details["crop"]) == 4 and details["seconds"] > 0
    pictures = details["stages"]
    for name in ("used", "pose", "draft", "changes", "mask"):
        assert opened(pictures[name]).size == (64, 128), name
    assert np.asarray(opened(pictures["mask"])).max() == 255 and pictures["changes_factor"] >= 0
    json.dumps(details)


@pytest.mark.parametrize("turn", [0, 90])
def test_a_downloaded_picture_is_made_again_from_its_photo(
    finder: Finder, photo: str, nobody: str, tmp_path: Path, turn: int
) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "tiny", torch.float32)
    pipeline = PG2Pipeline.from_pretrained(tmp_path / "tiny", "cpu")
    pipeline.detector = finder
    served = Service({"other": tiny_pipeline(finder), "tiny": pipeline})
    content, details = served.repose(Choice(photo, turn=turn), "waving", Options(model="tiny", strength=0.5))
    (tmp_path / "downloaded.png").write_bytes(content)
    assert photo not in json.dumps(details["recipe"]) and Path(photo).name not in content.decode("latin1")
    again, details_again = served.replay(photo, str(tmp_path / "downloaded.png"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(again))), np.asarray(Image.open(io.BytesIO(content))))
    assert details_again["recipe"] == details["recipe"]
    told = served.read_poses(str(tmp_path / "downloaded.png"), "")
    assert told["recipe"] and told["poses"] == [details["pose"]]
    with pytest.raises(RefusedError, match="does not say how it was made"):
        served.replay(photo, nobody)


def test_a_photo_is_looked_at_once_for_all_poses(served: Service, finder: Finder, photo: str) -> None:
    served.find_people(Choice(photo))
    for pose in ("waving", "sitting", "arms raised"):
        served.repose(Choice(photo), pose, Options())
    assert len([picture for picture in finder.shown if picture.size == (100, 200)]) == 1


def test_a_look_is_known_by_the_bytes_of_the_photo_and_not_by_its_path(
    served: Service, finder: Finder, photo: str, tmp_path: Path
) -> None:
    copy = tmp_path / "photo.png"
    copy.write_bytes(Path(photo).read_bytes())
    for path in (photo, str(copy)):
        served.find_people(Choice(path))
    assert len(finder.shown) == 1
    Image.new("RGB", (100, 200), "red").save(copy)
    served.find_people(Choice(str(copy)))
    assert len(finder.shown) == 2


def test_strength_gives_the_pose_the_proportions_of_the_person(served: Service, photo: str) -> None:
    own, person = (served.repose(Choice(photo), "sitting", Options(strength=s))[1]["pose"] for s in (0.0, 1.0))
    assert own == service.to_json(PRESETS["sitting"]) and person["canvas"] == own["canvas"]
    with pytest.raises(RefusedError, match="strength"):
        served.repose(Choice(photo), "sitting", Options(strength=1.5))


def test_the_distance_of_a_pose_is_in_head_sizes() -> None:
    head = float((FRONT.xy[[0, 14, 15, 16, 17]].mean(dim=0) - FRONT.xy[1]).norm())
    shifted = Pose(FRONT.xy + torch.tensor((head / 2, 0.0)), FRONT.canvas)
    assert service.pose_distance(FRONT, FRONT) == 0
    assert service.pose_distance(shifted, FRONT) == pytest.approx(0.5, abs=1e-3)
    larger = shifted.resize((256, 128))
    assert service.pose_distance(larger, FRONT) == pytest.approx(0.5, abs=1e-3), "poses are brought to one canvas"
    headless = Pose(torch.where(torch.arange(18)[:, None] > 13, torch.nan, FRONT.xy), FRONT.canvas)
    headless.xy[0] = math.nan
    assert service.pose_distance(FRONT, headless) is None
    off = FRONT.xy.clone()
    off[10] = torch.tensor([20.0, 400.0])  # an ankle below the picture, as for a half-length portrait
    assert service.pose_distance(FRONT, Pose(off, FRONT.canvas)) == 0


def test_nobody_found_again_is_no_error(photo: str) -> None:
    class Once(Finder):
        def detect(self, image: Image.Image) -> Detection:
            if image.size != (100, 200):
                raise NoPersonError("nobody")
            return super().detect(image)

    details = Service({"tiny": tiny_pipeline(Once())}).repose(Choice(photo), "waving", Options())[1]
    assert details["found_pose"] is None and details["pose_distance"] is None


def test_the_pose_is_found_again_where_it_was_asked_for(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else the background shows, and however large, is not the person of the result."""
    pipeline = tiny_pipeline()

    def find(picture: Any, box: object = None) -> list[Detection]:
        width, height = getattr(picture, "picture", picture).size
        own = FRONT.resize((height, width))
        larger = Pose(own.xy * 1.2 + torch.tensor((0.3 * width, 0.0)), own.canvas)
        return [Detection(pose, attempt=0, confidence=0.9) for pose in (larger, own)]

    monkeypatch.setattr(pipeline, "find_people", find)
    details = Service({"tiny": pipeline}).repose(Choice(photo), FRONT, Options(strength=0))[1]
    assert details["pose_distance"] < 0.05


def test_an_unknown_preset_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(RefusedError, match=r"waving.*Got 'flying'"):
        read_pose("flying")


def test_half_a_person_is_said_in_one_sentence(served: Service, photo: str) -> None:
    whole = FRONT.resize((200, 100))
    half = Pose(torch.where(torch.arange(18)[:, None] < 8, whole.xy, torch.nan), whole.canvas)
    (note,) = served.repose(Choice(photo, pose=half), "waving", Options())[1]["notes"]
    assert "head and shoulders" in note
    assert served.repose(Choice(photo), "waving", Options())[1]["notes"] == []


@pytest.mark.parametrize(
    ("choice", "pose", "options", "named"),
    [
        ({}, "no such pose", {}, "pose"),
        ({}, {"canvas": [8, 8], "keypoints": [None] * 18}, {}, "no joint"),
        ({}, {"canvas": [8, 8], "keypoints": [[1e30, 0]] * 18}, {}, "10 times the canvas"),
        ({}, {"canvas": [8, 8], "keypoints": [[10**400, 0]] * 18}, {}, "10 times the canvas"),
        ({"person": 2}, "waving", {}, "person"),
        ({"box": (0, 0, 3, 3)}, "waving", {}, "box"),
        ({"turn": 45}, "waving", {}, "45"),
        ({"pose": FRONT}, "waving", {}, "canvas"),
        ({}, "waving", {"model": "other"}, "tiny"),
        ({}, "waving", {"background": "sky"}, "background"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(
    served: Service, photo: str, choice: dict[str, Any], pose: object, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(RefusedError, match=named):
        served.repose(Choice(photo, **choice), pose, Options(**options))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff\xe0 cut short"])
def test_a_file_that_is_no_picture_is_refused_without_its_path(served: Service, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for ask in (served.find_people, lambda choice: served.repose(choice, "waving", Options())):
        with pytest.raises(RefusedError, match="cannot be read") as refused:
            ask(Choice(str(path)))
        assert str(tmp_path) not in str(refused.value)


# -- People ------------------------------------------------------------------------------------------------------------


def test_people_are_shown_with_boxes_within_the_photo(served: Service, photo: str) -> None:
    found = served.find_people(Choice(photo))
    (person,) = found["people"]
    left, top, right, bottom = person["box"]
    assert 0 <= left < right <= 100 and 0 <= top < bottom <= 200 and person["framing"] == "full body"
    assert found["size"] == [200, 100] and found["chosen"] == 0 and found["turn"] == 0 and found["notes"] == []
    assert opened(found["preview"]).size == (100, 200)
    assert served.find_people(Choice(photo, turn=90))["size"] == [100, 200]


def test_nobody_is_no_error_but_no_picture_either(served: Service, nobody: str) -> None:
    found = served.find_people(Choice(nobody))
    assert found["people"] == [] and found["notes"] == [words.NOBODY] and found["preview"]
    with pytest.raises(RefusedError, match="Nobody"):
        served.repose(Choice(nobody), "waving", Options())
    by_hand = read_own_pose(service.to_json(FRONT.resize((200, 100))))
    assert served.repose(Choice(nobody, pose=by_hand), "waving", Options())[1]["canvas"] == [128, 64]


def test_a_pose_placed_by_hand_needs_a_few_joints() -> None:
    few = {"canvas": [200, 100], "keypoints": [[5, 5]] * 3 + [None] * 15}
    with pytest.raises(RefusedError, match="4 joints"):
        read_own_pose(few)
    assert read_own_pose(None) is None


def test_a_photo_on_its_head_is_offered_upright(tmp_path: Path) -> None:
    class Marked(Finder):
        """Sees the person upright if the red corner is at the top left, else on their head."""

        def detect(self, image: Image.Image) -> Detection:
            pose = FRONT.resize((image.height, image.width))
            upright = np.asarray(image)[:5, :5].mean(axis=(0, 1))[0] > 200
            return Detection(pose if upright else pose.turn(180), attempt=0, confidence=0.9)

    pixels = np.full((200, 100, 3), 60, dtype=np.uint8)
    pixels[:20, :20] = (255, 0, 0)
    served = Service({"tiny": tiny_pipeline(Marked())})
    upright, turned = (
        served.find_people(Choice(saved(picture, tmp_path / f"{name}.png")))
        for name, picture in (("a", Image.fromarray(pixels)), ("b", Image.fromarray(pixels).rotate(180)))
    )
    assert (upright["turn"], turned["turn"]) == (0, 180)
    assert upright["notes"] == [] and len(turned["notes"]) == 1


def test_a_pose_is_read_from_text_from_a_file_and_from_a_photo(served: Service, photo: str, tmp_path: Path) -> None:
    text = FRONT.to_json()
    file = tmp_path / "pose"
    file.write_text(f"[{text}, {text}]")
    assert served.read_poses(None, text) == {"poses": [service.to_json(FRONT)], "notes": []}
    assert served.read_poses(str(file), "")["poses"] == [service.to_json(FRONT)] * 2
    assert served.read_poses(photo, "")["poses"] == [service.to_json(FRONT.resize((200, 100)))]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "[" * 100_000, '{"canvas": [1, 1]}', "3"])
def test_text_without_a_pose_is_refused(served: Service, text: str) -> None:
    with pytest.raises(RefusedError):
        served.read_poses(None, text)


def test_the_gallery_shows_every_preset_once_and_the_hard_ones_last(served: Service) -> None:
    presets = served.presets()
    assert sorted(entry["name"] for entry in presets) == sorted(PRESETS)
    hard = [entry["hard"] for entry in presets]
    assert hard == sorted(hard) and not all(hard)
    assert all(read_pose(entry["pose"]).canvas == (128, 64) for entry in presets)


# -- Many --------------------------------------------------------------------------------------------------------------


def test_a_contact_sheet_tells_how_far_it_is(served: Service, photo: str, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    names = ["waving", "sitting", "hands joined"]
    progress = list(served.contact_sheet(Choice(photo), names, path, Options()))
    assert progress == [Progress(done, 3) for done in range(3)]
    width, height = Image.open(path).size
    assert width > 2 * 64 and height > 2 * 128
    with pytest.raises(RefusedError, match="names"):
        list(served.contact_sheet(Choice(photo), ["no such pose"], path, Options()))


def test_an_animation_goes_there_and_back(served: Service, photo: str, tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    assert len(list(served.animate(Choice(photo), "waving", "sitting", 4, path, 10, Options()))) == 4
    assert Image.open(path).n_frames == 6  # type: ignore[attr-defined]
    for frames, fps, name in ((1, 10, "frames"), (121, 10, "frames"), (4, 0, "fps"), (4, math.nan, "fps")):
        with pytest.raises(RefusedError, match=name):
            list(served.animate(Choice(photo), "waving", "sitting", frames, path, fps, Options()))


def test_a_video_moves_the_person(served: Service, photo: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="reading a video needs PyAV")
    frames = [Image.new("RGB", (96, 128), (200, shade, 100)) for shade in (20, 90, 160)]
    frames[0].save(tmp_path / "v.gif", save_all=True, append_images=frames[1:], duration=100)
    path = tmp_path / "a.gif"
    progress = list(served.animate_video(Choice(photo), str(tmp_path / "v.gif"), path, 10, Options()))
    assert progress[0].of == 0 and progress[-1] == Progress(2, 3) and Image.open(path).format == "GIF"
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(RefusedError, match="video") as refused:
        list(served.animate_video(Choice(photo), str(tmp_path / "v.mp4"), path, 10, Options()))
    assert str(tmp_path) not in str(refused.value)


def test_counted_work_stops_when_nobody_waits_for_it() -> None:
    reached: list[int] = []

    def work(tell: Any) -> None:
        for done in range(1, 1_000_000):
            reached.append(done)
            tell(done)

    going = counted(work)
    assert next(going) == Progress(1, 0)
    going.close()
    thread = [each for each in steps.threading.enumerate() if getattr(each, "_target", None) is not None]
    for each in thread:
        if each.name.endswith("(run)"):
            each.join(timeout=60)
    assert len(reached) < 999_999


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_SECONDS", -1)
    with pytest.raises(RefusedError, match="longer"):
        list(steps.in_time([1, 2]))


def test_only_so_much_is_remembered() -> None:
    made: list[str] = []

    def ask(key: str) -> str:
        return remembered.get(key, lambda: made.append(key) or key, lambda value: 40)  # type: ignore[func-returns-value]

    remembered = Remembered(100)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert ask(key) == key
    assert made == ["a", "b", "c", "b"], "b was used least recently when c came"
    assert remembered.bytes <= 100
    assert Looks(10).remembered.max_bytes == 10


# -- What the page says of the weights ---------------------------------------------------------------------------------


def test_the_page_names_the_weights_their_training_and_their_terms() -> None:
    record = {"data": "Market-1501 train", "images": 12936, "seconds": {"stage1": 5400.0, "stage2": 59.4}}
    text = words.describe_model(tiny_pipeline(training=record), "some-weights")
    for expected in (
        "`some-weights`", "64 × 128 pixels", "Market-1501 train (12,936 images)", "stage I in 1 h 30 min",
        "stage II in 59 s", "no commercial use",
    ):  # fmt: skip
        assert expected in text


def test_weights_without_a_record_say_so_instead_of_naming_terms() -> None:
    text = words.describe_model(tiny_pipeline(), "some-weights")
    assert "no record of their training" in text and "commercial" not in text


def test_only_research_data_brings_the_research_only_note() -> None:
    assert "commercial" not in words.describe_training(tiny_pipeline(training={"data": "synthetic people"}))


# -- The endpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        page = app.Page({"tiny": tiny_pipeline(), "other": tiny_pipeline()})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = app.launch(page, "127.0.0.1", port)
        yield gradio_client.Client(address, verbose=False, download_files=str(folder / "got"))
        page.close()


def test_every_endpoint_is_typed_and_described(client: Any) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {
        "/presets", "/models", "/examples", "/find_people", "/read_pose", "/repose", "/replay", "/repose_many",
        "/contact_sheet", "/animate", "/animate_video",
    }  # fmt: skip
    for name, endpoint in endpoints.items():
        assert endpoint["description"], name
        assert all(parameter["type"] for parameter in endpoint["parameters"]), name
        required = [each["parameter_name"] for each in endpoint["parameters"] if not each["parameter_has_default"]]
        assert set(required) <= {"photo", "pose", "poses", "first", "last", "video", "recipe"}, name
        document = (Path(app.__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
        assert f"## {name}\n" in document, f"docs/api.md does not describe {name}"
        missing = [p for p in required if f"`{p}`" not in document]
        assert not missing, name


def test_a_client_gets_pictures_and_details(client: Any, photo: str) -> None:
    upload = gradio_client.handle_file(photo)
    assert [model["name"] for model in client.predict(api_name="/models")] == ["tiny", "other"]
    assert client.predict(upload, api_name="/find_people")["size"] == [200, 100]
    path, details = client.predict(upload, "waving", api_name="/repose")
    assert Image.open(path).size == (64, 128) and details["canvas"] == [128, 64]
    again, _ = client.predict(photo=upload, pose=details["pose"], strength=0, model="other", api_name="/repose")
    assert Path(again).read_bytes() == Path(path).read_bytes(), "the pose comes back as it went out"
    files, many = client.predict(upload, ["waving", "sitting"], api_name="/repose_many")
    assert len(files) == len(many) == 2 and Path(files[0]).read_bytes() == Path(path).read_bytes()


def test_a_client_follows_progress(client: Any, photo: str) -> None:
    job = client.submit(gradio_client.handle_file(photo), ["waving", "sitting"], api_name="/contact_sheet")
    path, progress = job.result(timeout=120)
    assert progress == {"done": 2, "of": 2} and Image.open(path).format == "PNG"
    assert [state for _, state in job.outputs()][:2] == [{"done": 0, "of": 2}, {"done": 1, "of": 2}]


def test_a_refusal_is_an_error_with_its_sentence(client: Any, photo: str, nobody: str) -> None:
    upload = gradio_client.handle_file(photo)
    for arguments, sentence in (
        ((gradio_client.handle_file(nobody), "waving"), "Nobody was found"),
        ((upload, "waving", "one"), "person: expected"),
        ((upload, "waving", 0, [1, 2, 3]), "box: expected"),
        ((upload, "waving", 0, None, 45), "turn: expected"),
        ((upload, "waving", 0, None, 0, None, "much"), "strength: expected"),
        ((None, "waving"), "Choose a photo first"),
    ):
        with pytest.raises(gradio_client.exceptions.AppError, match=sentence):
            client.predict(*arguments, api_name="/repose")


def test_a_fault_of_ours_is_owned_and_logged(
    client: Any, photo: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Service, "repose", fail)
    with pytest.raises(gradio_client.exceptions.AppError, match="Something went wrong") as failed:
        client.predict(gradio_client.handle_file(photo), "waving", api_name="/repose")
    assert "secret detail" not in str(failed.value) and "ZeroDivisionError" in caplog.text


# -- Starting it -------------------------------------------------------------------------------------------------------


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


def test_the_network_is_not_served_by_accident(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--host", "0.0.0.0"]) == 2
    error = capsys.readouterr().err
    assert "--password" in error and "--public" in error


def test_models_are_named_without_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        tiny_pipeline().save_pretrained(tmp_path / folder / "pipeline")
    given = [str(tmp_path / "a" / "pipeline"), str(tmp_path / "b" / "pipeline"), "market1501-compact"]
    assert list(app.load_pipelines(given)) == ["pipeline", "pipeline (2)", "market1501-compact"]


def test_the_page_is_told_to_send_no_telemetry() -> None:
    assert app.os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_the_page_says_what_a_half_length_portrait_gives(standing: Pose) -> None:
    xy = standing.xy.clone()
    xy[[9, 10, 12, 13]] = torch.nan
    whole = Crop(-0.5, -0.5, 127.5, 255.5, (128, 64))
    view = ConditionView(torch.zeros(3, 128, 64), None, Pose(xy, (128, 64)), whole)
    assert "what it does not show is invented" in words.about_photo(view)[0]
    portrait = replace(view, portrait=Crop(10.0, 0.0, 50.0, 80.0, (128, 64)))
    assert words.about_photo(portrait) == [words.PORTRAIT.format(part="the upper body only")]
