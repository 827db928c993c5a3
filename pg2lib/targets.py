"""Target poses: what may stand for one, and how it comes to the model's canvas."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from pg2lib.condition import FindPeople
from pg2lib.data.pose_files import read_target_pose
from pg2lib.errors import DataError, NoPersonError
from pg2lib.framing import Framing
from pg2lib.images import Crop, ImageLike, load_photo
from pg2lib.limbs import retarget
from pg2lib.pose import Pose, pose_presets

log = logging.getLogger(__name__)

Target = Pose | ImageLike
"""A pose, the name of a preset, a pose file (see `pg2lib.read_poses`), or an image to take the pose from."""


def read_targets(
    targets: Sequence[Target],
    canvas: tuple[int, int],
    framing: Framing,
    find_people: FindPeople,
    person: Pose | None = None,
    strength: float | None = None,
    portrait: Crop | None = None,
) -> list[Pose]:
    """Bring target poses to the model's canvas. If there are several, an error names the one it is about.

    Args:
        targets: what stands for the poses.
        canvas: (height, width) of the model's images.
        framing: how people stand in the training images.
        find_people: finds the people in an image, the most prominent one first.
        person: pose of the person in the photo, on any canvas, whose limb lengths the target poses take.
        strength: how far they take them, in [0, 1], see `pg2lib.retarget`. None means 1 for presets and 0 for others.
        portrait: see `Framing.place`.

    Raises:
        NoPersonError: nobody is found in an image.
        DataError: there is no such preset or file, a file cannot be read, a pose has no joint, or `strength` lies
            outside [0, 1].
    """
    poses = []
    for number, target in enumerate(targets, 1):
        try:
            pose = read_target(target, find_people)
            own = float(_is_preset(target)) if strength is None else strength
            if person is not None and own != 0:
                pose = _with_lengths_of(person, pose, own, framing)
            poses.append(frame_pose(pose, canvas, framing, portrait))
        except (DataError, NoPersonError) as error:
            if len(targets) == 1:
                raise
            raise type(error)(f"target pose {number} of {len(targets)}: {error}") from error
    return poses


def read_target(target: Target, find_people: FindPeople) -> Pose:
    """Return the pose that a target names, holds or shows, on its own canvas.

    Args:
        target: what stands for the pose.
        find_people: finds the people in an image, the most prominent one first.

    Raises:
        NoPersonError, DataError: see `read_targets`.
    """
    if isinstance(target, Pose):
        return target
    if isinstance(target, str) and _is_preset(target):
        return pose_presets()[target]
    if isinstance(target, str | PathLike):
        path = Path(target)
        if not path.suffix and not path.exists():
            names = "; ".join(pose_presets())
            raise DataError(f"there is no preset and no file {str(path)!r}; the presets are: {names}")
        if (pose := read_target_pose(path)) is not None:
            return pose
    people = find_people(load_photo(target)[0])
    if len(people) > 1 and isinstance(target, str | PathLike):
        log.warning(
            "%s: the pose of the most prominent of %d people is used; --pose-number N chooses another",
            target,
            len(people),
        )
    return people[0].pose


def frame_pose(pose: Pose, canvas: tuple[int, int], framing: Framing, portrait: Crop | None = None) -> Pose:
    """Return a pose on a canvas: unchanged if it is on it, otherwise framed like the training images, or a portrait.

    Raises:
        DataError: the pose has no joint.
    """
    if not bool(pose.visible.any()):
        raise DataError("expected a target pose with one joint or more, got one without any")
    return pose if pose.canvas == canvas else framing.place(pose, canvas, portrait)


def _is_preset(target: Target) -> bool:
    return isinstance(target, str) and target in pose_presets()


def _with_lengths_of(person: Pose, pose: Pose, strength: float, framing: Framing) -> Pose:
    """Return a pose with limb lengths of the person, framed again if longer limbs would leave its canvas."""
    changed = retarget(pose, person, strength)
    if int(changed.inside().visible.sum()) < int(pose.inside().visible.sum()):
        return changed.crop(framing.crop(changed, changed.canvas))
    return changed
