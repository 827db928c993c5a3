"""From a photo to a pose: MediaPipe, asked again where its first look finds nobody.

BlazePose, the network behind MediaPipe, was made for whole photos. In a tight crop, such as those of Market-1501, it
misses more than half of the people; with a border around the crop, and the crop mirrored, it finds nearly all. So a
detector takes a list of looks (`LOOKS`) at the picture. What a retry finds has to look like an upright person who fills
the picture (`is_plausible`), because retries also see people where there are none. And as it sees faces in the backs of
heads, left and right exchanged, whoever faces the camera in a small picture is looked at again (`Look.sees_backs`), and
in tight crops a small network that knows backs from fronts has a say (`back_odds`).

The module costs nothing to import: ``mediapipe`` is loaded by the first detector that is made.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn

from pg2lib.errors import NoPersonError, PG2Error
from pg2lib.images import Crop, ImageLike, from_uint8, load_image, tensor_from_pil
from pg2lib.pose import BLAZEPOSE_TO_JOINTS, JOINTS, Pose

logger = logging.getLogger(__name__)

WORKING_SIDES_PX = (512, 1024)
"""Pictures are enlarged or reduced until their longer side lies in this range, then looked at."""

TIGHT_CROP_PX = 192
"""A picture whose longer side is shorter is taken for a crop around one person, and never looked at as it is."""

SMALL_PX = 320
"""In a picture whose longer side is shorter, whoever faces the camera is looked at again."""

VISIBILITY_THRESHOLD = 0.5
"""Landmarks that MediaPipe thinks less visible are missing joints."""

MIN_JOINTS = 4
"""A find with fewer joints in the picture is none."""

BACK = 0.1
"""A second look sees a back where the left shoulder is this much to the left of the right one, in torso lengths."""

SURELY_FRONT, NOT_SURELY_FRONT, SURELY_BACK = -3.0, -1.0, 2.0
"""What `back_odds` must be for a back to be taken as a front, for a front to be looked at again, and for a front to be
taken as a back."""

MAX_PEOPLE = 4
"""`find_people` stops after so many."""

Framing = Literal[
    "full body", "down to the knees", "upper body", "head and shoulders", "head only", "no head", "legs only", "nobody"
]
"""How much of a person a pose shows."""


@dataclass(frozen=True)
class Detection:
    """A person found in a picture.

    Attributes:
        pose: on the canvas of the original picture; joints outside it, or hardly visible, are missing.
        attempt: index in `LOOKS` of the look that found the person; 0 is the picture as it is, and later looks are less
            certain.
        confidence: mean visibility in [0, 1] of the joints that are present, as MediaPipe estimates it.
    """

    pose: Pose
    attempt: int
    confidence: float


class PoseDetector(Protocol):
    """Anything that finds a person in an RGB picture."""

    def detect(self, image: Image.Image) -> Detection:
        """The most prominent person.

        Raises:
            NoPersonError: there is none.
        """
        ...


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What BlazePose says of one person.

    Attributes:
        xy: float (33, 2), pixels of the picture that was looked at, x first; may lie outside.
        visibility: float (33,) in [0, 1].
    """

    xy: Float[Tensor, "33 2"]
    visibility: Float[Tensor, "33"]


Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""

LandmarkFinder = Callable[[Image.Image, float], Landmarks | None]
"""Picture and least detection confidence -> the landmarks of the most prominent person, or None."""


@dataclass(frozen=True)
class Look:
    """One way to show a picture to BlazePose.

    Attributes:
        border: width of the border laid around the picture, as a fraction of its longer side.
        fill: what the border repeats: the picture's edge pixels, or its mean colour.
        mirrored: left and right change places.
        min_confidence: of BlazePose's person detector.
        longest_px: the longer side of what is shown, border included; None brings the picture without its border to
            `WORKING_SIDES_PX`. People in a coarser picture are another picture to BlazePose.
        sees_backs: such a look is taken a second time where another look found somebody who faces the camera.
    """

    border: float = 0.0
    fill: Literal["edge", "mean"] = "edge"
    mirrored: bool = False
    min_confidence: float = 0.5
    longest_px: int | None = None
    sees_backs: bool = False


