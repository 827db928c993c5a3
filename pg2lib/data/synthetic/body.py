"""Bodies: proportions, joint angles within human limits, common poses, and forward kinematics.

Body space is in metres: y up, z in the direction that the person faces, x to the person's left, so the right side has
negative x. The rest pose stands upright with straight legs and with the arms hanging straight down.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
T = TypeVar("T")

BONES = (
    "pelvis", "chest", "head",
    "right upper arm", "right forearm", "right hand", "left upper arm", "left forearm", "left hand",
    "right thigh", "right shin", "right foot", "left thigh", "left shin", "left foot", "right load", "left load",
)  # fmt: skip
"""The rigid parts. Surfaces near a joint follow two of them. A load hangs straight down from its hand."""

PARENTS = (-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13, 5, 8)
"""The parent of each bone; -1 for the root."""

LIMITS: Mapping[str, tuple[float, float]] = {
    "pelvis tilt": (-15, 35), "pelvis roll": (-12, 12),
    "spine bend": (-20, 45), "spine twist": (-35, 35), "spine lean": (-20, 20),
    "neck bend": (-35, 40), "neck twist": (-65, 65), "neck lean": (-25, 25),
    "shoulder flexion": (-50, 175), "shoulder abduction": (0, 165), "shoulder rotation": (-60, 95),
    "elbow flexion": (0, 145), "wrist flexion": (-50, 60),
    "hip flexion": (-28, 115), "hip abduction": (-15, 45), "hip rotation": (-35, 40),
    "knee flexion": (0, 135), "ankle flexion": (-48, 28),
}  # fmt: skip
"""Range of motion in degrees (normal adult values, rounded). Flexion and bend are forward, abduction moves a limb away
from the body, and rotation turns it inwards."""

SPINE = (
    "pelvis tilt",
    "pelvis roll",
    "spine bend",
    "spine twist",
    "spine lean",
    "neck bend",
    "neck twist",
    "neck lean",
)
ANGLES = SPINE + tuple(f"{side} {name}" for side in ("right", "left") for name in LIMITS if name not in SPINE)
"""All joint angles of a pose; those of the limbs once per side."""

Action = Literal["walking", "standing", "hands on hips", "arms raised", "sitting", "turning", "reaching"]


class Draws:
    """A stream of random numbers that is the same on every machine: it uses ``random.Random.random`` only."""

    def __init__(self, *key: object) -> None:
        self._stream = random.Random(" ".join(str(part) for part in key))

    def uniform(self, low: float, high: float) -> float:
        """Draw from the uniform distribution between two bounds."""
        return low + (high - low) * self._stream.random()

    def normal(self, mean: float, deviation: float) -> float:
        """Draw from an approximate normal distribution (12 uniform draws), cut off at three deviations."""
        return mean + deviation * min(3.0, max(-3.0, sum(self._stream.random() for _ in range(12)) - 6))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._stream.random() < probability

    def choice(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Choose one of several options by their weights."""
        shares = list(weights) if weights is not None else [1.0] * len(options)
        at = self._stream.random() * sum(shares)
        for option, share in zip(options, shares, strict=True):
            at -= share
            if at < 0:
                return option
        return options[-1]

    def integer(self) -> int:
        """Draw a seed for NumPy's frozen ``RandomState``."""
        return int(self._stream.random() * 2**31)


