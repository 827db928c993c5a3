from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import (
    ConfigError,
    DataError,
    NoPersonError,
    PG2Config,
    PG2Error,
    PG2Pipeline,
    Pose,
    build_models,
    pose_presets,
    retarget,
)
from pg2lib.condition import Photo
from pg2lib.cutout import BACKDROP
from pg2lib.detect import Detection
from pg2lib.framing import Framing
from pg2lib.images import from_uint8, tensor_from_pil, to_uint8, turn_photo
from pg2lib.output import output_grid
from pg2lib.pipeline import PHOTO_COPYING
from pg2lib.raster import render_heatmaps

FRAMING = Framing(x=0.5, y={"nose": 0.125, "neck": 0.2, "hips": 0.49, "knees": 0.69, "ankles": 0.89})


def tiny_pipeline(detector=None) -> PG2Pipeline:
    torch.manual_seed(0)
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8})
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, FRAMING, {"data": "nothing"}, detector)


@pytest.fixture
def pipe() -> PG2Pipeline:
    return tiny_pipeline()


@pytest.fixture
def canvas_image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Finds:
    """A detector that finds one pose, of any image, and remembers the sizes of what it was shown."""

    def __init__(self, pose: Pose) -> None:
        self.pose = pose
        self.shown: list[tuple[int, int]] = []

    def detect(self, image: Image.Image) -> Detection:
        self.shown.append(image.size)
        return Detection(Pose(self.pose.xy, (image.height, image.width)), attempt=0, confidence=0.9)


def test_refined_is_coarse_plus_difference_map_clamped_once(pipe: PG2Pipeline) -> None:
    image, heatmaps = torch.rand(3, 3, 128, 64) * 2 - 1, torch.zeros(3, 18, 128, 64)
    torch.nn.init.constant_(pipe.g1.last.bias, 1.5)
    torch.nn.init.constant_(pipe.g2.last.bias, -0.8)
    for model in (pipe.g1, pipe.g2):
        torch.nn.init.zeros_(model.last.weight)
    out = pipe.generate(image, heatmaps)
    assert out.coarse.shape == out.difference_map.shape == out.refined.shape == (3, 3, 128, 64)
    assert torch.allclose(out.coarse, torch.tensor(1.0))
    assert torch.allclose(out.difference_map, torch.tensor(-0.8))
    assert torch.allclose(out.refined, torch.tensor(0.7))


