"""PairTable: pairs of a condition and a target image; pair rules and pair files."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from pg2lib.data.names import canonical_name
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES, atomic_write, is_lfs_pointer

log = logging.getLogger(__name__)

PairRule = Literal["all", "torso"]
TORSO = (2, 5, 8, 11)
"""The joints of both shoulders and both hips."""


@dataclass(frozen=True, eq=False)
class PairTable:
    """Ordered pairs of rows of a PersonTable.

    Attributes:
        table: The people.
        from_rows, to_rows: int64, (pairs,): rows of the condition and of the target images.
        skipped: Pairs of a file that were left out.
    """

    table: PersonTable
    from_rows: Int64[Tensor, "pairs"]
    to_rows: Int64[Tensor, "pairs"]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.from_rows)

    def __repr__(self) -> str:
        return f"PairTable({len(self):,} pairs of {self.table!r})"

    def names(self, pair: int) -> tuple[str, str]:
        """Return the file names of the condition and the target image of one pair."""
        return self.table.names[int(self.from_rows[pair])], self.table.names[int(self.to_rows[pair])]

    def digest(self) -> str:
        """Return a SHA-256 of the names of the images and of the pairs, in their order."""
        digest = hashlib.sha256("\n".join(self.table.names).encode())
        digest.update(self.from_rows.numpy().tobytes())
        digest.update(self.to_rows.numpy().tobytes())
        return digest.hexdigest()

    def select(self, pairs: Int64[Tensor, "some"]) -> PairTable:
        """Return some of the pairs, in the order given."""
        return PairTable(self.table, self.from_rows[pairs], self.to_rows[pairs])

    def sample(self, count: int, seed: int) -> PairTable:
        """Draw `count` different pairs at random, the same ones for the same seed.

        Raises:
            DataError: If `count` is not from 1 to the number of pairs.
        """
        if not 0 < count <= len(self):
            raise DataError(f"cannot draw {count:,} pairs from {len(self):,}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.select(order[:count])


def make_pairs(table: PersonTable, rule: PairRule = "all") -> PairTable:
    """Make all ordered pairs of two different images of one person.

    Args:
        table: The people.
        rule: "all", or "torso", which requires both shoulders and both hips in both images and gives the widely used
            list. The train split of Market-1501 has 296,938 and 263,632 pairs.

    Raises:
        DataError: If the rule is unknown, or if there is no pair because nobody has two images that qualify.
    """
    if rule not in get_args(PairRule):
        raise DataError(f"pair rule must be one of {', '.join(get_args(PairRule))}, got {rule!r}")
    present = ~table.xy.isnan().any(-1)
    qualifies = present[:, TORSO].all(dim=1) if rule == "torso" else torch.ones(len(table), dtype=torch.bool)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in qualifies.nonzero().flatten().tolist():
        rows_of[table.persons[row]].append(row)
    sides = []
    for rows in rows_of.values():
        both = torch.cartesian_prod(torch.tensor(rows), torch.tensor(rows))
        sides.append(both[both[:, 0] != both[:, 1]])
    pairs = torch.cat(sides) if sides else torch.empty(0, 2, dtype=torch.int64)
    if not len(pairs):
        raise DataError(f"{table!r} has no pair under the rule {rule!r}: nobody has two images that qualify")
    return PairTable(table, pairs[:, 0].contiguous(), pairs[:, 1].contiguous())


def read_pairs(path: str | PathLike[str], table: PersonTable, skip_unknown: bool = False) -> PairTable:
    """Read a pair file: a CSV with the header ``from,to``, or a list without a header as PIDM and NTED read it.

    A line of such a list names the target image first, then one or more condition images, each of which makes a pair
    with the target image. Names may have folders, slashes of either kind, any suffix of images, and any of
    DeepFashion's spellings.

    Args:
        path: The file.
        table: The people.
        skip_unknown: List pairs with an image that the table lacks in ``PairTable.skipped``. Otherwise the file is
            refused.

    Raises:
        DataError: If the file is missing or has another header, if a row is malformed or names an unknown image, or if
            no pair is left. The message names the file and the line.
    """
    path = Path(path)
    rows: list[tuple[int, int]] = []
    skipped: list[Skipped] = []
    for number, from_name, to_name in _named_pairs(path):
        first, second = find_row(table, from_name), find_row(table, to_name)
        if first is not None and second is not None:
            rows.append((first, second))
            continue
        unknown = from_name if first is None else to_name
        if not skip_unknown:
            raise DataError(
                f"{path}:{number}: {unknown} is not in {table!r}; read the split that the pairs belong to, keep "
                f"garments without a person (--flat) if a list of DeepFashion names them, or leave such pairs out with "
                f"skip_unknown=True"
            )
        skipped.append(Skipped(f"{path.name}:{number}", "no image", f"no image {unknown}"))
    if not rows:
        raise DataError(f"{path}: no pair has both its images in {table!r}")
    both = torch.tensor(rows, dtype=torch.int64)
    return PairTable(table, both[:, 0].contiguous(), both[:, 1].contiguous(), tuple(skipped))


def find_row(table: PersonTable, name: str) -> int | None:
    """Return the row of a name as a list of pairs may spell it; None if the table lacks it.

    Args:
        table: The people.
        name: With slashes of either kind, and with any suffix of images or none. The folders count only if they are
            part of the names in the table.
    """
    row = table.row(name)
    if row is not None:
        return row
    name = name.strip().replace("\\", "/").removeprefix("./")
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix.lower()}" not in IMAGE_SUFFIXES:
        stem = name
    spellings = (name, *(stem + other for other in (".jpg", ".png", ".jpeg")))
    rows = (table.row(canonical_name(spelling)) for spelling in spellings)
    return next((row for row in rows if row is not None), None)


def _named_pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the line and the names of condition and target image of each pair in a file."""
    try:
        if is_lfs_pointer(path):
            raise DataError(f"{path} is a Git LFS pointer and not the pair file itself; run git lfs pull")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError as error:
        raise DataError(f"no pair file {path}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a pair file: {error}") from error
    has_header = bool(lines) and lines[0] == ["from", "to"]
    if not has_header:
        if not lines or len(lines[0]) < 2 or any(Path(name).suffix.lower() not in IMAGE_SUFFIXES for name in lines[0]):
            raise DataError(
                f"{path}:1: expected the header 'from,to', or the names of images (target image first, then condition "
                f"images), got {','.join(lines[0])[:80] if lines else ''!r}"
            )
        log.warning("%s has no header: the first image of a line is taken as the target, as in PIDM and NTED", path)
    for number, line in enumerate(lines, start=1):
        if not line or (has_header and number == 1):
            continue
        if len(line) < 2 or (has_header and len(line) > 2):
            raise DataError(f"{path}:{number}: expected two names, got {','.join(line)[:80]!r}")
        if has_header:
            yield number, line[0], line[1]
        else:
            yield from ((number, condition, line[0]) for condition in line[1:])


def write_pairs(path: str | PathLike[str], pairs: PairTable) -> None:
    """Write a pair file that `read_pairs` reads, atomically."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("from", "to"))
        writer.writerows(pairs.names(pair) for pair in range(len(pairs)))
