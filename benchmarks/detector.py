"""How many people the pose detector finds: in photos, in pictures without people, and in annotated data sets.

    python -m benchmarks.detector --people photos/ --nobody still-life/ --data Market-1501-v15.09.15 --count 300

Photos are searched as they are, and again as the smaller part of a blurred picture, where people are far away. In the
data set, images whose annotations have both shoulders and both hips are drawn with a seed. Left and right count as
exchanged if the shoulders lie the other way round, where the annotated ones are at least a tenth of the width apart.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pg2lib import NoPersonError
from pg2lib.data.pairs import TORSO
from pg2lib.data.read import read_people
from pg2lib.detect import Detection, MediaPipeDetector
from pg2lib.files import IMAGE_SUFFIXES, files_below
from pg2lib.images import load_image

FAR_AWAY = 0.35
"""Width of a photo in the picture in which its people are far away."""


def found_in(detector: MediaPipeDetector, image: Image.Image) -> int:
    """Return how many people are found."""
    try:
        return len(detector.find_people(image))
    except NoPersonError:
        return 0


def far_away(photo: Image.Image) -> Image.Image:
    """Return a picture of 1600x1200 pixels in which a photo is a small part of its own blurred colours."""
    picture = photo.resize((8, 6)).resize((1600, 1200), Image.Resampling.BICUBIC)
    width = round(FAR_AWAY * picture.width)
    picture.paste(photo.resize((width, round(width * photo.height / photo.width))), (900, 500))
    return picture


def compare(detector: MediaPipeDetector, data: Path, split: Literal["train", "test"], count: int, seed: int) -> str:
    """Compare detections with annotations, and return the figures in words."""
    table = read_people(data, split)
    rows = (~table.xy[:, TORSO].isnan().any(dim=-1)).all(dim=1).nonzero().flatten().tolist()
    rows = random.Random(seed).sample(rows, min(count, len(rows)))
    missed = exchanged = facing = 0
    errors = []
    for row in rows:
        try:
            detection: Detection = detector.detect(load_image(table.paths[row]))
        except NoPersonError:
            missed += 1
            continue
        own, found = table.xy[row], detection.pose.resize(table.canvas).xy
        errors.append(float((own - found).norm(dim=1).nanmean()) / table.canvas[0])
        annotated, seen = (float(xy[5, 0] - xy[2, 0]) for xy in (own, found))
        if abs(annotated) > 0.1 * table.canvas[1] and not np.isnan(seen):
            facing += 1
            exchanged += annotated * seen < 0
    return (
        f"{data.name} {split}, {len(rows)} images, seed {seed}: {missed} missed ({missed / len(rows):.1%}), left and "
        f"right exchanged in {exchanged} of {facing} ({exchanged / max(facing, 1):.1%}), mean distance of the joints: "
        f"median {np.nanmedian(errors):.1%} of the height"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=Path, metavar="FOLDER", help="photos that all show somebody")
    parser.add_argument("--nobody", type=Path, metavar="FOLDER", help="pictures that show nobody")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="annotated data set")
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--count", type=int, default=300, help="images of the data set (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with MediaPipeDetector() as detector:
        if options.people:
            photos = [load_image(path) for path in files_below(options.people, IMAGE_SUFFIXES)]
            near = sum(found_in(detector, photo) > 0 for photo in photos)
            far = sum(found_in(detector, far_away(photo)) > 0 for photo in photos)
            print(f"somebody found in {near} of {len(photos)} photos, and in {far} of them far away", flush=True)
        if options.nobody:
            paths = list(files_below(options.nobody, IMAGE_SUFFIXES))
            wrong = [path.name for path in paths if found_in(detector, load_image(path))]
            print(f"somebody found in {len(wrong)} of {len(paths)} pictures of nobody: {', '.join(wrong)}", flush=True)
        if options.data:
            print(compare(detector, options.data, options.split, options.count, options.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
