"""Checks of the image files."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pg2lib.data.people import PersonTable
from pg2lib.doctor.findings import Examined, Finding, Split
from pg2lib.errors import DataError
from pg2lib.images import load_image

SAMPLE = 500
"""Number of images decoded per split, unless the examination is thorough."""

COPY_AGAIN = "Unpack or copy them again."


def _images(examined: Examined) -> Iterator[Finding]:
    """Find empty files, damaged images and images of another size.

    Every file is read, but only a sample and the files that look incomplete are decoded.
    """
    for split, table in examined.tables.items():
        paths = table.paths or ()
        empty = [path for path in paths if examined.files[path].size == 0]
        if empty:
            yield Finding(
                "WRONG", f"{split}: {len(empty):,} of {len(paths):,} image files are empty or cannot be read (for "
                f"example {empty[0]})", f"{COPY_AGAIN} The disk may have been full, or the copy cut short.",
            )  # fmt: skip
        full = [path for path in paths if examined.files[path].size > 0]
        sample = full if examined.thorough else random.Random(0).sample(full, min(SAMPLE, len(full)))
        incomplete = [path for path in full if not examined.files[path].whole]
        sizes, errors = _decode(list(dict.fromkeys((*incomplete, *sample))))
        decoded = len(sizes) + len(errors)
        if errors:
            yield Finding(
                "WRONG", f"{split}: {len(errors):,} of {decoded:,} decoded images are damaged (for example "
                f"{errors[0]})", f"{COPY_AGAIN} To leave them out, pass --skip-corrupt to train.",
            )  # fmt: skip
        yield from _other_sizes(split, table, sizes)
        if not errors and not empty:
            text = f"{split}: no image file is empty or cut short"
            if decoded == len(paths):
                yield Finding("ok", f"{text}, and all can be decoded")
            else:
                yield Finding(
                    "ok", f"{text}, and {decoded:,} of {len(paths):,} were decoded", "To decode all, pass --thorough."
                )


def _decode(paths: list[Path]) -> tuple[dict[Path, tuple[int, int]], list[DataError]]:
    """Return the (width, height) of the images that can be decoded, and the errors of the others."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding the interpreter's lock
        results = dict(zip(paths, pool.map(_size_or_error, paths), strict=True))
    sizes = {path: result for path, result in results.items() if isinstance(result, tuple)}
    return sizes, [result for result in results.values() if isinstance(result, DataError)]


def _size_or_error(path: Path) -> tuple[int, int] | DataError:
    try:
        return load_image(path).size
    except DataError as error:
        return error


def _other_sizes(split: Split, table: PersonTable, sizes: dict[Path, tuple[int, int]]) -> Iterator[Finding]:
    height, width = table.canvas
    others = [path for path, size in sizes.items() if size != (width, height)]
    if not others:
        return
    first = sizes[others[0]]
    text = (
        f"{split}: {len(others):,} of {len(sizes):,} decoded images are not {width} pixels wide and {height} high (for "
        f"example {others[0]}: {first[0]} wide and {first[1]} high)"
    )
    if table.fill is not None:
        yield Finding("note", text, "They are scaled and padded to that size when they are loaded.")
    else:
        yield Finding("WRONG", text, "Use the original images: the keypoints do not fit scaled or cropped ones.")


def _duplicates(examined: Examined) -> Iterator[Finding]:
    shown: dict[Path, tuple[Split, str, str]] = {}
    for split, table in examined.tables.items():
        for path, name, person in zip(table.paths or (), table.names, table.persons, strict=True):
            shown[path] = split, name, person
    groups: dict[bytes, list[tuple[Split, str, str]]] = defaultdict(list)
    for path, entry in shown.items():
        if examined.files[path].size:
            groups[examined.files[path].digest].append(entry)
    copies = [group for group in groups.values() if len(group) > 1]
    if not copies:
        return
    people = sum(len({person for _, _, person in group}) > 1 for group in copies)
    splits = sum(len({split for split, _, _ in group}) > 1 for group in copies)
    (_, first, _), (_, second, _) = copies[0][:2]
    yield Finding(
        "WRONG", f"{sum(map(len, copies)):,} image files have the same content as another (for example {first} and "
        f"{second})" + (f"; images shown as different people: {people:,}" if people else "")
        + (f"; images in both splits: {splits:,}" if splits else ""),
        "Keep one of each, and remove the others with their rows in the CSV.",
    )  # fmt: skip


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (_images, _duplicates)
