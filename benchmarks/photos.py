"""A sheet of photos in preset poses, and the copy error: the distance of results from what could have been copied.

    python -m benchmarks.photos FOLDER --weights deepfashion-compact --out sheet.png

The copy error is the mean |result - warped image|, weighted by the coverage, in grey levels of 255. The warped image is
that of `pg2lib.warp_parts`, for all models. Photos in which nobody is found are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pg2lib import NoPersonError, PG2Pipeline, pose_presets, warp_parts
from pg2lib.condition import ConditionView
from pg2lib.files import atomic_path
from pg2lib.images import image_grid, pil_from_tensor
from pg2lib.matte import find_matte
from pg2lib.output import PG2Output
from pg2lib.provenance import provenance

POSES = (
    "standing, front", "standing, back", "standing, facing left", "walking right", "arms raised", "waving",
    "hands on hips", "sitting",
)  # fmt: skip


def copy_error(view: ConditionView, output: PG2Output, warp_matte: Tensor) -> float:
    """Return the copy error of a result in grey levels, NaN if nothing is covered."""
    assert view.condition_pose is not None and output.target_pose is not None
    warped, coverage = warp_parts(
        view.condition_image[None], view.condition_pose.xy[None], output.target_pose.xy[None], warp_matte[None]
    )
    difference = (output.refined[None].cpu() - warped).abs().mean(dim=1, keepdim=True)
    return float((difference * coverage).sum() / coverage.sum() * 127.5)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of photos")
    parser.add_argument("--weights", default="deepfashion-compact")
    parser.add_argument("--poses", nargs="+", default=POSES, choices=sorted(pose_presets()), metavar="NAME")
    parser.add_argument("--background", default="photo", choices=("photo", "plain"))
    parser.add_argument("--out", type=Path, default=Path("photos.png"))
    options = parser.parse_args(arguments)
    pipeline, presets = PG2Pipeline.from_pretrained(options.weights, "cpu"), pose_presets()
    rows, names, errors, seconds = [], [], [], []
    for path in sorted(options.folder.iterdir()):
        start = time.perf_counter()
        try:
            view = pipeline.look(path)
        except NoPersonError as error:
            print(f"{path.name}: left out: {error}")
            continue
        outputs = pipeline.repose(view, [presets[name] for name in options.poses], options.background)
        seconds.append((time.perf_counter() - start) / len(outputs))
        # A model without mattes is measured alike.
        matte = find_matte(pil_from_tensor(view.condition_image))[None] if view.matte is None else view.matte
        found = torch.tensor([copy_error(view, output, matte) for output in outputs])
        errors.append(found)
        picture = view.condition_image if view.picture is None else view.picture
        rows.append([pil_from_tensor(picture), *(output.to_pil() for output in outputs)])
        names.append(path.stem)
        print(f"{path.name}: copy error {float(found.nanmean()):.1f} grey levels")
    presets_row = [Image.new("RGB", rows[0][0].size, "white")]
    presets_row += [pipeline.frame_pose(presets[name]).draw() for name in options.poses]
    with atomic_path(options.out) as temporary:
        image_grid([presets_row, *rows], titles=["photo", *options.poses], names=["", *names]).save(temporary, "PNG")
    figures = {
        "copy error": round(float(torch.stack(errors).nanmean()), 2),
        "seconds per picture": round(sum(seconds) / len(seconds), 3),
        "photos": len(rows),
        "poses": list(options.poses),
        "weights": str(options.weights),
        **provenance(),
    }
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
