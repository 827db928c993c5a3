"""Draw the example sheets of the README and of the model card: public-domain and synthetic people in preset poses.

    python -m benchmarks.examples --out docs/images/examples.jpg
    python -m benchmarks.examples --people astronaut "synthetic 44" "synthetic 48" --out docs/images/figure.jpg

The photos are the astronaut and the cameraman that ship with scikit-image, and synthetic people. Nobody of a data set
is shown. Every person and every pose of the lists below is drawn, whether the result is good or not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import skimage.data
from PIL import Image

from pg2lib import PG2Pipeline, pose_presets
from pg2lib.data.synthetic import render_person
from pg2lib.images import image_grid
from pg2lib.output import save_picture

POSES = ("standing, front", "standing, facing left", "walking, front", "waving", "hands on hips")
SYNTHETIC = {
    "synthetic 40": (40, 330.0),
    "synthetic 44": (44, 20.0),
    "synthetic 48": (48, 0.0),
    "synthetic 51": (51, 30.0),
}
"""Name: the seed of the person, and which way they face in degrees."""


def photos() -> dict[str, Image.Image]:
    """Six people: the photos, and synthetic people who stand."""
    found = {"astronaut": skimage.data.astronaut(), "cameraman": skimage.data.camera()}
    people = {name: Image.fromarray(pixels).convert("RGB") for name, pixels in found.items()}
    for name, (identity, yaw_deg) in SYNTHETIC.items():
        person = render_person(identity, 0, "studio", shot="full", action="standing", yaw_deg=yaw_deg)
        people[name] = person.image.convert("RGB")
    return people


def sheet(pipeline: PG2Pipeline, people: dict[str, Image.Image], poses: Sequence[str]) -> Image.Image:
    """One row per person, one column per pose; the poses are drawn above."""
    presets = pose_presets()
    rows = []
    for photo in people.values():
        outputs = pipeline(photo, list(poses))
        size = outputs[0].to_pil().size
        photo.thumbnail(size)
        shown = Image.new("RGB", size, "white")
        shown.paste(photo, ((size[0] - photo.width) // 2, (size[1] - photo.height) // 2))
        rows.append([shown, *(output.to_pil() for output in outputs)])
    drawn = [Image.new("RGB", size, "white"), *(pipeline.frame_pose(presets[name]).draw() for name in poses)]
    return image_grid([drawn, *rows], titles=["photo", *poses], names=["pose", *people])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", default="deepfashion-compact", help="name, folder or hub id of a checkpoint")
    parser.add_argument("--people", nargs="+", choices=sorted(photos()), metavar="NAME", help="default: all six")
    parser.add_argument("--poses", nargs="+", default=POSES, choices=sorted(pose_presets()), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("examples.png"), help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    people = photos()
    chosen = {name: people[name] for name in options.people or people}
    drawn = sheet(PG2Pipeline.from_pretrained(options.weights, "cpu"), chosen, options.poses)
    save_picture(drawn, options.out)
    print(f"{options.out}: {len(chosen)} people in {len(options.poses)} poses")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
