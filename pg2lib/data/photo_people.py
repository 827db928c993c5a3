"""Who is on which photo: told from the folders of a user's own photos, or from the names of the files.

| photo | person | split |
|---|---|---|
| ``anna/beach.jpg``, ``anna/trips/hill.jpg`` | anna | drawn later, see `pg2lib.data.photos.read_photos` |
| ``train/anna/beach.jpg`` and ``test/ben/kitchen.jpg`` | anna and ben | train and test |
| ``train/p01_001.jpg`` and ``test/p03_001.jpg`` | p01 and p03 | train and test |

Where this is not certain, the user is asked: pairs of different people spoil a model, and nobody notices.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pg2lib.data.names import person_of
from pg2lib.data.shards import list_images
from pg2lib.errors import DataError

PersonFrom = Literal["folder", "name"]

SPLITS = {
    **dict.fromkeys(("train", "training", "bounding_box_train"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "query", "gallery", "bounding_box_test"), "test"),
}
"""Folders that are splits and no people, in lower case. Whatever is held out is the test split."""

HOW = {"folder": "their folders", "name": "the file names, up to the first _, -, . or blank"}

_MOST_SHOWN = 6
"""Number of people that a message shows."""


@dataclass(frozen=True)
class PhotoPeople:
    """The photos of a folder, and whom they show.

    Attributes:
        folder: The folder.
        person_from: What tells people apart.
        photos: (split, person) -> paths below the folder. The split is "train" or "test" where folders are both splits,
            and otherwise empty.
        unused: (path, reason) of each file that is no image.
    """

    folder: Path
    person_from: PersonFrom
    photos: Mapping[tuple[str, str], Sequence[str]]
    unused: Sequence[tuple[str, str]] = ()

    def __str__(self) -> str:
        total = sum(map(len, self.photos.values()))
        lines = [f"{total:,} photos of {_people(len(self.photos))}, told apart by {HOW[self.person_from]}"]
        for split in sorted({split for split, _ in self.photos}, reverse=True):
            counts = {person: len(paths) for (its_split, person), paths in self.photos.items() if its_split == split}
            lines.append(f"  {split}: {_people(len(counts))}: {_shown(counts)}" if split else f"  {_shown(counts)}")
        return "\n".join(lines)

    def without(self, left_out: Container[str]) -> list[str]:
        """Return the people all of whose photos are left out."""
        return [person for (_, person), paths in self.photos.items() if all(path in left_out for path in paths)]

    def crops(self) -> dict[str, str]:
        """Return the path of the crop of each photo: ``<person>/...png``, below the split if there is one.

        Raises:
            DataError: If two photos would have crops of the same name.
        """
        crops: dict[str, str] = {}
        photo_of: dict[str, str] = {}
        for (split, person), paths in self.photos.items():
            for photo in paths:
                below = PurePosixPath(photo)
                if split:
                    below = below.relative_to(below.parts[0])
                if self.person_from == "name":
                    below = person / below
                crop = (split / below if split else below).with_suffix(".png").as_posix()
                if crop in photo_of:
                    raise DataError(
                        f"{self.folder / photo} and {self.folder / photo_of[crop]} would both become {crop}; rename "
                        f"one, or remove it if it is the same photo"
                    )
                crops[photo], photo_of[crop] = crop, photo
        return crops


def tell_people_apart(folder: Path, person_from: PersonFrom | None = None) -> PhotoPeople:
    """Find out which photos of a folder show the same person.

    Args:
        folder: The photos.
        person_from: "folder": the outermost folder is the person, or the second one where the outermost ones are
            splits (`SPLITS`). "name": the part of the file name before the first ``_``, ``-``, ``.`` or blank; known
            names of data sets are read as such. By default "folder", or "name" for photos that are in splits directly;
            then the names must leave no doubt.

    Raises:
        DataError: If there is no photo, if a photo has no person, or if it is in doubt who is on the photos.
    """
    if person_from not in (*get_args(PersonFrom), None):
        raise DataError(f"person_from must be folder, name or None, got {person_from!r}")
    listing = list_images(folder, "paths")
    paths = [PurePosixPath(path) for path in listing.paths]
    in_splits = all(len(path.parts) > 1 and path.parts[0].lower() in SPLITS for path in paths)
    nested = all(len(path.parts) > 2 for path in paths)
    chosen: PersonFrom = person_from or ("name" if in_splits and not nested else "folder")
    if chosen == "folder":
        _refuse_strays(folder, paths)
    people = _group(paths, chosen, in_splits and (chosen == "name" or nested))
    found = PhotoPeople(folder, chosen, people, listing.unused)
    if person_from is None and (doubt := _doubt(paths, in_splits, nested)):
        other = {choice: _group(paths, choice, False) for choice in get_args(PersonFrom)}
        choices = "; ".join(f"--person-from {choice} gives {_names(people)}" for choice, people in other.items())
        raise DataError(f"{folder}: it is in doubt who is on which photo, because {doubt}. Choose: {choices}")
    return found


def _refuse_strays(folder: Path, paths: Iterable[PurePosixPath]) -> None:
    for path in paths:
        if len(path.parts) == 1:
            raise DataError(
                f"{folder / path} is in no person's folder: move it to {folder}/<person>/{path}, or tell people apart "
                f"by the file names with --person-from name"
            )


def _group(
    paths: Iterable[PurePosixPath], person_from: PersonFrom, in_splits: bool
) -> dict[tuple[str, str], list[str]]:
    """Return the paths of each (split, person). The split is empty unless there are photos of both."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        split = SPLITS[path.parts[0].lower()] if in_splits else ""
        person = _person_in(path.name) if person_from == "name" else path.parts[1 if in_splits else 0]
        groups[split, person].append(path.as_posix())
    if len({split for split, _ in groups}) > 1:
        return dict(groups)
    return {("", person): photos for (_, person), photos in groups.items()}


