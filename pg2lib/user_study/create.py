"""Making a study: images under names that say nothing, and the protocol."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.prepare import IMAGE_SUFFIXES
from pg2lib.data.store import ImageStore
from pg2lib.errors import DataError
from pg2lib.images import ImageLike, load_image, pil_from_tensor
from pg2lib.pipeline import PG2Pipeline
from pg2lib.provenance import provenance
from pg2lib.user_study.study import FORMAT, IMAGES_NAME, STUDY_NAME, Protocol, Study, shuffled

Images = str | PathLike[str] | NDArray[np.generic] | Tensor | Iterable[ImageLike | Tensor]
"""A folder (hidden files are passed over), an array (images, height, width, 3), a tensor (images, 3, height, width), or
images one by one."""

BATCH_SIZE = 16


def create_study(
    folder: str | PathLike[str],
    real: Images,
    generated: Mapping[str, Images],
    title: str,
    data: str,
    protocol: Protocol | None = None,
) -> Study:
    """Makes the folder of a study, whole or not at all.

    All images are copied, as PNG without anything but pixels, and named in an order that tells nothing. With more of
    them than a session needs, every rater gets others.

    Args:
        folder: must not exist yet.
        real: real images; at least `Protocol.real`.
        generated: generated images by the name of their model; at least `Protocol.generated` each.
        title: what raters read. It should not give away which model is under study.
        data: what the images show, say "DeepFashion"; it stands in the result.
        protocol: by default the paper's.

    Raises:
        DataError: the folder exists, too few images, images of different sizes, an image that cannot be read, or the
            same picture among the real and the generated ones.
    """
    target, protocol = Path(folder), protocol or Protocol()
    if target.exists():
        raise DataError(f"{target} exists already; open it with Study.open, or name another folder")
    if not generated or "" in generated:
        raise DataError("a study needs the generated images of at least one model, and every model a name")
    groups = {"": _listed(real, "real")} | {model: _listed(images, model) for model, images in generated.items()}
    for model, images in groups.items():
        needed, what = (protocol.generated, f"generated images of {model}") if model else (protocol.real, "real images")
        if len(images) < needed:
            raise DataError(f"a session shows {needed} {what}, and there are {len(images)}; give more, or lower it")
    places = [(model, index) for model, images in groups.items() for index in range(len(images))]
    named = {f"{number:05d}.png": place for number, place in enumerate(shuffled(places, str(protocol.seed)))}
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        canvas = _write_images(temporary / IMAGES_NAME, groups, named)
        values = {
            "format": FORMAT,
            "title": title,
            "data": data,
            "protocol": asdict(protocol),
            "canvas": canvas,
            "real": [name for name, (model, _) in named.items() if not model],
            "generated": {m: [name for name, (model, _) in named.items() if model == m] for m in generated},
            "made_with": provenance(),
        }
        (temporary / STUDY_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        Study.open(temporary)  # makes the database
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Study.open(target)


def create_study_from_pairs(
    folder: str | PathLike[str],
    pipelines: Mapping[str, PG2Pipeline],
    store: ImageStore,
    pairs: PairTable,
    title: str,
    data: str,
    protocol: Protocol | None = None,
) -> Study:
    """Makes a study of what pipelines generate for pairs, against target images of other pairs.

    No image is the target of two: a rater never sees a real image beside its generated likeness. Every model gets the
    same pairs, and as many real images of its own as a session needs.

    Args:
        pipelines: by the name of the model.
        store, pairs: test pairs and their images, on the models' canvas.
        folder, title, data, protocol: as in `create_study`.

    Raises:
        DataError: too few different target images, or what `create_study` refuses.
    """
    protocol = protocol or Protocol()
    pair_of = {int(row): pair for pair, row in enumerate(pairs.to_rows.tolist())}
    targets = shuffled(sorted(pair_of), f"{protocol.seed}/targets")
    real, needed = protocol.real * len(pipelines), protocol.real * len(pipelines) + protocol.generated
    if len(targets) < needed:
        raise DataError(
            f"{len(pipelines)} models need {needed} different target images ({real} real, {protocol.generated} to "
            f"generate), and the pairs have {len(targets)}; take more pairs, fewer models or a smaller protocol"
        )
    chosen = torch.tensor([pair_of[row] for row in targets[real:needed]])
    generated: dict[str, list[Tensor]] = {model: [] for model in pipelines}
    for batch in store.batches(pairs.select(chosen), BATCH_SIZE):
        for model, pipeline in pipelines.items():
            generated[model] += pipeline.generate_pairs(batch).refined.cpu().unbind()
    real_images = store.images(torch.tensor(targets[:real])).cpu()
    return create_study(folder, real_images, generated, title, data, protocol)


def _listed(images: Images, what: str) -> Sequence[ImageLike | Tensor]:
    if isinstance(images, str | PathLike):
        folder = Path(images)
        if not folder.is_dir():
            raise DataError(f"no folder {folder} for the images of {what!r}")
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")  # macOS's ._name.jpg is no image
        )
    if isinstance(images, Tensor | np.ndarray) and images.ndim != 4:
        raise DataError(f"the images of {what!r} must have four dimensions, images first; got {tuple(images.shape)}")
    return list(images)


def _write_images(
    folder: Path, groups: Mapping[str, Sequence[ImageLike | Tensor]], named: Mapping[str, tuple[str, int]]
) -> tuple[int, int]:
    """Writes every image under its new name, in the order of the names; returns (height, width) of all."""
    folder.mkdir(parents=True)
    sizes: dict[tuple[int, int], str] = {}
    kinds: dict[bytes, tuple[bool, str]] = {}
    for name, (model, index) in named.items():
        image = groups[model][index]
        picture = pil_from_tensor(image) if isinstance(image, Tensor) else load_image(image)
        which = f"{image if isinstance(image, str | PathLike) else f'image {index}'} of {model or 'the real images'}"
        sizes.setdefault((picture.height, picture.width), which)
        digest = hashlib.sha256(picture.tobytes()).digest()
        is_real, twin = kinds.setdefault(digest, (not model, which))
        if is_real != (not model):
            raise DataError(f"the same picture is real and generated: {twin}, {which}")
        Image.fromarray(np.asarray(picture)).save(folder / name)  # from pixels: no comment, no colour profile
    if len(sizes) > 1:
        listed = "; ".join(f"{width}x{height}: {which}" for (height, width), which in list(sizes.items())[:5])
        raise DataError(f"images of different sizes give away what they are; bring them to one size ({listed})")
    return next(iter(sizes))