LOOKS = (
    Look(),
    Look(0.35, "edge"),
    Look(0.35, "edge", mirrored=True),
    Look(0.50, "edge", mirrored=True),
    Look(1.00, "mean", min_confidence=0.1, sees_backs=True),
    Look(1.00, "mean", min_confidence=0.1, longest_px=576, sees_backs=True),
    Look(1.00, "mean", mirrored=True, min_confidence=0.1, longest_px=576),
    Look(0.75, "mean", mirrored=True, min_confidence=0.1),
    Look(1.00, "edge", min_confidence=0.1, longest_px=384, sees_backs=True),
)
"""In the order in which they are tried: of 1,500 training crops of Market-1501, the first retry finds 80 %, all of them
together 97 %. Borders as wide as the crop tell backs from fronts best."""

_MIRRORED_LANDMARKS = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [i + 1 if i % 2 else i - 1 for i in range(11, 33)]
"""The BlazePose landmark that takes the place of each when the picture is mirrored."""

_FACE_WITHOUT_EARS = [0, 1, 2, 3, 4, 5, 6, 9, 10]

_ARMS = [i for i, name in enumerate(JOINTS) if name.endswith(("elbow", "wrist"))]


def is_plausible(landmarks: Landmarks, canvas: tuple[int, int]) -> bool:
    """Whether landmarks could be an upright person who fills a tight crop: the test for what a retry finds.

    Measured against the torso, from the middle of the shoulders to that of the hips: it leans less than 37 degrees, the
    nose is above the shoulders, no part of an arm or leg is longer than 1.4 of it (in Market-1501 the longest is 1.1).
    The visible landmarks span at least half of the picture's height.

    Args:
        landmarks: in pixels of the original picture.
        canvas: its (height, width).
    """
    xy = landmarks.xy
    shoulders, hips = xy[[11, 12]].mean(dim=0), xy[[23, 24]].mean(dim=0)
    torso = float((hips - shoulders).norm())
    visible = xy[landmarks.visibility > VISIBILITY_THRESHOLD, 1]
    if torso == 0 or len(visible) < MIN_JOINTS:
        return False
    segments = torch.tensor([(11, 13), (12, 14), (13, 15), (14, 16), (23, 25), (24, 26), (25, 27), (26, 28)])
    longest = float((xy[segments[:, 0]] - xy[segments[:, 1]]).norm(dim=1).max())
    return (
        float(hips[1] - shoulders[1]) >= 0.8 * torso
        and float(xy[0, 1]) <= float(shoulders[1])
        and longest <= 1.4 * torso
        and float(visible.max() - visible.min()) >= 0.5 * canvas[0]
    )


