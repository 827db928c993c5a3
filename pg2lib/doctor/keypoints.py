"""Checks of the keypoints, and of a detector's keypoints against the annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pg2lib.data.names import image_key
from pg2lib.data.people import PersonTable
from pg2lib.data.read import read_people
from pg2lib.doctor.findings import Examined, Finding, Split
from pg2lib.doctor.remedies import remedy
from pg2lib.errors import DataError
from pg2lib.metrics.pose import OFF, keypoint_agreement
from pg2lib.pose import JOINTS, SWAPPED_BY_FLIP

ENOUGH = 10
"""Fewest people from whom the doctor infers how most people of a table stand."""

REACH = 0.65
"""Keypoints that reach no further than this fraction of both sides of the canvas were taken on smaller images."""

MIDDLE = (0.4, 0.6)
"""Where the middle of most people lies, as a fraction of the image's width: crops show people in their middle."""

NOSE, NECK = JOINTS.index("nose"), JOINTS.index("neck")
SHOULDERS, HIPS, EYES, EARS = (2, 5), (8, 11), (14, 15), (16, 17)
"""Pairs of joints, the right one first."""


def without_joint(table: PersonTable) -> Bool[Tensor, "rows"]:
    """Return which rows of a table have no joint at all."""
    return table.xy.isnan().flatten(1).all(dim=1)


def _keypoints(examined: Examined) -> Iterator[Finding]:
    for split, table in examined.tables.items():
        yield from examine_table(split, table)


def examine_table(title: str, table: PersonTable) -> Iterator[Finding]:
    """Run `TABLE_CHECKS` up to the first mistake, which later checks would only report again in other words."""
    for check in TABLE_CHECKS:
        findings = list(check(title, table))
        yield from findings
        if any(finding.wrong for finding in findings):
            return


def _no_joint(title: str, table: PersonTable) -> Iterator[Finding]:
    empty = without_joint(table)
    count = int(empty.sum())
    text = f"{title}: {count:,} of {len(table):,} images have no joint at all"
    if count == len(table):
        yield Finding(
            "WRONG", f"{text}: every coordinate is -1",
            "The detector found nobody. Make the CSV again with python -m pg2lib prepare.",
        )  # fmt: skip
    elif count > len(table) / 3:
        yield Finding(
            "WRONG", text + _example(table, empty),
            "The detector missed too many people. Make the CSV again with python -m pg2lib prepare, which also "
            "handles small and tight crops.",
        )  # fmt: skip
    else:
        yield Finding("ok", text)


def _zeros(title: str, table: PersonTable) -> Iterator[Finding]:
    zeros = (table.xy == 0).all(dim=-1).sum(dim=-1)
    several = zeros > 1  # one joint may well lie in the corner, two never do
    if bool(several.any()):
        yield Finding(
            "WRONG", f"{title}: {int(several.sum()):,} images have two or more joints at (0, 0)"
            f"{_example(table, several)}", "These joints are missing. Write missing joints as -1.",
        )  # fmt: skip


def _lying(title: str, table: PersonTable) -> Iterator[Finding]:
    trunk, known = _trunks(table)
    lying = known & (trunk[:, 0].abs() > trunk[:, 1].abs())
    if _most(lying, known):
        yield Finding(
            "WRONG", f"{title}: {int(lying.sum()):,} of {int(known.sum()):,} people lie on their side"
            f"{_example(table, lying)}",
            "x and y are exchanged. Exchange the columns keypoints_y and keypoints_x of the CSV: y comes first.",
        )  # fmt: skip


def _upside_down(title: str, table: PersonTable) -> Iterator[Finding]:
    trunk, known = _trunks(table)
    upside_down = known & (trunk[:, 1] < -trunk[:, 0].abs())
    if _most(upside_down, known):
        yield Finding(
            "WRONG", f"{title}: {int(upside_down.sum()):,} of {int(known.sum()):,} people stand on their head"
            f"{_example(table, upside_down)}", "y counts from the top of the image. Replace every y by height - 1 - y.",
        )  # fmt: skip


def _trunks(table: PersonTable) -> tuple[Float[Tensor, "rows 2"], Bool[Tensor, "rows"]]:
    """Return the vectors from the neck to the middle of the hips, and where they are known."""
    trunk = table.xy[:, HIPS].mean(dim=1) - table.xy[:, NECK]
    return trunk, ~trunk.isnan().any(dim=1)


