"""PersonTable: images of people with their keypoints, one row per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.data import names as file_names
from pg2lib.errors import DataError
from pg2lib.images import fit, load_image
from pg2lib.pose import Pose

if TYPE_CHECKING:
    import pandas as pd


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
    """Images of people, one row per image.

    Attributes:
        names: File names as in the CSV, unique.
        persons: The person that each image shows.
        xy: float, (rows, 18, 2): keypoints in pixels, x first; NaN marks a missing joint.
        canvas: (height, width) of every image, in whose pixels the keypoints are.
        paths: The image files; None if only keypoints were read.
        skipped: What the reader left out.
        fill: RGB colour onto which files of another size than the canvas are letterboxed when they are loaded. None
            requires every file to have the size of the canvas.
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
            raise DataError(f"names occur twice in the table: {', '.join(twice[:5])}")
        object.__setattr__(self, "_row_of", row_of)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"PersonTable({len(self):,} images of {len(set(self.persons)):,} people, "
            f"{self.canvas[0]}x{self.canvas[1]}, {len(self.skipped):,} skipped)"
        )

    def row(self, name: str) -> int | None:
        """Return the row of a name in any of DeepFashion's spellings; None if the table lacks it."""
        return self._row_of.get(file_names.image_key(name))

    def pose(self, row: int) -> Pose:
        """Return the pose of one row."""
        return Pose(self.xy[row], self.canvas)

    def poses(self) -> Iterator[Pose]:
        """Yield the poses of all rows, in order."""
        return map(self.pose, range(len(self)))

    def load(self, row: int) -> Image.Image:
        """Read the image of one row from disk, in RGB and of the size of the canvas.

        Raises:
            DataError: If the table was read without images, or if the file is missing, is damaged, or has another size
                than the canvas while the table has no `fill`.
        """
        if self.paths is None:
            raise DataError("the table was read without images; read it with read_people, which knows their paths")
        path, (height, width) = self.paths[row], self.canvas
        image = load_image(path)
        if self.fill is not None:
            return fit(image, self.canvas, self.fill)
        if image.size != (width, height):
            raise DataError(f"{path}: expected {width}x{height} pixels, got {image.width}x{image.height}")
        return image

    def select(self, rows: Sequence[int], skipped: Iterable[Skipped] = ()) -> PersonTable:
        """Return the table of some rows, with `skipped` added to what was left out already."""
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            persons=tuple(self.persons[row] for row in rows),
            xy=self.xy[list(rows)],
            paths=None if self.paths is None else tuple(self.paths[row] for row in rows),
            skipped=(*self.skipped, *skipped),
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas table for inspection: name, person, and number of joints present."""
        import pandas as pd

        joints = (~self.xy.isnan().any(-1)).sum(-1).tolist()
        frame: pd.DataFrame = pd.DataFrame({"name": self.names, "person": self.persons, "joints": joints})
        return frame
