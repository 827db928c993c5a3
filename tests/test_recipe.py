"""Recipes: what a PNG says about how it was made, and the same picture from it again."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import CheckpointError, DataError, PG2Config, PG2Pipeline, Pose, build_models, read_recipe
from pg2lib.data.synthetic.person import render_person
from pg2lib.framing import Framing
from pg2lib.images import Crop
from pg2lib.recipe import FORMAT, MAX_CHARACTERS, MAX_CROP, PNG_KEY, Recipe

FRAMING = Framing(x=0.5, y={"nose": 0.125, "neck": 0.2, "hips": 0.49, "knees": 0.69, "ankles": 0.89})


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> PG2Pipeline:
    """A tiny pipeline with part warp and mattes, loaded from a folder."""
    torch.manual_seed(0)
    changes = {"model.base_width": 4, "model.bottleneck": 8, "model.part_warp": True, "model.matte": True}
    config = PG2Config.preset("fast").override(changes)
    folder = tmp_path_factory.mktemp("home of anna") / "tiny"
    PG2Pipeline(*build_models(config)[:2], config, FRAMING).save_pretrained(folder)
    return PG2Pipeline.from_pretrained(folder, "cpu")


@pytest.fixture
def recipe(standing: Pose) -> Recipe:
    """Two people in a photo that lay on its side: 300 pixels high, 200 wide."""
    xy = standing.xy.clone()
    xy[[0, 14]] = math.nan
    return Recipe(
        checkpoint="deepfashion-compact",
        sha256="ab" * 32,
        photo_size=(300, 200),
        turn=90,
        condition_pose=Pose(xy + 1 / 3, (200, 300)),
        other_poses=(Pose(standing.xy + 150, (200, 300)),),
        crop=Crop(-10.1, 1 / 7, 90.2, 199.9, (128, 64)),
        target_pose=standing.flip(),
        background="photo",
    )


def changed(recipe: Recipe, **values: object) -> str:
    """The recipe's JSON with other values."""
    return json.dumps({**json.loads(recipe.to_json()), **values})


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_a_recipe_survives_json_to_the_last_bit(recipe: Recipe) -> None:
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert torch.equal(again.condition_pose.xy.nan_to_num(-1), recipe.condition_pose.xy.nan_to_num(-1))
    other_side = replace(recipe, turn=270)
    assert Recipe.from_json(other_side.to_json()) == other_side
    nobody = replace(recipe, turn=180, photo_size=(128, 64), crop=None, condition_pose=None, other_poses=())
    assert Recipe.from_json(nobody.to_json()) == nobody


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"photo": "anna.jpg", "zoom": 2}, "unknown keys photo, zoom"),
        ({"format": "pg2lib recipe 2"}, f"{FORMAT}.* got 'pg2lib recipe 2'"),
        ({"format": None}, FORMAT),
        ({"checkpoint": 3}, "checkpoint: .*text, got 3"),
        ({"sha256": None}, "sha256: "),
        ({"turn": 45}, "turn: .*0, 90, 180, 270, got 45"),
        ({"turn": False}, "turn: "),
        ({"turn": [90]}, "turn: "),
        ({"background": "beach.jpg"}, "background: .*photo, plain, picture"),
        ({"photo_size": [300, 0]}, "photo_size: "),
        ({"photo_size": [300, 10**9]}, "photo_size: "),
        ({"photo_size": [300.5, 200]}, "photo_size: "),
        ({"photo_size": "ab"}, "photo_size: "),
        ({"turn": 0}, r"condition_pose: .*\[300, 200\], got \[200, 300\]"),
        ({"condition_pose": None}, "condition_pose: expected a pose"),
        ({"condition_pose": {"canvas": [200, 300]}}, "condition_pose: .*no field 'keypoints'"),
        ({"other_poses": [None]}, r"other_poses\[0\]: "),
        ({"other_poses": {}}, "other_poses: expected a list"),
        ({"target_pose": {"canvas": [64, 64], "keypoints": [[1, 1]] * 18}}, "target_pose: .*128, 64"),
        ({"target_pose": {"canvas": [128, 64], "keypoints": [[1e30, 1]] * 18}}, "target_pose: nose: .*1,280 pixels"),
        ({"target_pose": {"canvas": [128, 64], "keypoints": [[10**400, 1]] * 18}}, "401 digits"),
        ({"target_pose": {"canvas": [math.inf, 64], "keypoints": [[1, 1]] * 18}}, "target_pose: "),
        ({"crop": [0, 0, 9, 9]}, "crop: expected an object"),
        ({"crop": {"left": 0, "top": 0, "right": 9, "bottom": 9}}, "crop has no canvas"),
        ({"crop": {"left": 0, "top": 0, "right": 9, "bottom": math.nan, "canvas": [128, 64]}}, "crop.bottom: "),
        ({"crop": {"left": 9, "top": 0, "right": 0, "bottom": 9, "canvas": [128, 64]}}, "crop must be"),
        ({"crop": {"left": 0, "top": 0, "right": 3000, "bottom": 3000, "canvas": [128, 64]}}, f"crop: .*{MAX_CROP} "),
    ],
)
def test_what_is_no_recipe_is_refused_by_the_name_of_its_field(recipe: Recipe, values: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recipe.from_json(changed(recipe, **values))


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "3", "{}", "[" * 50_000, "1" * 5_000, " " * (MAX_CHARACTERS + 1)]
)
def test_text_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected a recipe"):
        Recipe.from_json(text)


