"""PairTable: pairs of a condition and a target image; pair rules and pair files."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from pg2lib.data.names import DEEPFASHION_PATH
from pg2lib.data.people import PersonTable, Skipped
from pg2lib.errors import DataError
from pg2lib.files import atomic_write, is_lfs_pointer

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
        hint = ""
        if rule == "torso":
            hint = " (with both shoulders and both hips; the rule 'all', --pairs all, takes other images, too)"
        raise DataError(f"{table!r} has no pair under the rule {rule!r}: nobody has two images that qualify{hint}")
    return PairTable(table, pairs[:, 0].contiguous(), pairs[:, 1].contiguous())


def read_pairs(path: str | PathLike[str], table: PersonTable, skip_unknown: bool = False) -> PairTable:
    """Read a pair file.

    Two formats are known, both with a comma between names:

    * a CSV with the header ``from,to``: the condition and the target image of each pair;
    * the lists of NTED and PIDM (``train_pairs.txt``, ``test_pairs.txt``), without a header and with paths of
      DeepFashion, as their code reads them: the target image first, then one or more condition images, each of which
      makes a pair.

    Names may be paths, also of Windows, and have other folders and another suffix than those of the table: the file
    name without its suffix decides if only one image of the table has it.

    Args:
        path: The file.
        table: The people.
        skip_unknown: List pairs with an image that the table lacks in ``PairTable.skipped``. Otherwise the file is
            refused.

    Raises:
        DataError: If the file is missing or in neither format, if a row is malformed or names an unknown image, or if
            no pair is left. The message names the file and the line.
    """
    path = Path(path)
    find = RowFinder(table)
    rows: list[tuple[int, int]] = []
    skipped: list[Skipped] = []
    for number, first, second in _named_pairs(path):
        from_row, to_row = find(first), find(second)
        if from_row is not None and to_row is not None:
            rows.append((from_row, to_row))
            continue
        unknown = first if from_row is None else second
        if not skip_unknown:
            raise DataError(
                f"{path}:{number}: {unknown} is not in {table!r}; read the split that the pairs belong to, keep "
                f"garments without a person (--flat) if a list of DeepFashion names them, or leave such pairs out with "
                f"skip_unknown=True"
            )
        skipped.append(Skipped(f"{path.name}:{number}", "no image", f"no image {unknown}"))
    if not rows:
        first = f" ({skipped[0].name}: {skipped[0].reason})" if skipped else ""
        raise DataError(
            f"{path}: no pair has both its images in {table!r}{first}. Read the data and the split that the pairs "
            f"belong to"
        )
    both = torch.tensor(rows, dtype=torch.int64)
    return PairTable(table, both[:, 0].contiguous(), both[:, 1].contiguous(), tuple(skipped))


def _named_pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the line and the names of the condition and the target image of each pair of a file."""
    try:
        if is_lfs_pointer(path):
            raise DataError(f"{path} is a Git LFS pointer and not the pair file itself; run git lfs pull")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[name.strip() for name in line] for line in csv.reader(file)]
    except FileNotFoundError as error:
        raise DataError(f"no pair file {path}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a pair file: {error}") from error
    header = lines[0] if lines else []
    has_header = [name.lower() for name in header] == ["from", "to"]
    if not has_header and not _is_list_of_paths(header):
        raise DataError(
            f"{path}:1: expected the header 'from,to', got {','.join(header)[:80]!r}. If the file only lacks a header, "
            f"insert that line, with the name of the condition image first in each row"
        )
    if not has_header:
        log.info("%s: a list without a header, as of PIDM and NTED: the first path of a line is the target", path)
    for number, line in enumerate(lines[has_header:], start=1 + has_header):
        if not any(line):
            continue
        if has_header and len(line) != 2:
            raise DataError(f"{path}:{number}: expected two names, got {','.join(line)[:80]!r}")
        if not has_header and not _is_list_of_paths(line):
            raise DataError(
                f"{path}:{number}: expected two or more paths of DeepFashion, the target first, got "
                f"{','.join(line)[:80]!r}"
            )
        pairs = [(line[0], line[1])] if has_header else [(condition, line[0]) for condition in line[1:]]
        yield from ((number, *pair) for pair in pairs)


def _is_list_of_paths(line: Sequence[str]) -> bool:
    """Return whether a line is one of the lists of PIDM and NTED."""
    return len(line) > 1 and all(DEEPFASHION_PATH.search(name.replace("\\", "/")) for name in line)


class RowFinder:
    """Finds the row of a name: as `PersonTable.row` does, else by the path or the file name without the suffix."""

    def __init__(self, table: PersonTable) -> None:
        self._table = table
        self._rows: dict[str, set[int]] = defaultdict(set)
        for row, name in enumerate(table.names):
            for key in _keys(name):
                self._rows[key].add(row)

    def __call__(self, name: str) -> int | None:
        """Return the row, or None if the table has none or several."""
        row = self._table.row(name)
        if row is not None:
            return row
        matches = (self._rows.get(key, set()) for key in _keys(name))
        return next((min(rows) for rows in matches if len(rows) == 1), None)


def _keys(name: str) -> tuple[str, str]:
    """Return a path and its last part, both without the suffix."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.parent / path.stem), path.stem


def write_pairs(path: str | PathLike[str], pairs: PairTable) -> None:
    """Write a pair file that `read_pairs` reads, atomically."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("from", "to"))
        writer.writerows(pairs.names(pair) for pair in range(len(pairs)))