@dataclass(frozen=True)
class Body:
    """Proportions of one person.

    Attributes:
        height_m: From the sole to the crown.
        femininity: From 0 to 1; shapes shoulders, waist, hips and bust.
        girth: 1 is average.
        legs: Hip height over body height, as a deviation from the average.
        head: Size of the head; 1 is height / 7.5.
    """

    height_m: float
    femininity: float
    girth: float
    legs: float
    head: float

    @classmethod
    def draw(cls, draws: Draws) -> Body:
        """Draw a body from the population."""
        feminine = draws.chance(0.5)
        femininity = draws.uniform(0.75, 1) if feminine else draws.uniform(0, 0.2)
        return cls(
            height_m=draws.normal(1.65 if feminine else 1.77, 0.055),
            femininity=femininity,
            girth=min(1.32, max(0.94, draws.normal(1.09, 0.09))),
            legs=draws.normal(0, 0.006),
            head=draws.normal(1.045, 0.025),
        )

    @property
    def shoulder_x(self) -> float:
        """Half the distance between the shoulder joints, in body heights."""
        return mix(0.101, 0.089, self.femininity) * (0.75 + 0.25 * self.girth)

    @property
    def hip_x(self) -> float:
        """Half the distance between the hip joints, in body heights."""
        return mix(0.050, 0.0515, self.femininity) * (0.6 + 0.4 * self.girth)

    def rest_joints(self) -> Array:
        """Return the point about which each bone turns in the rest pose, (17, 3), in metres."""
        hip, knee = 0.515 + self.legs, 0.275 + 0.5 * self.legs
        rows: list[tuple[float, float, float]] = [(0, hip + 0.01, 0), (0, 0.60, -0.01), (0, 0.842, -0.004)]
        for side in (-1, 1):
            x = side * self.shoulder_x
            rows += [(x, 0.808, -0.006), (x, 0.640, -0.006), (x, 0.500, -0.006)]
        for side in (-1, 1):
            x = side * self.hip_x
            rows += [(x, hip, 0), (x, knee, 0), (x, 0.045, -0.006)]
        rows += [(side * self.shoulder_x, 0.43, -0.006) for side in (-1, 1)]
        return np.array(rows, dtype=np.float64) * self.height_m


def mix(a: float, b: float, share: float) -> float:
    """Interpolate linearly: `a` at share 0, `b` at share 1."""
    return a + (b - a) * share


def draw_angles(action: Action, draws: Draws) -> dict[str, float]:
    """Draw the joint angles of an action, in degrees, with `ANGLES` as keys."""
    angles = dict.fromkeys(ANGLES, 0.0)
    _relaxed(angles, draws)
    _ACTIONS[action](angles, draws)
    for name in angles:
        angles[name] += draws.normal(0, 1.5)
    for side in ("right", "left"):  # feet stay parallel to the ground
        flat = angles["pelvis tilt"] - angles[f"{side} hip flexion"] + angles[f"{side} knee flexion"]
        angles[f"{side} ankle flexion"] = flat * (1.0 if abs(flat) < 14 else 0.75)
    return {name: min(high, max(low, angles[name])) for name in angles for low, high in [limits_of(name)]}


def limits_of(angle: str) -> tuple[float, float]:
    """Return the lowest and the highest value of one of `ANGLES`, in degrees."""
    return LIMITS[angle.removeprefix("right ").removeprefix("left ")]


def draw_action(draws: Draws) -> Action:
    """Draw an action, with the probabilities of people in a street or a studio."""
    return draws.choice(get_args(Action), (0.40, 0.24, 0.08, 0.06, 0.06, 0.09, 0.07))


def _relaxed(angles: dict[str, float], draws: Draws) -> None:
    angles["spine bend"] = draws.normal(2, 2)
    angles["neck bend"] = draws.normal(4, 6)
    angles["neck twist"] = draws.normal(0, 12)
    for side in ("right", "left"):
        angles[f"{side} shoulder abduction"] = draws.uniform(7, 15)
        angles[f"{side} shoulder flexion"] = draws.normal(0, 7)
        angles[f"{side} shoulder rotation"] = draws.uniform(10, 35)
        angles[f"{side} elbow flexion"] = draws.uniform(8, 28)
        angles[f"{side} hip abduction"] = draws.uniform(1, 6)
        angles[f"{side} hip rotation"] = draws.uniform(-12, 0)
        angles[f"{side} knee flexion"] = draws.uniform(1, 6)
        angles[f"{side} wrist flexion"] = draws.uniform(0, 12)


def _walking(angles: dict[str, float], draws: Draws) -> None:
    phase, stride = draws.uniform(0, 2 * math.pi), draws.uniform(17, 27)
    angles["spine bend"] += draws.uniform(0, 4)
    angles["spine twist"] = -6 * math.sin(phase)
    busy = draws.choice((None, "right", "left"), (0.75, 0.13, 0.12))
    for side, turn in (("right", 0.0), ("left", math.pi)):
        swing, lift = math.sin(phase + turn), max(0.0, math.cos(phase + turn))
        angles[f"{side} hip flexion"] = 5 + stride * swing + 12 * lift
        angles[f"{side} knee flexion"] = 6 + (stride + 20) * lift**1.3 + 6 * max(0.0, -swing)
        angles[f"{side} hip abduction"] = draws.uniform(0, 3)
        angles[f"{side} shoulder flexion"] = -0.9 * stride * swing + draws.normal(2, 3)
        angles[f"{side} elbow flexion"] = draws.uniform(10, 26) + max(0.0, -swing) * 14
        if side == busy:  # a phone, a strap, something held
            angles[f"{side} shoulder flexion"] = draws.uniform(15, 45)
            angles[f"{side} elbow flexion"] = draws.uniform(80, 130)
            angles[f"{side} shoulder rotation"] = draws.uniform(10, 45)