def test_a_batch_gives_its_pictures_one_by_one(pipe: PG2Pipeline) -> None:
    out = pipe.generate(torch.rand(2, 3, 128, 64), torch.zeros(2, 18, 128, 64))
    assert len(out) == 2
    assert torch.equal(out[1].refined, out.refined[1])
    assert out[-1].to_pil().size == (64, 128)
    with pytest.raises(IndexError):
        _ = out[2]
    assert [torch.equal(one.refined, out.refined[i]) for i, one in enumerate(out)] == [True, True]
    assert out[0]._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("image", "heatmaps", "message"),
    [
        ((1, 3, 64, 64), (1, 18, 128, 64), r"condition_image: .*\(batch, 3, 128, 64\)"),
        ((3, 128, 64), (1, 18, 128, 64), "condition_image: expected the shape"),
        ((1, 3, 128, 64), (1, 17, 128, 64), "target_heatmaps: expected the shape"),
        ((2, 3, 128, 64), (1, 18, 128, 64), "condition_image: .*got 2 for 1"),
        ((1, 3, 128, 64), (0, 18, 128, 64), "condition_image: .*got 1 for 0"),
        ((2, 3, 128, 64), (3, 18, 128, 64), "condition_image: .*got 2 for 3"),
    ],
)
def test_tensors_that_do_not_fit(pipe: PG2Pipeline, image, heatmaps, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pipe.generate(torch.zeros(image), torch.zeros(heatmaps))


@pytest.fixture
def warping() -> PG2Pipeline:
    """With part warp, mattes and stem; what G1 blends is copied throughout where it may be."""
    torch.manual_seed(0)
    overrides = {"model.part_warp": True, "model.matte": True, "model.stem_px": 2, "model.g2_pose": True}
    config = PG2Config.preset("fast").override({"model.base_width": 4, "model.bottleneck": 8, **overrides})
    g1, g2, _ = build_models(config)
    return PG2Pipeline(g1, g2, config, FRAMING)


def test_the_part_warp_needs_keypoints(warping: PG2Pipeline, standing: Pose) -> None:
    image, heatmaps = torch.zeros(1, 3, 128, 64), torch.zeros(2, 18, 128, 64)
    with pytest.raises(DataError, match="condition_xy and target_xy"):
        warping.generate(image, heatmaps)
    with pytest.raises(DataError, match=r"target_xy: .*\(batch, 18, 2\), got \(2, 17, 2\)"):
        warping.generate(image, heatmaps, standing.xy[None], torch.zeros(2, 17, 2))
    out = warping.generate(image, heatmaps, standing.xy[None], torch.stack([standing.xy, standing.flip().xy]))
    assert (out.warped.shape, out.coverage.shape, out.matte.shape) == ((2, 3, 128, 64), *[(2, 1, 128, 64)] * 2)
    assert out.matte.min() >= 0 and out.matte.max() <= 1


def test_where_the_photo_shows_no_pose_the_warp_covers_nothing(warping: PG2Pipeline, standing: Pose) -> None:
    """A picture still comes, and it is the one of a pose without a joint."""

    class Nobody:
        def detect(self, image: Image.Image) -> Detection:
            raise NoPersonError("nobody there")

    warping.detector = Nobody()
    out = warping(Image.new("RGB", (64, 128), "red"), standing, crop=False, matte=Image.new("L", (64, 128), 255))
    assert (out.coverage.max(), out.condition_pose) == (0, None)
    seen = warping.generate(
        out.condition_image[None],
        render_heatmaps(standing.xy[None], (128, 64)),
        torch.full((1, 18, 2), math.nan),
        standing.xy[None],
    )
    assert torch.equal(out.refined, seen.refined[0])


def test_identical_poses_show_the_photo_in_the_warped_image(warping: PG2Pipeline, canvas_image, standing: Pose) -> None:
    white = Image.new("L", (64, 128), 255)
    out = warping(canvas_image, standing, crop=False, condition_pose=standing, matte=white)
    covered = out.coverage > 0.99
    assert 0.15 < covered.float().mean() < 0.8
    assert (out.warped - out.condition_image).abs()[covered.expand(3, -1, -1)].max() < 1e-3


def test_the_person_is_cut_out_of_the_photo_and_what_lies_beyond_its_edge_is_backdrop(
    warping: PG2Pipeline, standing: Pose
) -> None:
    """The photo is red, the person a white box, the crop reaches beyond the photo on all sides."""
    pose = Pose(standing.xy + torch.tensor([0.0, -2.0]), (128, 64))
    photo, matte = Image.new("RGB", (64, 128), "red"), Image.new("L", (64, 128), 0)
    box = (20, 20, 44, 100)
    photo.paste("white", box)
    matte.paste(255, box)
    wide = Framing(FRAMING.x, {name: 0.5 + (y - 0.5) / 2 for name, y in FRAMING.y.items()})
    warping.framing = wide
    seen = warping.look(photo, condition_pose=pose, matte=matte)
    assert seen.crop.left < -10 and seen.crop.right > 74
    backdrop = torch.full((3,), BACKDROP)
    for y, x in ((1, 1), (64, 1), (127, 32), (64, 20)):  # beyond the photo, and the photo's red beside the person
        assert torch.allclose(seen.condition_image[:, y, x], backdrop, atol=0.02), (y, x)
    assert torch.allclose(seen.condition_image[:, 64, 32], torch.ones(3), atol=0.02)
    assert seen.matte[0, 64, 32] > 0.99 and seen.matte[0, 1, 1] == 0


def test_another_person_in_the_crop_is_backdrop(warping: PG2Pipeline, standing: Pose, monkeypatch) -> None:
    photo, everybody = Image.new("RGB", (128, 128)), Image.new("L", (128, 128), 255)
    here, there = (Pose(standing.xy + torch.tensor([dx, 0.0]), (128, 128)) for dx in (10.0, 54.0))
    found = [Detection(pose, attempt=0, confidence=0.9) for pose in (here, there)]
    monkeypatch.setattr("pg2lib.detect.find_people", lambda _: found)
    alone, together = warping.look(photo, condition_pose=here, matte=everybody), warping.look(photo, matte=everybody)
    assert not alone.people
    assert [person.pose for person in together.people] == [here, there]
    assert together.condition_pose == alone.condition_pose
    assert alone.matte[0, 64].min() > 0.99
    assert together.matte[0, 64, 30] > 0.99 and together.matte[0, 64, 62] == 0


def test_the_result_is_set_into_the_photo_a_picture_or_nothing(warping: PG2Pipeline, standing: Pose) -> None:
    photo = Image.new("RGB", (64, 128), (0, 0, 255))
    photo.paste((0, 255, 0), (20, 20, 44, 110))
    matte = Image.new("L", (64, 128), 0)
    matte.paste(255, (20, 20, 44, 110))
    known = {"crop": False, "condition_pose": standing, "matte": matte}
    torch.nn.init.zeros_(warping.g1.last.weight)
    torch.nn.init.constant_(warping.g1.last.bias, -20.0)  # the matte of the result is 0 everywhere
    plain = warping(photo, standing, **known)
    assert plain.background is None
    street = warping(photo, standing, background="photo", **known)
    assert np.abs(np.asarray(street.to_pil()).astype(int) - np.array([0, 0, 255])).max() <= 1  # the green is gone
    other = warping(photo, standing, background=Image.new("RGB", (300, 200), (200, 100, 50)), **known)
    assert np.abs(np.asarray(other.to_pil()).astype(int) - np.array([200, 100, 50])).max() <= 1
    with pytest.raises(DataError, match="no image file nowhere"):
        warping(photo, standing, background="nowhere.jpg", **known)


def test_what_is_given_must_fit_the_photo(warping: PG2Pipeline, standing: Pose) -> None:
    photo = Image.new("RGB", (64, 128))
    with pytest.raises(DataError, match=r"condition_pose: .*64x128 pixels.* got 64x64"):
        warping(photo, standing, crop=False, condition_pose=standing.resize((64, 64)))
    with pytest.raises(DataError, match=r"matte: .*64x128 pixels.* got 10x10"):
        warping(photo, standing, crop=False, condition_pose=standing, matte=Image.new("L", (10, 10)))


def test_a_canvas_goes_in_as_it_is(pipe: PG2Pipeline, canvas_image: Image.Image, standing: Pose) -> None:
    out = pipe(canvas_image, standing, crop=False)
    tensor = from_uint8(tensor_from_pil(canvas_image))
    expected = pipe.generate(tensor[None], render_heatmaps(standing.xy[None], (128, 64)))[0]
    assert torch.equal(out.refined, expected.refined)
    assert torch.equal(out.condition_image, tensor)
    assert (out.crop, out.condition_pose, out.target_pose) == (None, None, standing)
    assert out.refined.shape == (3, 128, 64)
    assert np.array_equal(np.asarray(out.to_pil()), to_uint8(out.refined).permute(1, 2, 0).numpy())
    assert out._repr_png_().startswith(b"\x89PNG")
    assert repr(out).startswith("PG2Output(64x128 pixels, target pose of 18 joints")
    assert out.seconds > 0


def test_one_condition_image_serves_several_target_poses(pipe: PG2Pipeline) -> None:
    image, heatmaps = torch.rand(1, 3, 128, 64) * 2 - 1, (torch.rand(3, 18, 128, 64) > 0.9).float()
    out = pipe.generate(image, heatmaps)
    assert torch.equal(out.condition_image, image.repeat(3, 1, 1, 1))
    for one, own in zip(out, heatmaps, strict=True):
        assert torch.allclose(one.refined, pipe.generate(image, own[None])[0].refined, atol=1e-5)


def test_several_poses_of_one_photo(standing: Pose, tmp_path) -> None:
    """One look for the person, one crop; each picture as a call of its own gives it."""
    small = Pose(standing.xy * 0.5 + torch.tensor([400.0, 300.0]), (480, 640))
    photo = Image.new("RGB", (640, 480), "white")
    photo.paste("red", tuple(round(edge) for edge in small.box))
    Image.new("RGB", (700, 490)).save(tmp_path / "other.png")
    targets = [standing, Pose(standing.xy * 3 + 50, (600, 500)), standing.flip(), str(tmp_path / "other.png")]
    finds = Finds(small)
    pipe = tiny_pipeline(finds)
    out = pipe(photo, targets)
    assert finds.shown == [(640, 480), (700, 490)]
    assert [one.refined.shape for one in out] == [(3, 128, 64)] * 4
    for one, target in zip(out, targets, strict=True):
        alone = pipe(photo, target)
        assert (one.target_pose, one.condition_pose, one.crop) == (alone.target_pose, alone.condition_pose, alone.crop)
        for name in ("coarse", "difference_map", "refined", "condition_image"):
            assert torch.allclose(getattr(one, name), getattr(alone, name), atol=1e-5), name
    assert not torch.allclose(out[0].coarse, out[2].coarse, atol=1e-3)  # the poses do reach their pictures
    assert out[0].target_pose == standing
    single, grid = out[0].to_grid(), output_grid(out)
    assert (grid.width, grid.height) == (single.width, single.height + 3 * (128 + 4))
    assert len(pipe(photo, (standing,))) == 1


def test_a_photo_is_looked_at_once_for_any_number_of_poses(standing: Pose, monkeypatch) -> None:
    """Each further pose costs one forward pass and nothing else."""
    finds = Finds(standing)
    pipe = tiny_pipeline(finds)
    view = pipe.look(Image.new("RGB", (64, 128), "red"))
    assert [person.pose for person in view.people] == [standing]
    passes = []
    pipe.g1.register_forward_hook(lambda *_: passes.append("G1"))
    pipe.g2.register_forward_hook(lambda *_: passes.append("G2"))
    for target in (standing, standing.flip()):
        (output,) = pipe.repose(view, [target])
        assert (output.target_pose, output.condition_pose, output.crop) == (target, view.condition_pose, view.crop)
    assert (len(finds.shown), passes) == (1, ["G1", "G2"] * 2)
    with pytest.raises(DataError, match="got an empty list"):
        pipe.repose(view, [])


def test_a_target_pose_may_be_the_name_of_a_preset_or_a_file(
    pipe: PG2Pipeline, canvas_image, standing, tmp_path
) -> None:
    (tmp_path / "pose.json").write_text(standing.to_json())
    (tmp_path / "bad.json").write_text('{"canvas": [128, 64]}')
    outputs = pipe(canvas_image, ["waving", tmp_path / "pose.json", str(tmp_path / "pose.json")], crop=False)
    assert [output.target_pose for output in outputs] == [pose_presets()["waving"], standing, standing]
    for name in ("bad.json", "missing.json"):
        with pytest.raises(DataError, match=name):
            pipe(canvas_image, tmp_path / name, crop=False)


def test_of_several_poses_the_wrong_one_is_named(canvas_image, standing: Pose) -> None:
    finds = Finds(standing)
    pipe = tiny_pipeline(finds)
    nothing = Pose(torch.full((18, 2), math.nan), (128, 64))
    with pytest.raises(DataError, match="target pose 2 of 3: .*joint"):
        pipe(canvas_image, [standing, nothing, standing], crop=False)
    with pytest.raises(DataError, match="target pose 1 of 2: .*nowhere.jpg"):
        pipe(canvas_image, ["nowhere.jpg", standing], crop=False)
    for empty in ([], ()):
        with pytest.raises(DataError, match="got an empty list"):
            pipe(canvas_image, empty)
    assert finds.shown == []


def test_the_same_picture_as_array_path_and_image(pipe, canvas_image, standing, tmp_path) -> None:
    canvas_image.save(tmp_path / "me.png")
    results = [
        pipe(image, standing, crop=False).refined
        for image in (canvas_image, np.asarray(canvas_image), tmp_path / "me.png", str(tmp_path / "me.png"))
    ]
    assert all(torch.equal(result, results[0]) for result in results)


def test_without_crop_another_size_is_refused(pipe: PG2Pipeline, standing: Pose) -> None:
    with pytest.raises(DataError, match="64x128 pixels, got 65x128"):
        pipe(Image.new("RGB", (65, 128)), standing, crop=False)
    with pytest.raises(DataError, match="expected a target pose with one joint"):
        pipe(Image.new("RGB", (64, 128)), Pose(torch.full((18, 2), math.nan), (128, 64)), crop=False)


def test_a_photo_is_cropped_around_the_person(standing: Pose) -> None:
    """The person stands small in a corner of a large photo; what the model sees is framed as in training."""
    small = Pose(standing.xy * 0.5 + torch.tensor([400.0, 300.0]), (480, 640))
    pipe = tiny_pipeline(Finds(small))
    photo = Image.new("RGB", (640, 480), "white")
    photo.paste("red", tuple(round(edge) for edge in small.box))
    out = pipe(photo, standing)
    assert out.condition_pose.canvas == (128, 64)
    assert torch.allclose(out.condition_pose.xy, small.crop(out.crop).xy)
    for name, joints in (("neck", [1]), ("hips", [8, 11]), ("ankles", [10, 13])):
        place = float(out.condition_pose.xy[joints, 1].mean() + 0.5) / 128
        assert place == pytest.approx(FRAMING.y[name], abs=0.03), name
    assert out.condition_pose.xy[:, 0].mean() == pytest.approx(31.5, abs=2)
    red = out.condition_image[0] - out.condition_image[1]
    assert red[30:100, 25:38].mean() > 1  # the person fills the middle
    assert out.target_pose == standing


def test_a_target_pose_from_an_image_or_another_canvas_is_framed_alike(standing: Pose) -> None:
    large = Pose(standing.xy * 3 + 50, (600, 500))
    pipe = tiny_pipeline(Finds(large))
    photo = Image.new("RGB", (500, 600))
    from_image, from_pose = pipe(photo, photo).target_pose, pipe(photo, large).target_pose
    assert from_image == from_pose
    assert from_image.canvas == (128, 64)
    assert pipe.frame_pose(standing) == standing


def test_nobody_in_the_photo(standing: Pose) -> None:
    class Nobody:
        def detect(self, image: Image.Image) -> Detection:
            raise NoPersonError("nobody there")

    with pytest.raises(NoPersonError, match="nobody there"):
        tiny_pipeline(Nobody())(Image.new("RGB", (50, 50)), standing)


def test_a_device_that_is_not_here() -> None:
    for device in ("foo", "xpu"):
        with pytest.raises(ConfigError, match=f"there is no device '{device}' here; try 'cpu'"):
            PG2Pipeline.from_pretrained(device=device)


def test_a_backend_that_is_nothing() -> None:
    with pytest.raises(ConfigError, match="backend: .*torch, onnxruntime, got 'tensorrt'"):
        PG2Pipeline.from_pretrained(backend="tensorrt")


def test_a_large_photo_is_reduced_and_poses_and_crop_stay_in_its_pixels(standing: Pose, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pg2lib.images.PHOTO_PIXELS", 200_000)
    small = Pose(standing.xy * 2 + torch.tensor([300.0, 100.0]), (480, 800))
    photo = Image.new("RGB", (800, 480), "white")
    photo.paste("red", tuple(round(edge) for edge in small.box))
    photo.save(tmp_path / "large.png")
    shown = []

    class Finder:
        def detect(self, image: Image.Image) -> Detection:
            shown.append(image.size)
            return Detection(small.resize((image.height, image.width)), attempt=0, confidence=0.9)

    reduced = tiny_pipeline(Finder())(tmp_path / "large.png", standing)
    monkeypatch.setattr("pg2lib.images.PHOTO_PIXELS", 10**9)
    full = tiny_pipeline(Finder())(tmp_path / "large.png", standing)
    assert shown == [(400, 240), (800, 480)]
    for side in ("left", "top", "right", "bottom"):
        assert getattr(reduced.crop, side) == pytest.approx(getattr(full.crop, side), abs=0.1)
    assert (reduced.condition_image - full.condition_image).abs().mean() < 0.05
    known = tiny_pipeline()(tmp_path / "large.png", standing, condition_pose=small)
    assert torch.allclose(known.condition_image, full.condition_image, atol=1e-3)


def test_photos_are_copied_more_than_images_of_the_data_set(warping: PG2Pipeline, standing: Pose) -> None:
    """Pairs of a data set, and images of the model's size, get what G1 has learned."""
    asked = []
    generate = warping.generate
    warping.generate = lambda *inputs: asked.append(inputs[5] if len(inputs) > 5 else 0.0) or generate(*inputs)
    photo, pose = Image.new("RGB", (64, 128), "red"), Pose(standing.xy, (128, 64))
    warping(photo, standing, condition_pose=pose)
    warping(photo, standing, crop=False, condition_pose=pose)
    assert asked == [PHOTO_COPYING, 0.0]


def test_a_half_length_portrait_stays_one(warping: PG2Pipeline, standing: Pose) -> None:
    """The crop ends where the photo does, and target poses are as large as the person in it."""
    xy = standing.xy * 3 + torch.tensor([50.0, 0.0])
    xy[[9, 10, 12, 13]] = torch.nan
    photo, pose = Image.new("RGB", (300, 250), "red"), Pose(xy, (250, 300))
    view = warping.look(photo, condition_pose=pose)
    assert view.portrait is not None and view.crop.bottom == pytest.approx(249.5)
    assert view.inside[:, -1].all()
    preset = pose_presets()["standing, facing left"].resize((256, 128))
    usual, placed = warping.frame_pose(preset), warping.target_poses(view, [preset], 0)[0]
    assert (placed.xy[8] - placed.xy[1]).norm() > 1.2 * (usual.xy[8] - usual.xy[1]).norm()
    assert warping.frame_pose(preset, view) == placed
    assert warping.repose(view, [preset], retarget=0)[0].target_pose == placed
    # A crop of the user's own, and models without the part warp, keep the framing of the training images.
    assert warping.look(photo, view.crop, condition_pose=pose).portrait is None
    plain = tiny_pipeline().look(photo, condition_pose=pose)
    assert plain.portrait is None and plain.crop == FRAMING.crop(pose, (128, 64))


def test_without_mediapipe_the_matte_is_all_ones_and_a_picture_still_comes(
    warping: PG2Pipeline, standing: Pose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the photo's edge there is backdrop all the same; no background can be shown behind the result."""

    def missing(image: Image.Image) -> torch.Tensor:
        raise PG2Error("no mediapipe")

    monkeypatch.setattr("pg2lib.matte.find_matte", missing)
    pose = Pose(standing.xy + torch.tensor([0.0, 20.0]), (128, 64))  # the feet are at the photo's edge
    photo = Image.new("RGB", (64, 128), "red")
    seen = warping.look(photo, condition_pose=pose)
    assert seen.crop.bottom > 130
    assert torch.allclose(seen.condition_image[:, 127], torch.full((3, 64), BACKDROP))
    assert torch.equal(seen.matte, seen.inside.float())
    assert warping(photo, standing, condition_pose=pose).background is None


# -- Several people ----------------------------------------------------------------------------------------------------


class Crowd:
    """A pipeline's finder: the given poses, the most prominent first, wherever it looks."""

    def __init__(self, *poses: Pose) -> None:
        self.poses, self.shown = poses, list[tuple[int, int]]()

    def __call__(self, image: Image.Image) -> list[Detection]:
        self.shown.append(image.size)
        return [Detection(Pose(pose.xy, (image.height, image.width)), attempt=0, confidence=0.9) for pose in self.poses]


@pytest.fixture
def crowd(pipe: PG2Pipeline, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """A large person on the right, a small one on the left."""
    person = pose_presets()["standing, front"]
    small = Pose(person.xy * 0.5 + torch.tensor((10.0, 40.0)), (128, 64))
    finder = Crowd(Pose(person.xy + torch.tensor((120.0, 10.0)), (128, 64)), small)
    monkeypatch.setattr(pipe, "_find_people", finder)
    return finder


def test_people_are_found_from_left_to_right(pipe: PG2Pipeline, crowd: Crowd) -> None:
    left, right = pipe.find_people(Image.new("RGB", (200, 160)))
    assert torch.equal(right.pose.xy.nan_to_num(), crowd.poses[0].xy.nan_to_num()) and right.area > left.area
    assert left.pose.canvas == (160, 200)


def test_a_person_is_chosen_by_prominence_or_from_left_to_right(pipe: PG2Pipeline, crowd: Crowd) -> None:
    photo = Image.new("RGB", (200, 160))
    left, right = pipe.find_people(photo)
    assert [pipe.look(photo, person=person).people[0].pose for person in (0, 1, 2)] == [
        right.pose,
        left.pose,
        right.pose,
    ]
    assert [person.pose for person in pipe.look(photo, person=1).people] == [left.pose, right.pose]
    with pytest.raises(DataError, match="person: .* 1 to 2 .* got 3"):
        pipe.look(photo, person=3)


def test_people_who_were_found_are_not_looked_for_again(pipe: PG2Pipeline, crowd: Crowd) -> None:
    photo = Image.new("RGB", (200, 160))
    people = pipe.find_people(photo)
    crowd.shown.clear()
    assert pipe.look(photo, person=1, people=people).crop == pipe.look(photo, condition_pose=people[0].pose).crop
    assert crowd.shown == []


def test_a_box_is_all_that_is_looked_at(pipe: PG2Pipeline, crowd: Crowd) -> None:
    (left, _), whole = pipe.find_people(Image.new("RGB", (400, 300)), box=(50, 20, 250, 180)), crowd.poses[1]
    assert crowd.shown == [(200, 160)]
    assert torch.equal(left.pose.xy.nan_to_num(), (whole.xy + torch.tensor((50.0, 20.0))).nan_to_num())
    assert left.pose.canvas == (300, 400)
    pipe.find_people(Image.new("RGB", (400, 300)), box=(-10, -10, 500, 500))
    assert crowd.shown[-1] == (400, 300), "what lies outside the photo is left out"


@pytest.mark.parametrize("box", [(0, 0, 10, 100), (0, 0, 100), (500, 0, 600, 100), (math.nan, 0, 100, 100), "abcd"])
def test_a_box_that_is_none_is_refused(pipe: PG2Pipeline, crowd: Crowd, box: object) -> None:
    with pytest.raises(DataError, match="box: expected"):
        pipe.find_people(Image.new("RGB", (400, 300)), box=box)


def test_a_photo_is_turned_clockwise() -> None:
    photo = Image.new("RGB", (4, 2))
    photo.putpixel((0, 0), (255, 0, 0))
    corners = {90: (1, 0), 180: (3, 1), 270: (0, 3)}
    for degrees, corner in corners.items():
        assert turn_photo(photo, degrees).getpixel(corner) == (255, 0, 0), degrees
    assert turn_photo(photo, 0) is photo
    with pytest.raises(DataError, match="45"):
        turn_photo(photo, 45)


def test_people_are_found_in_the_turned_photo(pipe: PG2Pipeline, crowd: Crowd) -> None:
    photo = Image.new("RGB", (160, 200))
    people = pipe.find_people(photo, turn=90)
    assert (crowd.shown, people[0].pose.canvas) == ([(200, 160)], (160, 200))
    view = pipe.look(photo, turn=90, person=1)
    assert (view.turn, view.photo_size, view.photo_poses[0].canvas) == (90, (200, 160), (160, 200))


def test_a_photo_that_was_loaded_and_turned_is_looked_at_as_it_is(pipe: PG2Pipeline, crowd: Crowd) -> None:
    photo = Image.effect_noise((160, 200), 90)
    loaded = Photo.load(photo, 90)
    whole = pipe.look(photo, turn=90)
    for view in (pipe.look(loaded), pipe.look(Photo.load(photo), turn=90)):
        assert torch.equal(view.condition_image, whole.condition_image)
        assert (view.turn, view.photo_size) == (90, (200, 160))
    back = Photo.load(loaded, 270)
    assert (back.turn, back.size, back.upright_size) == (0, (200, 160), (200, 160))
    assert np.array_equal(np.asarray(back.picture), np.asarray(photo.convert("RGB")))


def test_other_people_are_cut_out_whether_they_are_found_or_given(
    warping: PG2Pipeline, standing: Pose, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Crowd(*(Pose(standing.xy + torch.tensor((dx, 0.0)), (128, 128)) for dx in (10.0, 54.0)))
    monkeypatch.setattr(warping, "_find_people", near)
    photo, everybody = Image.effect_noise((128, 128), 90), Image.new("L", (128, 128), 255)
    found = warping.look(photo, matte=everybody)
    own, *others = found.photo_poses
    given = warping.look(photo, condition_pose=own, other_poses=others, matte=everybody)
    alone = warping.look(photo, condition_pose=own, matte=everybody)
    assert torch.equal(given.matte, found.matte) and given.photo_poses == [own, *others]
    assert float(given.matte.sum()) < float(alone.matte.sum())
    with pytest.raises(DataError, match="other_poses: expected condition_pose"):
        warping.look(photo, other_poses=others)
    with pytest.raises(DataError, match="canvas"):
        warping.look(photo, condition_pose=own, other_poses=[others[0].resize((10, 10))])


def test_on_a_cpu_a_picture_does_not_depend_on_the_other_poses(pipe: PG2Pipeline, standing: Pose) -> None:
    view = pipe.look(Image.effect_noise((64, 128), 90), crop=False)
    many = pipe.repose(view, [standing, standing.flip(), "waving"])
    for output, target in zip(many, (standing, standing.flip(), "waving"), strict=True):
        assert torch.equal(output.refined, pipe.repose(view, [target])[0].refined)


def test_presets_have_the_proportions_of_the_person(standing: Pose) -> None:
    pipe = tiny_pipeline(Finds(standing))
    photo, waving = Image.new("RGB", (64, 128)), pose_presets()["waving"]
    own = retarget(waving, pipe.look(photo).condition_pose)
    assert pipe(photo, "waving").target_pose == own
    assert pipe(photo, waving).target_pose == pipe(photo, "waving", retarget=0).target_pose == waving
    assert pipe(photo, waving, retarget=1).target_pose == own