def _outside(title: str, table: PersonTable) -> Iterator[Finding]:
    height, width = table.canvas
    x, y = table.xy.unbind(-1)
    outside = ((x > width - 0.5) | (y > height - 0.5) | (x < -0.5) | (y < -0.5)).any(dim=1)
    if not bool(outside.any()):
        return
    text = (
        f"{title}: {int(outside.sum()):,} of {len(table):,} images have keypoints outside the canvas, up to "
        f"x = {_highest(x):.0f} and y = {_highest(y):.0f}{_example(table, outside)}"
    )
    if float(outside.float().mean()) > 0.05:
        yield Finding("WRONG", text, _other_size(table))
    else:
        yield Finding("note", text, "These joints are not drawn.")


def _in_a_corner(title: str, table: PersonTable) -> Iterator[Finding]:
    people = ~without_joint(table)
    if int(people.sum()) < ENOUGH:
        return
    height, width = table.canvas
    x, y = table.xy[people].nan_to_num(nan=-1.0).amax(dim=1).quantile(0.99, dim=0).tolist()
    if x < REACH * width and y < REACH * height:
        yield Finding(
            "WRONG", f"{title}: people fill only a corner of the canvas: keypoints end at x = {x:.0f} of {width} and "
            f"y = {y:.0f} of {height}", _other_size(table),
        )  # fmt: skip


def _other_size(table: PersonTable) -> str:
    height, width = table.canvas
    return (
        f"The keypoints belong to images of another size, not {width} pixels wide and {height} high. Scale them, or "
        "detect them in these images with python -m pg2lib prepare."
    )


def _off_centre(title: str, table: PersonTable) -> Iterator[Finding]:
    people = ~without_joint(table)
    if int(people.sum()) < ENOUGH:
        return
    width = table.canvas[1]
    middle = float(table.xy[people, :, 0].nanmedian(dim=1).values.median()) / (width - 1)
    if MIDDLE[0] < middle < MIDDLE[1]:
        return
    shift = (middle - 0.5) * (width - 1)
    side, change = ("right", "Subtract {} from") if shift > 0 else ("left", "Add {} to")
    yield Finding(
        "WRONG", f"{title}: people stand {abs(shift):.0f} pixels {side} of the middle of the images",
        "Either the keypoints or the images were padded, and the others were not (DeepFashion images, 176 pixels "
        f"wide, are padded by 40 on each side). {change.format(f'{abs(shift):.0f}')} every x.",
    )  # fmt: skip


def _left_and_right(title: str, table: PersonTable) -> Iterator[Finding]:
    """Find people whose sides are exchanged.

    Most people who show their nose face the camera, so that their right side is on the left of the image.
    """
    shoulders = _gap(table, SHOULDERS)
    facing = ~table.xy[:, NOSE, 0].isnan() & ~shoulders.isnan()
    exchanged = facing & (shoulders < 0)
    if _most(exchanged, facing):
        pairs = ", ".join(f"{right} and {left}" for right, left in SWAPPED_BY_FLIP)
        yield Finding(
            "WRONG", f"{title}: {int(exchanged.sum()):,} of {int(facing.sum()):,} people who show their nose have the "
            f"right shoulder on the right of the image{_example(table, exchanged)}",
            "Left and right are exchanged, or the images were flipped without the keypoints. Exchange joints "
            f"{pairs}.",
        )  # fmt: skip


def _mixed_sides(title: str, table: PersonTable) -> Iterator[Finding]:
    shoulders = _gap(table, SHOULDERS)
    for name, joints in (("hips", HIPS), ("eyes", EYES), ("ears", EARS)):
        gap = _gap(table, joints)
        known = ~gap.isnan() & ~shoulders.isnan()
        against = known & (gap * shoulders < 0)
        if _most(against, known):
            right, left = joints
            yield Finding(
                "WRONG", f"{title}: the {name} of {int(against.sum()):,} of {int(known.sum()):,} people have left and "
                f"right exchanged, compared with their shoulders{_example(table, against)}",
                f"Exchange joints {right} ({JOINTS[right]}) and {left} ({JOINTS[left]}).",
            )  # fmt: skip


def _gap(table: PersonTable, joints: tuple[int, int]) -> Float[Tensor, "rows"]:
    """Return how far the left joint lies to the right of the right joint, in pixels."""
    right, left = joints
    return table.xy[:, left, 0] - table.xy[:, right, 0]


