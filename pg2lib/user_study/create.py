"""Creation of user studies, from images or from pipelines and test pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg2lib.data.pairs import PairTable
from pg2lib.data.store import ImageStore
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES, part_of, writing
from pg2lib.images import ImageLike, load_image, pil_from_tensor
from pg2lib.pipeline import PG2Pipeline
from pg2lib.provenance import provenance
from pg2lib.user_study.study import FORMAT, IMAGES_NAME, STUDY_NAME, Protocol, Study, shuffled

Images = str | PathLike[str] | NDArray[np.generic] | Tensor | Iterable[ImageLike | Tensor]
"""A folder, whose hidden files are ignored; an array of shape (images, height, width, 3); a tensor of shape (images, 3,
height, width); or a sequence of single images."""

BATCH_SIZE = 16


def create_study(
    folder: str | PathLike[str],
    real: Images,
    generated: Mapping[str, Images],
    title: str,
    data: str,
    protocol: Protocol | None = None,
) -> Study:
    """Create a user study in a new folder, which appears only when it is complete.

    All images are copied as PNG files that hold pixels and nothing else. Their names are numbers in random order. If
    there are more images than a session needs, every rater sees another selection.

    Args:
        folder: folder to create.
        real: real images, at least `Protocol.real`.
        generated: generated images by the name of their model, at least `Protocol.generated` of each.
        title: heading that raters see. It should not reveal what is studied.
        data: name of the data set, such as "DeepFashion", for the results.
        protocol: course of a session; by default that of the paper.

    Raises:
        DataError: the folder exists, there are too few images, their sizes differ, one of them cannot be read, or a
            picture is among both the real and the generated images.
        WriteError: the folder cannot be written.
    """
    target, protocol = Path(folder), protocol or Protocol()
    if target.exists():
        raise DataError(f"{target} exists already; open it with Study.open, or name another folder")
    if not generated or "" in generated:
        raise DataError("expected the generated images of at least one model, by the name of the model")
    groups = {"": _listed(real, "real")} | {model: _listed(images, model) for model, images in generated.items()}
    for model, images in groups.items():
        needed, what = (protocol.generated, f"generated images of {model}") if model else (protocol.real, "real images")
        if len(images) < needed:
            raise DataError(
                f"a session shows {needed} {what}, but there are {len(images)}; give more images, or a protocol that "
                f"needs fewer"
            )
    places = [(model, index) for model, images in groups.items() for index in range(len(images))]
    named = {f"{number:05d}.png": place for number, place in enumerate(shuffled(places, str(protocol.seed)))}
    with writing(target), part_of(target) as part:
        unfinished = part / target.name
        canvas = _write_images(unfinished / IMAGES_NAME, groups, named)
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
        (unfinished / STUDY_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        Study.open(unfinished)  # makes the database
        unfinished.rename(target)
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
    """Create a user study of the images that pipelines generate for pairs, and of the target images of other pairs.

    No target image is used twice, so that a rater never sees both a real image and its generated counterpart. All
    models get the same pairs, and each as many real images of its own as a session needs.

    Args:
        folder: folder to create.
        pipelines: pipelines by the name of the model.
        store: images of the pairs, of the size that the models generate.
        pairs: test pairs.
        title: heading that raters see, as in `create_study`.
        data: name of the data set.
        protocol: course of a session; by default that of the paper.

    Raises:
        DataError: there are too few different target images, or as in `create_study`.
    """
    protocol = protocol or Protocol()
    pair_of = {int(row): pair for pair, row in enumerate(pairs.to_rows.tolist())}
    targets = shuffled(sorted(pair_of), f"{protocol.seed}/targets")
    real, needed = protocol.real * len(pipelines), protocol.real * len(pipelines) + protocol.generated
    if len(targets) < needed:
        raise DataError(
            f"{len(pipelines)} models need {needed} different target images ({real} real, {protocol.generated} to "
            f"generate), but the pairs have {len(targets)}; give more pairs, fewer models or a smaller protocol"
        )
    chosen = torch.tensor([pair_of[row] for row in targets[real:needed]])
    generated: dict[str, list[Tensor]] = {model: [] for model in pipelines}
    for batch in store.batches(pairs.select(chosen), BATCH_SIZE):
        for model, pipeline in pipelines.items():
            generated[model] += pipeline.generate_pairs(batch).refined.cpu().unbind()
    real_images = store.images(torch.tensor(targets[:real])).cpu()
    return create_study(folder, real_images, generated, title, data, protocol)


def _listed(images: Images, what: str) -> Sequence[ImageLike | Tensor]:
    """Return a sequence of single images."""
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
        raise DataError(
            f"the images of {what!r} must have four dimensions, the first of which counts them; got the shape "
            f"{tuple(images.shape)}"
        )
    return list(images)


def _write_images(
    folder: Path, groups: Mapping[str, Sequence[ImageLike | Tensor]], named: Mapping[str, tuple[str, int]]
) -> tuple[int, int]:
    """Write all images in the order of their new names; return the (height, width) that all have."""
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
            raise DataError(f"the same picture is both real and generated: {twin} and {which}")
        picture.save(folder / name)
    if len(sizes) > 1:
        listed = "; ".join(f"{width}x{height}: {which}" for (height, width), which in list(sizes.items())[:5])
        raise DataError(f"the images have different sizes, which gives them away; resize them to one size ({listed})")
    return next(iter(sizes))
