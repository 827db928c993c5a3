"""The doctor checks an installation and a data folder, and says what is wrong and what to do about it.

A check takes the data as `Examined` and yields findings. `CHECKS` lists them in the order of the report.
"""

from __future__ import annotations

import importlib.metadata
import platform
import random
from os import PathLike
from pathlib import Path

from PIL import Image

from pg2lib.data.people import PersonTable
from pg2lib.data.read import find_data
from pg2lib.doctor import counts, images, keypoints
from pg2lib.doctor.findings import Examined, Finding, report
from pg2lib.doctor.keypoints import without_joint
from pg2lib.doctor.remedies import RUN_AGAIN, where_to_look
from pg2lib.errors import DataError, PG2Error
from pg2lib.files import atomic_path, lies_in
from pg2lib.images import image_grid
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pipeline_folder import shipped_checkpoints
from pg2lib.provenance import provenance

OPTIONAL = {
    "mediapipe": ("pose", "finds poses in photos (demo, prepare, generate)"),
    "pillow-heif": ("heif", "reads the HEIC photos of iPhones"),
    "gradio": ("demo", "runs the demo"),
    "onnxruntime": ("onnx", "runs models faster on the CPU"),
    "jupyterlab": ("notebooks", "runs the notebooks"),
}
"""Optional packages: the extra of pg2lib that installs each, and what it is for."""

__all__ = ["CHECKS", "examine_data", "examine_installation", "picture_of_people", "report"]

CHECKS = (*counts.CHECKS, *keypoints.CHECKS, *images.CHECKS)


def examine_installation() -> list[Finding]:
    """Check versions, hardware, optional packages, and whether the checkpoints that ship with pg2lib load."""
    origin = provenance()
    findings = [
        Finding("ok", f"pg2lib {origin['pg2lib']}, torch {origin['torch']}, Python {platform.python_version()}"),
        Finding("ok", f"hardware: {origin['hardware']}"),
    ]
    for package, (extra, purpose) in OPTIONAL.items():
        try:
            findings.append(Finding("ok", f"{package} {importlib.metadata.version(package)} {purpose}"))
        except importlib.metadata.PackageNotFoundError:
            text = f"{package} is not installed; it {purpose}"
            findings.append(Finding("note", text, f'If you need it: pip install "pg2lib[{extra}]"'))
    for name in shipped_checkpoints():
        try:
            model = PG2Pipeline.from_pretrained(name, "cpu").config.model
        except PG2Error as error:
            findings.append(Finding("WRONG", f"checkpoint {name} does not load: {error}", "Install pg2lib again."))
        else:
            findings.append(
                Finding("ok", f"checkpoint {name} loads (images {model.width} pixels wide and {model.height} high)")
            )
    return findings


def examine_data(
    root: str | PathLike[str],
    detected: str | PathLike[str] | None = None,
    thorough: bool = False,
    picture: str | PathLike[str] | None = None,
) -> list[Finding]:
    """Check a data folder of any layout: what it contains, what is missing, and common mistakes.

    Errors of the readers and of the file system are returned as findings.

    Args:
        root: The unpacked data set, a folder above it, or a name that `find_data` knows.
        detected: A detector's keypoint CSV. It is compared with the annotations, or used in their place if there are
            none.
        thorough: Decode every image instead of a sample.
        picture: File to draw 16 people with their poses into.

    Returns:
        The findings, in the order of `CHECKS`.
    """
    try:
        examined = Examined.read(find_data(root), Path(detected) if detected is not None else None, thorough)
    except (PG2Error, OSError) as error:
        return [Finding("WRONG", str(error), where_to_look(Path(root)))]
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(examined)
        except (PG2Error, OSError) as error:
            findings.append(Finding("WRONG", str(error), RUN_AGAIN))
    if picture is not None:
        findings.append(_draw(examined, Path(picture)))
    return findings


def _draw(examined: Examined, file: Path) -> Finding:
    failed = f"no picture was written to {file}"
    if file.exists() and lies_in(file, examined.root):
        return Finding("WRONG", f"{failed}: the file exists among the data", "Choose a file elsewhere.")
    for split, table in examined.tables.items():
        try:
            with atomic_path(file) as temporary:
                picture_of_people(table).save(temporary)
        except (PG2Error, OSError, ValueError) as error:
            return Finding("WRONG", f"{failed}: {error}", "Correct this. The name must end in .png or .jpg.")
        return Finding(
            "ok", f"{file} shows people of the {split} split with their poses", "Look whether the poses fit the people."
        )
    return Finding("WRONG", f"{failed}: no people could be read", "Correct what is reported above.")


def picture_of_people(table: PersonTable, count: int = 16, columns: int = 8, seed: int = 0) -> Image.Image:
    """Draw people of a table with their poses, as many different ones as possible.

    Args:
        table: Read with paths. Images without a joint are not drawn.
        count: Number of images to draw, at most.
        columns: Number of images in a row of the picture, at most.
        seed: Random seed of the choice.

    Raises:
        DataError: No image has a joint, or a chosen image cannot be loaded.
    """
    rows = (~without_joint(table)).nonzero().flatten().tolist()
    if not rows:
        raise DataError(f"{table!r} has no joint in any image, so there is no pose to draw")
    random.Random(seed).shuffle(rows)
    first_of: dict[str, int] = {}
    for row in rows:
        first_of.setdefault(table.persons[row], row)
    others = [row for row in rows if first_of[table.persons[row]] != row]
    chosen = [*first_of.values(), *others][:count]
    factor = max(1, round(256 / max(table.canvas)))
    size = (table.canvas[0] * factor, table.canvas[1] * factor)
    pictures = [
        table.pose(row).resize(size).draw(table.load(row).resize(size[::-1], Image.Resampling.BICUBIC))
        for row in chosen
    ]
    blank = Image.new("RGB", size[::-1], "white")
    columns = min(columns, len(pictures))
    pictures += [blank] * (-len(pictures) % columns)
    return image_grid([pictures[start : start + columns] for start in range(0, len(pictures), columns)])