@pytest.mark.parametrize("key", ["sha256", "target_pose", "crop", "pg2lib"])
def test_a_key_that_is_missing_is_named(recipe: Recipe, key: str) -> None:
    values = json.loads(recipe.to_json())
    del values[key]
    with pytest.raises(DataError, match=f"no {key}"):
        Recipe.from_json(json.dumps(values))


# -- Files -------------------------------------------------------------------------------------------------------------


def chunks(png: bytes) -> list[bytes]:
    """The types of the chunks of a PNG, in order."""
    found, place = [], 8
    while place < len(png):
        found.append(png[place + 4 : place + 8])
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    return found


def test_a_png_carries_its_recipe_in_one_text_chunk_and_other_formats_none(
    pipe: PG2Pipeline, standing: Pose, tmp_path: Path
) -> None:
    output = pipe(Image.new("RGB", (64, 128), "red"), standing.flip(), crop=False, condition_pose=standing)
    output.save(tmp_path / "out.png")
    output.save(tmp_path / "out.jpg")
    assert chunks((tmp_path / "out.png").read_bytes()) == [b"IHDR", b"iTXt", b"IDAT", b"IEND"]
    assert list(Image.open(tmp_path / "out.png").info) == [PNG_KEY]
    assert read_recipe(tmp_path / "out.png") == output.recipe
    assert np.array_equal(pixels(Image.open(tmp_path / "out.png")), pixels(output.to_pil()))
    assert b"pg2lib" not in (tmp_path / "out.jpg").read_bytes()
    with pytest.raises(DataError, match="out.xyz: .*png"):
        output.save(tmp_path / "out.xyz")


def test_a_recipe_is_read_from_json_too(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert read_recipe(str(tmp_path / "recipe.json")) == recipe


def test_neither_photo_nor_folders_are_named(pipe: PG2Pipeline, standing: Pose, tmp_path: Path) -> None:
    photo, beach = tmp_path / "anna.png", tmp_path / "anna at the beach.png"
    for path in (photo, beach):
        Image.new("RGB", (64, 128), "red").save(path)
    pipe(photo, standing, crop=False, condition_pose=standing, background=beach).save(tmp_path / "out.png")
    assert b"anna" not in (tmp_path / "out.png").read_bytes()
    recipe = read_recipe(tmp_path / "out.png")
    assert (recipe.checkpoint, recipe.background) == ("tiny", "picture")
    assert recipe.sha256 == json.loads((Path(pipe.name) / "config.json").read_text())["sha256"]


def test_files_without_a_recipe_are_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "photo.jpg")
    picture.save(tmp_path / "cut.png", pnginfo=recipe.png_info())
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    (tmp_path / "long.json").write_text(" " * 10**6)
    (tmp_path / "other.json").write_text("{}")
    bomb = b"pg2lib\0\1\0\0\0" + zlib.compress(b" " * 10**8, 9)
    chunk = len(bomb).to_bytes(4, "big") + b"iTXt" + bomb + zlib.crc32(b"iTXt" + bomb).to_bytes(4, "big")
    plain = (tmp_path / "plain.png").read_bytes()
    (tmp_path / "bomb.png").write_bytes(plain[:33] + chunk + plain[33:])
    names = ("plain.png", "photo.jpg", "cut.png", "long.json", "other.json", "bomb.png", "missing.png", ".")
    for name in names:
        with pytest.raises(DataError, match=str(tmp_path / name) if name == "." else name):
            read_recipe(tmp_path / name)


# -- The same picture again --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> PG2Pipeline:
    pytest.importorskip("mediapipe", reason="needs the extra pose")
    return PG2Pipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def studio() -> Image.Image:
    return render_person(3, 5, "studio", shot="full", yaw_deg=0).image


@pytest.fixture(scope="module")
def pair(studio: Image.Image) -> Image.Image:
    """Two people so close together that each is in the other's crop."""
    picture = Image.new("RGB", (250, 256))
    picture.paste(studio.crop((65, 0, 190, 256)), (0, 0))
    picture.paste(render_person(8, 9, "studio", shot="full", yaw_deg=0).image.crop((65, 0, 190, 256)), (125, 0))
    return picture