def _standing(angles: dict[str, float], draws: Draws) -> None:
    free = draws.choice(("right", "left"))
    weight = draws.uniform(0, 1)
    angles["pelvis roll"] = (5 if free == "right" else -5) * weight
    angles["spine lean"] = -angles["pelvis roll"]
    angles[f"{free} knee flexion"] += 16 * weight
    angles[f"{free} hip flexion"] = 10 * weight
    angles[f"{free} hip abduction"] += 4 * weight
    if draws.chance(0.3):  # one hand up: a strap, the hair, a phone
        side = draws.choice(("right", "left"))
        angles[f"{side} shoulder flexion"] = draws.uniform(10, 55)
        angles[f"{side} elbow flexion"] = draws.uniform(70, 135)
        angles[f"{side} shoulder rotation"] = draws.uniform(10, 50)


def _hands_on_hips(angles: dict[str, float], draws: Draws) -> None:
    _standing(angles, draws)
    both = draws.chance(0.6)
    one = draws.choice(("right", "left"))
    for side in ("right", "left"):
        if both or side == one:
            angles[f"{side} shoulder abduction"] = draws.uniform(40, 48)
            angles[f"{side} shoulder flexion"] = draws.uniform(-16, -8)
            angles[f"{side} shoulder rotation"] = draws.uniform(72, 84)
            angles[f"{side} elbow flexion"] = draws.uniform(88, 98)
            angles[f"{side} wrist flexion"] = 20


def _arms_raised(angles: dict[str, float], draws: Draws) -> None:
    _standing(angles, draws)
    both = draws.chance(0.5)
    one = draws.choice(("right", "left"))
    for side in ("right", "left"):
        if both or side == one:
            angles[f"{side} shoulder abduction"] = draws.uniform(70, 150)
            angles[f"{side} shoulder flexion"] = draws.uniform(-5, 30)
            angles[f"{side} elbow flexion"] = draws.uniform(5, 80)
            angles[f"{side} shoulder rotation"] = draws.uniform(-55, 0)


def _sitting(angles: dict[str, float], draws: Draws) -> None:
    angles["pelvis tilt"] = draws.uniform(-12, 2)
    angles["spine bend"] = draws.uniform(2, 16)
    apart = draws.uniform(4, 14)
    for side in ("right", "left"):
        angles[f"{side} hip flexion"] = draws.uniform(78, 92)
        angles[f"{side} knee flexion"] = draws.uniform(74, 96)
        angles[f"{side} hip abduction"] = apart
        angles[f"{side} shoulder flexion"] = draws.uniform(18, 32)
        angles[f"{side} elbow flexion"] = draws.uniform(35, 60)
        angles[f"{side} shoulder rotation"] = draws.uniform(20, 45)


def _turning(angles: dict[str, float], draws: Draws) -> None:
    _walking(angles, draws) if draws.chance(0.4) else _standing(angles, draws)
    way = draws.choice((-1, 1))
    angles["spine twist"] = way * draws.uniform(10, 26)
    angles["neck twist"] = way * draws.uniform(20, 55)


def _reaching(angles: dict[str, float], draws: Draws) -> None:
    _standing(angles, draws)
    side = draws.choice(("right", "left"))
    angles[f"{side} shoulder flexion"] = draws.uniform(45, 100)
    angles[f"{side} shoulder abduction"] = draws.uniform(5, 25)
    angles[f"{side} elbow flexion"] = draws.uniform(5, 50)


_ACTIONS = {
    "walking": _walking,
    "standing": _standing,
    "hands on hips": _hands_on_hips,
    "arms raised": _arms_raised,
    "sitting": _sitting,
    "turning": _turning,
    "reaching": _reaching,
}


