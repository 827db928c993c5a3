"""Creating a study."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import pg2lib
from pg2lib import DataError, PG2Config, PG2Pipeline, build_models
from pg2lib.framing import Framing
from pg2lib.images import to_uint8
from pg2lib.user_study import Protocol, Study, create_study, create_study_from_pairs
from tests.user_study.conftest import SMALL, noise, pixels


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
        (noise(3, 0), {"m": noise(4, 1)}, "4 real images.* 3;"),
        (noise(4, 0), {"m": noise(4, 1), "n": noise(2, 2)}, "4 generated images of n.* 2;"),
        (noise(4, 0), {}, "at least one model"),
        (noise(4, 0), {"": noise(4, 1)}, "at least one model"),
        (noise(4, 0), {"m": noise(4, 1)[:, :, :4]}, "different sizes.*4x12.*6x12|different sizes.*6x12.*4x12"),
        (
            noise(4, 0),
            {"m": np.concatenate([noise(3, 1), noise(1, 0)])},
            "both real and generated",
        ),
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
    with pytest.raises(DataError, match="Study.open"):
        create_study(study.folder, noise(4, 0), {"one": noise(4, 1)}, "t", "d", SMALL)
    assert study.session("anna", "one").answered == 1


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

    with pytest.raises(DataError, match=r"\b15\b.*\b10 real.*\b5\b.*\b12\b"):
        create_study_from_pairs(tmp_path / "more", pipelines, store, pairs, "t", "d", Protocol(5, 5, 2))
