"""Example people: synthetic ones, and a photo in the public domain where scikit-image has it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pg2lib.data.synthetic import render_person

STUDIO = {"beige T-shirt": 40, "striped T-shirt": 44, "red T-shirt": 48, "black jumper": 51}
"""Names and seeds of synthetic people."""

ENLARGED_PX = 512
"""Synthetic people are enlarged to this, so that they look like photos on the page."""


def write_examples(folder: Path) -> list[dict[str, str]]:
    """Write pictures of example people into a folder, and return the name and file name of each."""
    written = []
    for name, seed in STUDIO.items():
        picture = render_person(seed, 0, "studio", shot="full", yaw_deg=0, action="standing").image
        written.append(_write(folder, name, picture.resize((ENLARGED_PX, ENLARGED_PX), Image.Resampling.LANCZOS)))
    try:
        from skimage import data
    except ImportError:
        return written
    astronaut = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
    return [*written, _write(folder, "astronaut (NASA)", astronaut)]


def _write(folder: Path, name: str, picture: Image.Image) -> dict[str, str]:
    file = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-") + ".jpg"
    picture.save(folder / file, quality=92)
    return {"name": name, "file": file}