def pose_bones(body: Body, angles: Mapping[str, float], yaw_deg: float) -> Array:
    """Compute the affine map of each bone from the rest pose (forward kinematics), (17, 3, 4), in metres.

    Args:
        body: The proportions.
        angles: Joint angles in degrees, with `ANGLES` as keys.
        yaw_deg: Turns the whole person about the vertical. At 0 they face the camera (z), at 90 the left of the image.
    """
    rest = body.rest_joints()
    local = _local_rotations(angles)
    rotations = np.empty((len(BONES), 3, 3))
    places = np.empty((len(BONES), 3))
    rotations[0] = rotation("y", -yaw_deg) @ local[0]
    places[0] = rest[0]
    for bone in range(1, len(BONES)):
        parent = PARENTS[bone]
        offset = rest[bone] - rest[parent]
        if bone in (3, 6):  # the shoulder blade lifts the joint of a raised arm
            side = "right" if bone == 3 else "left"
            up = max(angles[f"{side} shoulder abduction"], angles[f"{side} shoulder flexion"])
            lift = max(0.0, up - 40) / 130
            offset = offset + body.height_m * lift * np.array((0.008 if bone == 3 else -0.008, 0.022, 0.0))
        places[bone] = places[parent] + rotations[parent] @ offset
        hangs = BONES[bone].endswith("load")
        rotations[bone] = rotation("y", -yaw_deg) if hangs else rotations[parent] @ local[bone]
    shift = places - np.einsum("bij,bj->bi", rotations, rest)
    return np.concatenate((rotations, shift[:, :, None]), axis=2)


def _local_rotations(angles: Mapping[str, float]) -> list[Array]:
    a = angles
    local = [
        rotation("z", a["pelvis roll"]) @ rotation("x", a["pelvis tilt"]),
        rotation("y", a["spine twist"]) @ rotation("z", a["spine lean"]) @ rotation("x", a["spine bend"]),
        rotation("y", a["neck twist"]) @ rotation("z", a["neck lean"]) @ rotation("x", a["neck bend"]),
    ]
    for side, sign in (("right", -1), ("left", 1)):
        local += [
            rotation("z", sign * a[f"{side} shoulder abduction"])
            @ rotation("x", -a[f"{side} shoulder flexion"])
            @ rotation("y", -sign * a[f"{side} shoulder rotation"]),
            rotation("x", -a[f"{side} elbow flexion"]),
            rotation("z", -sign * a[f"{side} wrist flexion"]),
        ]
    for side, sign in (("right", -1), ("left", 1)):
        local += [
            rotation("z", sign * a[f"{side} hip abduction"])
            @ rotation("x", -a[f"{side} hip flexion"])
            @ rotation("y", -sign * a[f"{side} hip rotation"]),
            rotation("x", a[f"{side} knee flexion"]),
            rotation("x", -a[f"{side} ankle flexion"]) @ rotation("z", -sign * a[f"{side} hip abduction"]),
        ]
    return local


def rotation(axis: Literal["x", "y", "z"], degrees: float) -> Array:
    """Return the right-handed rotation about one axis, (3, 3)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = {
        "x": ((1, 0, 0), (0, c, -s), (0, s, c)),
        "y": ((c, 0, s), (0, 1, 0), (-s, 0, c)),
        "z": ((c, -s, 0), (s, c, 0), (0, 0, 1)),
    }
    return np.array(rows[axis], dtype=np.float64)


def keypoints_3d(body: Body, bones: Array) -> Array:
    """Return the 18 joints, (18, 3), in metres: face joints on the surface, the neck between the shoulders."""
    height = body.height_m
    rest = body.rest_joints()
    face = np.array([(0, 0.910, 0.073), (-0.0175, 0.934, 0.057), (0.0175, 0.934, 0.057), (-0.047, 0.925, 0.003),
                     (0.047, 0.925, 0.003)])  # fmt: skip
    pivot = np.array((0.0, 0.86, 0.0))
    nose, right_eye, left_eye, right_ear, left_ear = _moved(bones[2], (pivot + (face - pivot) * body.head) * height)
    arms = [_moved(bones[bone], rest[bone]) for bone in (3, 4, 5, 6, 7, 8)]
    legs = [_moved(bones[bone], rest[bone]) for bone in (9, 10, 11, 12, 13, 14)]
    neck = (arms[0] + arms[3]) / 2
    return np.array([nose, neck, *arms, *legs, right_eye, left_eye, right_ear, left_ear])


def _moved(bone: Array, points: Array) -> Array:
    moved: Array = points @ bone[:, :3].T + bone[:, 3]
    return moved