def _person_in(name: str) -> str:
    """Return the person in a file name."""
    person = person_of(name) or re.split(r"[_\-. ]", name, maxsplit=1)[0]
    if not person:
        raise DataError(f"the file name {name} does not start with a person, such as p01_001.jpg; rename the file")
    return person


def _doubt(paths: Sequence[PurePosixPath], in_splits: bool, nested: bool) -> str:
    """Return why it is not certain who is on the photos; empty if it is."""
    tops = {path.parts[0] for path in paths}
    splits = sorted(top for top in tops if top.lower() in SPLITS)
    if in_splits and not nested:
        if any(len(path.parts) > 2 for path in paths):
            return f"in {' and '.join(splits)} some photos are in a person's folder and some are not"
        return _doubt_of_names([path.name for path in paths], splits)
    if splits and not in_splits:
        return f"the folder {splits[0]} may be a person or a split"
    if len(tops) == 1 and len({path.parts[1] for path in paths if len(path.parts) > 2}) > 1:
        (top,) = tops
        return f"all photos are in the one folder {top}; if it holds one folder per person, pass {top} itself"
    return ""


def _doubt_of_names(names: Sequence[str], splits: Sequence[str]) -> str:
    """Return why the names of files do not tell people apart.

    They do if they are names of a data set, or if the part before the first separator and the part before the last one
    make the same people, of whom there are several, with two photos each on average.
    """
    if all(person_of(name) is not None for name in names):
        return ""
    first, last = defaultdict(set), defaultdict(set)
    for name in names:
        stem = PurePosixPath(name).stem
        first[_person_in(name)].add(name)
        last[re.sub(r"[_\-. ][^_\-. ]*$", "", stem)].add(name)
    same = sorted(map(sorted, first.values())) == sorted(map(sorted, last.values()))
    if same and 1 < len(first) <= len(names) / 2:
        return ""
    return f"{' and '.join(splits)} look like splits, and file names such as {names[0]} may not start with the person"


def _people(count: int) -> str:
    return f"{count:,} people" if count != 1 else "1 person"


def _shown(counts: Mapping[str, int]) -> str:
    """Return the first people with their numbers of photos."""
    shown = ", ".join(f"{person} ({count:,})" for person, count in list(counts.items())[:_MOST_SHOWN])
    return shown + (" ..." if len(counts) > _MOST_SHOWN else "")


def _names(people: Mapping[tuple[str, str], Sequence[str]]) -> str:
    return f"{_people(len(people))}, {_shown({person: len(photos) for (_, person), photos in people.items()})}"