def build_back_network() -> nn.Module:
    """(batch, 3, 64, 32) in [-1, 1] -> (batch, 1), log odds of a back. `benchmarks/facing.py` has the recipe."""
    layers: list[nn.Module] = []
    for inputs, outputs, size, stride in ((3, 24, 5, 2), (24, 48, 3, 1), (48, 64, 3, 1), (64, 64, 3, 1)):
        layers += [nn.Conv2d(inputs, outputs, size, stride, size // 2), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if inputs in (24, 48) else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), nn.Linear(64 * 8 * 4, 1))


@functools.cache
def _back_network() -> nn.Module:
    network = build_back_network()
    tensors = load_file(Path(__file__).parents[1] / "weights" / "facing" / "model.safetensors")
    counters = {name: n for name, n in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(counters | {name: tensor.float() for name, tensor in tensors.items()})
    return network.eval().requires_grad_(False)


def back_odds(image: Image.Image) -> float:
    """Log odds that the person in a tight crop shows their back: positive for a back, negative for a front.

    Of Market-1501's test people, whom the network has not seen, it tells 9 in 10 right.

    Args:
        image: RGB, framed as in Market-1501: one upright person from head to foot.
    """
    pixels = tensor_from_pil(image.resize((32, 64), Image.Resampling.BILINEAR))
    batch = from_uint8(pixels)[None]
    return float(_back_network()(torch.cat((batch, batch.flip(-1)))).mean())


def detect_person(
    image: Image.Image,
    find: LandmarkFinder,
    looks: Sequence[Look] = LOOKS,
    odds_of_back: Callable[[Image.Image], float] = back_odds,
) -> Detection:
    """The first find among `looks` that can be believed: of the picture as it is any, of a retry a plausible one.

    Somebody who faces the camera in a small picture is believed only if the looks that see backs do not show a back;
    else the back is what was found. In a tight crop they are asked only where `odds_of_back` allows of a back, and
    where those are sure of the contrary of what was found, left and right are exchanged.

    Args:
        image: RGB, of any size. Tight crops (`TIGHT_CROP_PX`) are not looked at as they are.
        find: the landmark finder that is asked.
        looks: in the order in which to try them.
        odds_of_back: tells backs from fronts in tight crops.

    Raises:
        NoPersonError: no look finds a person.
    """
    picture = _reduced(image)
    tight, small = max(image.size) < TIGHT_CROP_PX, max(image.size) < SMALL_PX
    odds = odds_of_back(image) if tight else 0.0
    taken: list[Look] = []
    rejected = 0
    front: tuple[Landmarks, int] | None = None
    for attempt, look in enumerate(looks):
        if (tight and not look.border) or (front is not None and not look.sees_backs):
            continue
        taken.append(look)
        landmarks = look_at(picture, look, find)
        if landmarks is None:
            continue
        detection = _detection(landmarks, picture, image, attempt)
        believed = not look.border or is_plausible(landmarks, (picture.height, picture.width))
        if not believed or _joint_count(detection.pose) < MIN_JOINTS:
            rejected += 1
        elif front is not None:
            if _facing(landmarks) < -BACK:
                return detection
        elif small and _facing(landmarks) > 0 and odds > NOT_SURELY_FRONT:
            front = landmarks, attempt
        elif _facing(landmarks) < 0 and odds < SURELY_FRONT:
            return _detection(_exchanged(landmarks), picture, image, attempt)
        else:
            return detection
    if front is not None:
        landmarks, attempt = front
        return _detection(_exchanged(landmarks) if odds > SURELY_BACK else landmarks, picture, image, attempt)
    raise NoPersonError(_nobody(image, taken, rejected))


def _exchanged(landmarks: Landmarks) -> Landmarks:
    """The same body seen from the other side: left and right exchanged; of the face of a back only the ears stay."""
    exchanged = Landmarks(landmarks.xy[_MIRRORED_LANDMARKS], landmarks.visibility[_MIRRORED_LANDMARKS].clone())
    if _facing(exchanged) < 0:
        exchanged.visibility[_FACE_WITHOUT_EARS] = 0
    return exchanged


def _facing(landmarks: Landmarks) -> float:
    """How far the left shoulder is to the right of the right one in the picture, in lengths of the torso.

    Positive for somebody who faces the camera, negative for a back, near 0 in a side view.
    """
    xy = landmarks.xy
    torso = float((xy[[23, 24]].mean(dim=0) - xy[[11, 12]].mean(dim=0)).norm())
    return float(xy[11, 0] - xy[12, 0]) / max(torso, 1.0)


def _nobody(image: Image.Image, taken: Sequence[Look], rejected: int) -> str:
    padded = sum(look.border > 0 for look in taken)
    ways = ["as it is"] * (padded < len(taken)) + [f"with {padded} different borders, mirrored and not"] * (padded > 0)
    return (
        f"found nobody in the picture of {image.width}x{image.height} pixels, looking at it {', then '.join(ways)}"
        + (f"; {rejected} times there was something, but no plausible person" if rejected else "")
        + ". Try a picture in which one person is upright, well lit and large"
    )


def search_people(image: Image.Image, find: LandmarkFinder, most: int = MAX_PEOPLE) -> list[Detection]:
    """Several people in one picture, the largest first.

    BlazePose finds one person at a time, so whoever is found is painted over before the next look. A further find
    counts if it is at least a third as high as the highest and is not somebody found before, seen again. In a tight
    crop only one person is looked for.

    Args:
        image: RGB, of any size.
        find: the landmark finder that is asked.
        most: looks for so many people.

    Returns:
        The people found in the picture as it is; where there are none, or one in a small picture, the one that
        `detect_person` finds by further looks.

    Raises:
        NoPersonError: there is nobody.
    """
    people = _seen_one_by_one(image, find, most) if max(image.size) >= TIGHT_CROP_PX else []
    if not people or (len(people) == 1 and max(image.size) < SMALL_PX):
        return [detect_person(image, find)]
    highest = max(_height(person.pose) for person in people)
    people = [person for person in people if _height(person.pose) >= highest / 3]
    return sorted(people, key=lambda person: _area(person.pose.box), reverse=True)


def _seen_one_by_one(image: Image.Image, find: LandmarkFinder, most: int) -> list[Detection]:
    people: list[Detection] = []
    picture = _reduced(image)
    paint = _mean_colour(picture)
    for _ in range(most):
        landmarks = look_at(picture, LOOKS[0], find)
        if landmarks is None:
            break
        person = _detection(landmarks, picture, image, attempt=0)
        if _joint_count(person.pose) < MIN_JOINTS:
            break
        if not any(_overlap(_core_box(person.pose), _core_box(other.pose)) > 0.5 for other in people):
            people.append(person)
        picture = _painted_over(picture, person.pose.resize((picture.height, picture.width)), paint)
    return people


def describe_framing(pose: Pose) -> Framing:
    """How much of the person a pose shows, by the joints it has.

    From the top: without shoulders it is "head only" or "legs only"; with shoulders but without eyes, ears and nose it
    is "no head". From the bottom: with an ankle it is the "full body", with a knee "down to the knees", with a hip the
    "upper body", else "head and shoulders". One of left and right is enough. "nobody" has no joint at all.
    """
    has = dict(zip(JOINTS, pose.visible.tolist(), strict=True))
    head = has["nose"] or has["right eye"] or has["left eye"] or has["right ear"] or has["left ear"]
    shoulders = has["right shoulder"] or has["left shoulder"]
    hips, knees, ankles = (has[f"right {part}"] or has[f"left {part}"] for part in ("hip", "knee", "ankle"))
    if not any(has.values()):
        return "nobody"
    if not shoulders:
        return "legs only" if hips or knees or ankles else "head only"
    if not head:
        return "no head"
    if ankles:
        return "full body"
    if knees:
        return "down to the knees"
    return "upper body" if hips else "head and shoulders"


def look_at(image: Image.Image, look: Look, find: LandmarkFinder) -> Landmarks | None:
    """Shows a picture to a landmark finder in the way `look` says.

    Returns:
        Landmarks in pixels of `image`, with the border, enlarging and mirroring undone; None where nobody is found.
    """
    crop = _framed(image.size, look)
    picture = crop.apply(image)
    if look.border and look.fill == "mean":
        picture = _painted_outside(picture, crop, image)
    if look.mirrored:
        picture = ImageOps.mirror(picture)
    found = find(picture, look.min_confidence)
    if found is None:
        return None
    if look.mirrored:
        x, y = found.xy[_MIRRORED_LANDMARKS].unbind(dim=-1)
        xy = torch.stack((picture.width - 1 - x, y), dim=-1)
        found = Landmarks(xy, found.visibility[_MIRRORED_LANDMARKS])
    return Landmarks(crop.to_photo(found.xy), found.visibility)


def _framed(size: tuple[int, int], look: Look) -> Crop:
    """The picture of `size` (width, height) with the border of a look, brought to its size."""
    width, height = size
    longest = max(size)
    margin = look.border * longest
    if look.longest_px is not None:
        scale = look.longest_px / (longest + 2 * margin)
    else:
        scale = min(max(longest, WORKING_SIDES_PX[0]), WORKING_SIDES_PX[1]) / longest
    canvas = (max(1, round((height + 2 * margin) * scale)), max(1, round((width + 2 * margin) * scale)))
    return Crop(-0.5 - margin, -0.5 - margin, width - 0.5 + margin, height - 0.5 + margin, canvas)


def _painted_outside(picture: Image.Image, crop: Crop, image: Image.Image) -> Image.Image:
    """The picture of a crop, with all that lies beyond the image in the image's mean colour."""
    corners = torch.tensor([(-0.5, -0.5), (image.width - 0.5, image.height - 0.5)], dtype=torch.float64)
    box = tuple(round(edge + 0.5) for edge in crop.to_canvas(corners).flatten().tolist())
    painted = Image.new("RGB", picture.size, _mean_colour(image))
    painted.paste(picture.crop(box), box[:2])
    return painted


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image).mean(axis=(0, 1)).round().astype(int).tolist()
    return red, green, blue


def _reduced(image: Image.Image) -> Image.Image:
    """The picture with its longer side at most the working size, so that a huge photo costs no more than another."""
    scale = WORKING_SIDES_PX[1] / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _detection(landmarks: Landmarks, picture: Image.Image, image: Image.Image, attempt: int) -> Detection:
    """Landmarks in pixels of the reduced picture, as a detection on the canvas of the image."""
    scale = torch.tensor((image.width / picture.width, image.height / picture.height))
    xy = (landmarks.xy.float() + 0.5) * scale - 0.5
    pose = Pose.from_blazepose(xy, landmarks.visibility, (image.height, image.width), VISIBILITY_THRESHOLD)
    of_joints = torch.stack([landmarks.visibility[list(parts)].mean() for parts in BLAZEPOSE_TO_JOINTS])
    confidence = float(of_joints[pose.visible].mean()) if pose.visible.any() else 0.0
    return Detection(pose, attempt, confidence)


def _painted_over(picture: Image.Image, pose: Pose, paint: tuple[int, int, int]) -> Image.Image:
    """The picture without a person: the box of the core, and around it what joints leave out, painted over."""
    left, top, right, bottom = _core_box(pose)
    margin = 0.15 * max(right - left, bottom - top)
    painted = picture.copy()
    ImageDraw.Draw(painted).rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=paint)
    return painted


def _core_box(pose: Pose) -> Box:
    """The box of head, trunk and legs: arms reach across neighbours."""
    core = pose.visible.clone()
    core[_ARMS] = False
    return Pose(torch.where(core[:, None], pose.xy, torch.nan), pose.canvas).box if core.any() else pose.box


def _joint_count(pose: Pose) -> int:
    return int(pose.visible.sum())


def _height(pose: Pose) -> float:
    _, top, _, bottom = pose.box
    return bottom - top


def _area(box: Box) -> float:
    """In pixels; 0 where a side is negative."""
    left, top, right, bottom = box
    return max(0.0, right - left) * max(0.0, bottom - top)


def _overlap(a: Box, b: Box) -> float:
    """The share of the smaller of two boxes that lies in the other."""
    left, top, right, bottom = zip(a, b, strict=True)
    smaller = min(_area(a), _area(b))
    return _area((max(left), max(top), min(right), min(bottom))) / smaller if smaller else 1.0


class MediaPipeDetector:
    """A `PoseDetector` that asks MediaPipe's BlazePose ("full", the model inside the package; nothing is fetched).

    Not thread safe, and not to be carried over a fork: make one for each thread and process, or use `detect_pose`,
    which takes turns. Use it as a context manager, or call `close`. A look takes some 40 ms on one core.

    Attributes:
        settings: what it does, in a line. What detectors with other settings found is another result.

    >>> with MediaPipeDetector() as detector:                     # doctest: +SKIP
    ...     detection = detector.detect(load_image("photo.jpg"))

    Raises:
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """

    settings: ClassVar[str] = f"BlazePose full, {len(LOOKS)} looks, rules 2"

    def __init__(self) -> None:
        self._solution = mediapipe_solution("pose", "finding poses in photos")
        self._graphs: dict[float, Any] = {}
        self._has_found = False

    def __enter__(self) -> MediaPipeDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees MediaPipe's graphs. The detector can be used again; it opens new ones."""
        while self._graphs:
            self._graphs.popitem()[1].close()

    def detect(self, image: Image.Image) -> Detection:
        """The most prominent person in an RGB picture.

        Raises:
            NoPersonError: there is none.
        """
        return detect_person(image, self._find)

    def find_people(self, image: Image.Image) -> list[Detection]:
        """Up to four people in an RGB picture, the largest first; see `search_people`.

        Raises:
            NoPersonError: there is nobody.
        """
        return search_people(image, self._find)

    def _find(self, picture: Image.Image, min_confidence: float) -> Landmarks | None:
        # MediaPipe's chatter comes when a graph starts and when the first person is found.
        silent = self._has_found and min_confidence in self._graphs
        with contextlib.nullcontext() if silent else chatter_held_back():
            found = self._graph(min_confidence).process(np.asarray(picture)).pose_landmarks
        if found is None:
            return None
        self._has_found = True
        values = torch.tensor([(mark.x, mark.y, mark.visibility) for mark in found.landmark])
        return Landmarks(values[:, :2] * torch.tensor(picture.size) - 0.5, values[:, 2])

    def _graph(self, min_confidence: float) -> Any:
        if min_confidence not in self._graphs:
            self._graphs[min_confidence] = self._solution.Pose(
                static_image_mode=True, model_complexity=1, min_detection_confidence=min_confidence
            )
        return self._graphs[min_confidence]


def mediapipe_solution(name: str, purpose: str) -> Any:
    """A module of ``mediapipe.solutions``, such as "pose".

    Args:
        purpose: what it is needed for, as the beginning of a sentence.

    Raises:
        PG2Error: it is not there; the message says what to install.
    """
    try:
        return importlib.import_module(f"mediapipe.python.solutions.{name}")
    except ImportError as error:
        raise PG2Error(
            f'{purpose} needs a MediaPipe that carries its models (0.10.21): pip install "pg2lib[pose]" ({error})'
        ) from error


_CHATTER = (
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "Feedback manager requires a model with a single signature inference.",
    "Using NORM_RECT without IMAGE_DIMENSIONS is only supported for the square ROI.",
)
"""What MediaPipe writes to stderr on every run, from C++ and whatever log levels the environment asks for. BlazePose's
region of interest is square, so the last line warns of nothing."""


_stderr_lock = threading.Lock()


@contextlib.contextmanager
def chatter_held_back() -> Iterator[None]:
    """Drops the lines of `_CHATTER` from the process's stderr and lets every other line through, afterwards.

    With this module's logger at DEBUG nothing is held back: the way to see what was written before a crash in C++.
    """
    if logger.isEnabledFor(logging.DEBUG):
        yield
        return
    with _stderr_lock:
        yield from _filtered_stderr()


def _filtered_stderr() -> Iterator[None]:
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (OSError, AttributeError, ValueError):  # There is no stderr to keep clean.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if not any(known.encode() in line for known in _CHATTER):
                    os.write(2, line)


_shared_lock = threading.Lock()
_shared_detector: MediaPipeDetector | None = None


def find_people(image: ImageLike) -> list[Detection]:
    """Up to four people in any image, the largest first; see `search_people`.

    Safe to call from several threads, which take turns with one detector.

    Raises:
        NoPersonError: there is nobody.
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed.
    """
    global _shared_detector
    picture = load_image(image)
    with _shared_lock:
        if _shared_detector is None:
            _shared_detector = MediaPipeDetector()
        return _shared_detector.find_people(picture)


def detect_pose(image: ImageLike) -> Pose:
    """The pose of the largest person in any image, on the canvas of the upright image, in pixels.

    Safe to call from several threads, which take turns with one detector.

    Raises:
        NoPersonError: there is nobody.
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed.
    """
    return find_people(image)[0].pose
