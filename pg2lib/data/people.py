"""PersonTable: one row an image of one person, with its keypoints; and the field's keypoint CSV."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.data import names as file_names
from pg2lib.errors import DataError
from pg2lib.files import atomic_write
from pg2lib.images import fit, load_image
from pg2lib.pose import JOINTS, Pose

if TYPE_CHECKING:
    import pandas as pd

CSV_HEADER = "name:keypoints_y:keypoints_x"
MISSING = -1
"""How the field's CSV writes a missing joint."""


SkipKind = Literal[
    "junk", "distractor", "flat", "unknown name", "duplicate", "no keypoints", "no image", "other split", "shared item",
    "unusable",
]  # fmt: skip
"""Why something was left out. "flat" is a garment without a person, "no image" keypoints or a pair without their image,
"other split" keypoints of an image outside the split, "shared item" a training image whose item is in the test split,
"unusable" an image that cannot be decoded or has another size."""


@dataclass(frozen=True)
class Skipped:
    """A file or row that was left out.

    Attributes:
        name: Of the image or row.
        kind: Why it was left out, for code.
        reason: Why it was left out, for people.
    """

    name: str
    kind: SkipKind
    reason: str


@dataclass(frozen=True, eq=False)
class PersonTable:
    """Images of people, one row each.

    Attributes:
        names: file names as the CSV has them, unique.
        persons: whose image each is.
        xy: float (rows, 18, 2), pixels, x first, NaN = missing.
        canvas: (height, width) of every image, in whose pixels the keypoints are.
        paths: where the images are; None when only keypoints were read.
        skipped: what the reader left out.
        fill: RGB. Files of another size than the canvas are letterboxed onto this colour when they are loaded; None:
            every file must have the canvas's size.
    """

    names: tuple[str, ...]
    persons: tuple[str, ...]
    xy: Float[Tensor, "rows 18 2"]
    canvas: tuple[int, int]
    paths: tuple[Path, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    fill: tuple[int, int, int] | None = None
    _row_of: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        columns = [len(self.persons), len(self.xy)] + ([len(self.paths)] if self.paths is not None else [])
        if any(length != len(self.names) for length in columns):
            raise DataError(f"the columns of a PersonTable differ in length: {[len(self.names), *columns]}")
        keys = [file_names.image_key(name) for name in self.names]
        row_of = {key: row for row, key in enumerate(keys)}
        if len(row_of) != len(self.names):
            count = Counter(keys)
            twice = sorted({name for name, key in zip(self.names, keys, strict=True) if count[key] > 1})
            raise DataError(f"names stand twice in the table: {', '.join(twice[:5])}")
        object.__setattr__(self, "_row_of", row_of)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"PersonTable({len(self):,} images of {len(set(self.persons)):,} people, "
            f"{self.canvas[0]}x{self.canvas[1]}, {len(self.skipped):,} skipped)"
        )

    def row(self, name: str) -> int | None:
        """The row of a name, None when it is not in the table. DeepFashion's spellings and paths are all found."""
        return self._row_of.get(file_names.image_key(name))

    def pose(self, row: int) -> Pose:
        """The pose of one row."""
        return Pose(self.xy[row], self.canvas)

    def poses(self) -> Iterator[Pose]:
        """The poses of all rows, in order."""
        return (self.pose(row) for row in range(len(self)))

    def load(self, row: int) -> Image.Image:
        """The image of one row, read from disk: RGB, exactly as large as the canvas.

        Raises:
            DataError: the table was read without images, or the file is missing, damaged, or of another size than the
                canvas where the table has no `fill`.
        """
        if self.paths is None:
            raise DataError("the table was read without images; read it with read_people, which knows their paths")
        path, (height, width) = self.paths[row], self.canvas
        image = load_image(path)
        if self.fill is not None:
            return fit(image, self.canvas, self.fill)
        if image.size != (width, height):
            raise DataError(f"{path} has {image.width}x{image.height} pixels, the data set {width}x{height}")
        return image

    def select(self, rows: Sequence[int], skipped: Iterable[Skipped] = ()) -> PersonTable:
        """The table of some rows; `skipped` is added to what was left out already."""
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            persons=tuple(self.persons[row] for row in rows),
            xy=self.xy[list(rows)],
            paths=None if self.paths is None else tuple(self.paths[row] for row in rows),
            skipped=(*self.skipped, *skipped),
        )

    def to_frame(self) -> pd.DataFrame:
        """A pandas table to look at: name, person, number of joints present."""
        import pandas as pd

        joints = (~self.xy.isnan().any(-1)).sum(-1).tolist()
        frame: pd.DataFrame = pd.DataFrame({"name": self.names, "person": self.persons, "joints": joints})
        return frame