TABLE_CHECKS: tuple[Callable[[str, PersonTable], Iterator[Finding]], ...] = (
    _no_joint,
    _zeros,
    _lying,
    _upside_down,
    _outside,
    _in_a_corner,
    _off_centre,
    _left_and_right,
    _mixed_sides,
)


def _most(chosen: Bool[Tensor, "rows"], among: Bool[Tensor, "rows"]) -> bool:
    """Return whether `chosen` holds for more than half of the people, and there are enough of them."""
    people = int(among.sum())
    return people >= ENOUGH and int(chosen.sum()) > people / 2


def _example(table: PersonTable, chosen: Bool[Tensor, "rows"]) -> str:
    return f" (for example {table.names[int(chosen.nonzero()[0])]})"


def _highest(values: Float[Tensor, "rows 18"]) -> float:
    return float(values[~values.isnan()].max())


def _repeated_keypoints(examined: Examined) -> Iterator[Finding]:
    """Find different images with equal keypoints. Copies of one image are reported by the checks of the images."""
    for split, table in examined.tables.items():
        rows_of: dict[bytes, list[int]] = defaultdict(list)
        for row, points in enumerate(table.xy.numpy()):
            if np.nan_to_num(points).any():  # rows of missing joints, written as -1 or as 0, are no copies
                rows_of[points.tobytes()].append(row)
        content = [examined.files[path].digest for path in table.paths or ()]
        groups = [rows for rows in rows_of.values() if len({content[row] for row in rows}) > 1]
        if groups:
            first, second = (table.names[row] for row in groups[0][:2])
            yield Finding(
                "WRONG", f"{split}: {sum(map(len, groups)):,} images have exactly the same keypoints as another (for "
                f"example {first} and {second})", "Rows were copied. Detect the keypoints of these images again.",
            )  # fmt: skip


def _agreement(examined: Examined) -> Iterator[Finding]:
    """Compare the annotations with a detector's CSV, or DeepFashion's published CSV with the others next to it."""
    refused: tuple[Split, Path, DataError] | None = None
    compared = False
    for split, table in examined.tables.items():
        reference, title, others = table, "the annotations", []
        if examined.layout == "deepfashion" and (csvs := examined.keypoint_files(split)):
            reference, title, others = read_people(examined.root, split, csvs[0]), csvs[0].name, csvs[1:]
        for csv in others if examined.detected is None else [examined.detected]:
            try:
                found = read_people(examined.root, split, csv)
            except DataError as error:
                refused = refused or (split, csv, error)
                continue
            yield from (finding for finding in examine_table(csv.name, found) if finding.wrong)
            yield from _compare(f"{split}: {csv.name} against {title}", found, reference, csv)
            compared = True
    if refused and not compared:  # the CSV of one split is always refused for the other
        split, csv, refusal = refused
        yield Finding("WRONG", str(refusal), remedy(examined, split, [csv]))


def _compare(title: str, found: PersonTable, reference: PersonTable, csv: Path) -> Iterator[Finding]:
    """Compare two tables, without the images that are neither in the detector's CSV nor in its list of missing ones."""
    list_of_missing = csv.with_name(f"{csv.stem}.missing.txt")
    lines = (
        list_of_missing.read_text(encoding="utf-8", errors="replace").splitlines() if list_of_missing.is_file() else []
    )
    nobody = {image_key(line.partition("\t")[0]) for line in lines}
    rows = [(row, found.row(name)) for row, name in enumerate(reference.names)]
    tried = [(row, place) for row, place in rows if place is not None or image_key(reference.names[row]) in nobody]
    if not tried:
        return
    empty = torch.full((len(JOINTS), 2), torch.nan)
    found_xy = torch.stack([empty if place is None else found.xy[place] for _, place in tried])
    agreement = keypoint_agreement(found_xy, reference.xy[[row for row, _ in tried]], reference.canvas[0])
    text = f"{title}: {agreement}"
    if agreement.compared >= ENOUGH and agreement.swapped > 0.5:
        yield Finding("WRONG", text, "One of the two has left and right exchanged.")
    elif agreement.median_error > OFF:
        yield Finding("WRONG", text, "One of the two belongs to other images, or to images of another size.")
    else:
        yield Finding("ok", text)


CHECKS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (_keypoints, _repeated_keypoints, _agreement)