def test_one_person_again_pixel_for_pixel(shipped: PG2Pipeline, studio: Image.Image, tmp_path: Path) -> None:
    studio.save(tmp_path / "photo.png")
    for number, output in enumerate(shipped(tmp_path / "photo.png", ["waving", "walking left"])):
        output.save(tmp_path / f"{number}.png")
        again = shipped.replay(studio, read_recipe(tmp_path / f"{number}.png"))
        assert np.array_equal(pixels(Image.open(tmp_path / f"{number}.png")), pixels(again.to_pil()))
        assert again.recipe == output.recipe


def test_one_of_two_people_again_pixel_for_pixel_because_the_other_is_in_the_recipe(
    shipped: PG2Pipeline, pair: Image.Image
) -> None:
    view = shipped.look(pair, person=2)
    assert len(view.people) == 2
    output = shipped.repose(view, ["waving"], "plain")[0]
    recipe = Recipe.from_json(output.recipe.to_json())
    assert recipe.condition_pose.xy[1, 0] > 125 > recipe.other_poses[0].xy[1, 0]
    assert np.array_equal(pixels(shipped.replay(pair, recipe).to_pil()), pixels(output.to_pil()))
    alone = shipped.replay(pair, replace(recipe, other_poses=()))
    assert not np.array_equal(pixels(alone.to_pil()), pixels(output.to_pil()))


def test_a_half_length_portrait_again_pixel_for_pixel(shipped: PG2Pipeline, studio: Image.Image) -> None:
    portrait = studio.crop((0, 0, studio.width, studio.height // 2))
    output = shipped(portrait, "waving")
    assert output.crop.bottom < 1.1 * portrait.height
    again = shipped.replay(portrait, output.recipe)
    assert again.target_pose == output.target_pose
    assert np.array_equal(pixels(again.to_pil()), pixels(output.to_pil()))


def test_a_photo_on_its_side_again_pixel_for_pixel(shipped: PG2Pipeline, studio: Image.Image, tmp_path: Path) -> None:
    wide = studio.crop((30, 0, 226, 256)).transpose(Image.Transpose.ROTATE_90)
    output = shipped.repose(shipped.look(wide, turn=90), ["waving"])[0]
    assert (output.recipe.photo_size, output.recipe.condition_pose.canvas) == ((196, 256), (256, 196))
    upright = shipped(studio.crop((30, 0, 226, 256)), "waving")
    for picture in (upright, shipped.replay(wide, output.recipe)):
        assert np.array_equal(pixels(picture.to_pil()), pixels(output.to_pil()))


def test_a_crop_of_the_users_is_replayed(pipe: PG2Pipeline, standing: Pose) -> None:
    photo = Image.effect_noise((90, 150), 90)
    person = Pose(standing.xy + 9, (150, 90))
    crop = Crop(-3.3, 2.2, 77.7, 164.2, (128, 64))
    output = pipe.repose(pipe.look(photo, crop, condition_pose=person), [standing])[0]
    assert (output.crop, output.recipe.crop) == (crop, crop)
    assert np.array_equal(pixels(pipe.replay(photo, output.recipe).to_pil()), pixels(output.to_pil()))
    with pytest.raises(DataError, match=r"crop: .*\[128, 64\], got \[64, 64\]"):
        pipe.look(photo, replace(crop, canvas=(64, 64)), condition_pose=person)


def test_other_photos_other_weights_and_a_missing_background_are_refused(pipe: PG2Pipeline, standing: Pose) -> None:
    photo, beach = Image.effect_noise((64, 128), 90), Image.new("RGB", (50, 50), "yellow")
    output = pipe(photo, standing.flip(), crop=False, condition_pose=standing, background=beach)
    with pytest.raises(DataError, match="64x128 pixels, got one of 100x100"):
        pipe.replay(Image.new("RGB", (100, 100)), output.recipe)
    with pytest.raises(CheckpointError, match="deepfashion-compact"):
        pipe.replay(photo, replace(output.recipe, checkpoint="deepfashion-compact", sha256="0" * 64))
    with pytest.raises(DataError, match="background"):
        pipe.replay(photo, output.recipe)
    assert np.array_equal(pixels(pipe.replay(photo, output.recipe, beach).to_pil()), pixels(output.to_pil()))
    assert pipe.replay(photo, output.recipe, "plain").recipe.background == "plain"


def test_what_no_photo_and_folder_can_give_again_has_no_recipe(pipe: PG2Pipeline, standing: Pose, tmp_path) -> None:
    photo, white = Image.new("RGB", (64, 128)), Image.new("L", (64, 128), 255)
    with_matte = pipe(photo, standing, crop=False, condition_pose=standing, matte=white)
    made_here = PG2Pipeline(pipe.g1, pipe.g2, pipe.config, FRAMING)(photo, standing, crop=False)
    for output in (with_matte, made_here):
        assert output.recipe is None
        output.save(tmp_path / "out.png")
        with pytest.raises(DataError, match="no recipe"):
            read_recipe(tmp_path / "out.png")
