"""Checks of what is in a data folder, and how much of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from pg2lib.data.deepfashion import audit_split
from pg2lib.data.names import image_key, parse_deepfashion
from pg2lib.data.pairs import make_pairs, read_pairs
from pg2lib.data.people import PersonTable, SkipKind
from pg2lib.data.read import Layout, title_of
from pg2lib.doctor.findings import SPLITS, Examined, Finding, Level, Split
from pg2lib.doctor.remedies import remedy
from pg2lib.errors import DataError, MissingKeypointsError
from pg2lib.framing import MIDLINE, Framing

IN_SHOP_IMAGES = 52_712

USUAL_TEST_PAIRS: dict[Layout, int] = {"market1501": 12_000, "deepfashion": 8_570}
"""Number of pairs in the test pair files that most papers after PG2 use."""

PART = "This is fine if you want only a part of the data."


def _layout(examined: Examined) -> Iterator[Finding]:
    yield Finding("ok", f"{title_of(examined.root)} in {examined.root}")
    if examined.layout == "deepfashion" and not examined.synthetic:
        names = [path.as_posix() for path in examined.listing]
        images = {image_key(name) for name in names if parse_deepfashion(name)}
        text = f"{len(images):,} of the benchmark's {IN_SHOP_IMAGES:,} images are here"
        yield Finding("ok", text) if len(images) >= IN_SHOP_IMAGES else Finding("note", text, PART)


def _refused(examined: Examined) -> Iterator[Finding]:
    splits_of: dict[str, list[Split]] = defaultdict(list)
    for split, error in examined.refused.items():
        splits_of[str(error)].append(split)
    for message, splits in splits_of.items():
        text, split = f"{' and '.join(splits)}: {message}", splits[0]
        if examined.tables and _is_absent(examined, split):
            yield Finding("note", text, f"This is fine if you do not need the {split} split.")
        else:
            missing = isinstance(examined.refused[split], MissingKeypointsError)
            yield Finding("WRONG", text, remedy(examined, split, [] if missing else examined.keypoint_files(split)))


def _is_absent(examined: Examined, split: Split) -> bool:
    """Return whether nothing of a split is there, because the user may only want the other one."""
    if examined.layout == "photos":
        return False
    if examined.layout == "deepfashion" and examined.listed(split) is None:
        return isinstance(examined.refused[split], MissingKeypointsError)
    return not examined.members(split)


def _counts(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        people = len(set(table.persons))
        here = len(table) + sum(skip.kind in ("no keypoints", "flat") for skip in table.skipped)
        text = f"{split}: {len(table):,} images of {people:,} people with keypoints"
        known = examined.known(split)
        if known is None:
            yield Finding("ok", text)
        elif here == known.images and known.people in (people, None):
            yield Finding("ok", f"{text}; {known.name} is complete")
        elif here > known.images:
            yield Finding(
                "WRONG", f"{split}: {here:,} images, but {known.name} has {known.images:,}",
                "Remove what does not belong: images of another split, or augmented or renamed copies.",
            )  # fmt: skip
        else:
            yield Finding(
                "note", f"{text}; {here:,} of the {known.images:,} images of {known.name} are here",
                f"{PART} Otherwise, unpack the archive again.",
            )  # fmt: skip


def _pairs(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        try:
            pairs = len(make_pairs(table, "all")), _torso_pairs(table)
        except DataError as error:
            yield Finding("WRONG", f"{split}: {error}", "Training needs people with two or more images.")
            continue
        text = (
            f"{split}: {pairs[0]:,} pairs (rule all), {pairs[1]:,} with both shoulders and hips in both images (rule "
            "torso)"
        )
        known = examined.known(split)
        if not pairs[1]:
            yield Finding("note", text, "The rule torso is the default of train: to train on these, pass --pairs all.")
        elif known is None or known.pairs is None or known.pairs == pairs or len(table) < known.images:
            yield Finding("ok", text)
        else:
            usual = " and ".join(f"{count:,}" for count in known.pairs)
            yield Finding(
                "note", f"{text}; the usual annotations give {usual}", "Name your annotations next to every score."
            )


def _torso_pairs(table: PersonTable) -> int:
    try:
        return len(make_pairs(table, "torso"))
    except DataError:
        return 0


def _framing(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        try:
            seen = Framing.of(table.xy, table.canvas).y
        except DataError as error:
            yield Finding("WRONG", f"{split}: {error}", "Detect the keypoints again: python -m pg2lib prepare.")
            continue
        unseen = [name for name in MIDLINE if name not in seen]
        if unseen:
            yield Finding(
                "note", f"{split}: no image shows {' or '.join(unseen)}",
                f"A model trained on these crops photos so that {', '.join(seen)} are where they are here.",
            )  # fmt: skip


def _pair_files(examined: Examined) -> Iterator[Finding]:
    table = examined.tables.get("test")
    if table is None:
        return
    for path in [*examined.find("*pairs-test*.csv"), *examined.find("test_pairs.txt")]:
        pairs = read_pairs(path, table, skip_unknown=True)
        total = len(pairs) + len(pairs.skipped)
        share = f"{len(pairs):,} of the {total:,}" if pairs.skipped else f"all {total:,}"
        text = f"test: both images are here for {share} pairs in {path.name}"
        usual = USUAL_TEST_PAIRS.get(examined.layout)
        if usual is not None and not examined.synthetic:
            text += f"; the usual file has {usual:,}"
        if pairs.skipped:
            first = pairs.skipped[0]
            yield Finding(
                "note", text, "Scores do not cover the other pairs, whose images are missing or were left out (for "
                f"example {first.name}: {first.reason}).",
            )  # fmt: skip
        else:
            yield Finding("ok", text)


LEFT_OUT: dict[SkipKind, tuple[str, Level, str]] = {
    "junk": ("junk images (person -1)", "ok", ""),
    "distractor": ("distractors (person 0000)", "ok", ""),
    "flat": ("garments without a person (view flat)", "ok", ""),
    "no keypoints": ("images without keypoints", "note", "To detect keypoints, run python -m pg2lib prepare."),
    "no image": ("keypoints without an image", "note", f"{PART} Otherwise, image files are missing."),
    "other split": ("keypoints of images outside the split", "note", ""),
    "unknown name": ("files with other names than the data set's", "note", "Give them their original names."),
    "duplicate": ("images that were found before", "note", "The first of each was taken. Remove the copies."),
    "shared item": ("training images of items in the test split", "ok", ""),
    "unusable": ("images that cannot be used", "note", ""),
}
"""What readers leave out, by `Skipped.kind`: its description, whether it may be a mistake, and what to do."""


def _left_out(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        names_of: dict[SkipKind, list[str]] = defaultdict(list)
        for skip in table.skipped:
            names_of[skip.kind].append(skip.name)
        for kind, names in names_of.items():
            what, level, advice = LEFT_OUT[kind]
            if kind == "no keypoints" and (unknown := names_of.get("no image", [])) and len(unknown) > len(names) / 2:
                level, advice = "WRONG", f"Names differ: the CSV has names such as {unknown[0]}. Make them the same."
            elif kind == "no keypoints" and len(names) > (len(names) + len(table)) / 10:
                level = "WRONG"
            text = f"{split}: {what} left out: {len(names):,} (for example {names[0]})"
            yield Finding(level, text, advice)


def _people(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        images = Counter(table.persons)
        alone = [person for person, count in images.items() if count == 1]
        if alone:
            yield Finding(
                "note", f"{split}: {len(alone):,} of {len(images):,} people have only one image (for example "
                f"{alone[0]})", "They form no pair, so they are not used for training.",
            )  # fmt: skip


def _both_splits(examined: Examined) -> Iterator[Finding]:
    if len(examined.tables) < 2:
        return
    train, test = (examined.tables[split] for split in SPLITS)
    shared = sorted(set(train.persons) & set(test.persons))
    if shared:
        yield Finding(
            "WRONG", f"{len(shared):,} of {len(set(test.persons)):,} test people also occur in the train split (for "
            f"example {shared[0]})",
            "Scores on people seen in training say nothing. Remove these people from one of the splits.",
        )  # fmt: skip
    if examined.layout == "deepfashion" and (audit := audit_split(train, test)).items:
        yield Finding(
            "note", f"{len(audit.items):,} of {audit.test_items:,} test items also occur in the train split (for "
            f"example {audit.items[0]})",
            "The usual split is like that. To drop these items from training, pass --leak-free (leak_free=True).",
        )  # fmt: skip


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    _layout,
    _refused,
    _counts,
    _pairs,
    _framing,
    _pair_files,
    _left_out,
    _people,
    _both_splits,
)