def read_keypoints(
    csv: str | PathLike[str],
    canvas: tuple[int, int],
    person_of: Callable[[str], str | None] = file_names.person_of,
) -> PersonTable:
    """Reads the field's keypoint CSV: ``name:keypoints_y:keypoints_x``, JSON lists of 18 numbers, y first, -1 =
    missing.

    Args:
        csv: the file, UTF-8.
        canvas: (height, width) of the images the keypoints were taken on.
        person_of: the person a file name speaks of. The default knows Market-1501 and flattened DeepFashion names.

    Raises:
        DataError: no such file, another header, or a malformed, unknown or repeated row, or one whose name leads out of
            the folder of the images, named with file and line. A file with one bad row is refused whole: it is not the
            file it should be.
    """
    path = Path(csv)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"no keypoint file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a keypoint CSV: {error}") from error
    if not lines or lines[0].replace(" ", "") != CSV_HEADER:
        raise DataError(f"{path}:1: expected the header {CSV_HEADER!r}, got {lines[0][:60] if lines else ''!r}")
    names: dict[str, int] = {}
    persons: list[str] = []
    points: list[list[tuple[float, float]]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        name, keypoints = _parse_row(line, where)
        file_names.checked_name(name, where)
        if name in names:
            raise DataError(f"{where}: {name} stands on line {names[name]} already")
        person = person_of(name)
        if person is None:
            raise DataError(
                f"{where}: {name!r} is neither a Market-1501 nor a flattened DeepFashion name, so whose image it is "
                f"cannot be told; pass person_of="
            )
        names[name] = number
        persons.append(person)
        points.append(keypoints)
    xy = torch.tensor(points, dtype=torch.float32).view(-1, len(JOINTS), 2)
    return PersonTable(tuple(names), tuple(persons), xy, canvas)


def _parse_row(line: str, where: str) -> tuple[str, list[tuple[float, float]]]:
    fields = line.rsplit(":", 2)
    if len(fields) != 3:
        raise DataError(f"{where}: expected name:[y, ...]:[x, ...], got {line[:60]!r}")
    name = fields[0].strip()
    columns = []
    for field_name, text in (("keypoints_y", fields[1]), ("keypoints_x", fields[2])):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: {field_name} is not a JSON list: {text.strip()[:60]!r}") from error
        if not isinstance(values, list) or len(values) != len(JOINTS):
            raise DataError(f"{where}: {field_name} must be a list of {len(JOINTS)} numbers, got {text.strip()[:80]}")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise DataError(f"{where}: {field_name} holds {value!r}, which is not a finite number")
        columns.append(values)
    keypoints = []
    for joint, y, x in zip(JOINTS, *columns, strict=True):
        if (y == MISSING) != (x == MISSING):
            raise DataError(f"{where}: {joint} has y = {y} and x = {x}; a missing joint is -1 in both")
        keypoints.append((math.nan, math.nan) if x == MISSING else (float(x), float(y)))
    return name, keypoints


def write_keypoints(csv: str | PathLike[str], poses: Iterable[tuple[str, Pose]]) -> None:
    """Writes the field's keypoint CSV, rounded to whole pixels as the field has them; the file appears whole or not at
    all.

    Args:
        poses: (name, pose); joints outside the canvas are written as missing.
    """
    with atomic_write(csv) as file:
        file.write(CSV_HEADER + "\n")
        file.writelines(csv_row(name, pose) + "\n" for name, pose in poses)


def csv_row(name: str, pose: Pose) -> str:
    """One row of the field's keypoint CSV, without the line's end.

    Raises:
        DataError: a name that no row can hold (see `checked_name`).
    """
    file_names.checked_name(name)
    x, y = (
        [MISSING if math.isnan(value) else round(value) for value in column] for column in pose.inside().xy.T.tolist()
    )
    return f"{name}: {json.dumps(y)}: {json.dumps(x)}"
