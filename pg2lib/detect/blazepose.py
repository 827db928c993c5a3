"""Pose detection with MediaPipe's BlazePose.

This module is cheap to import: the first detector that is made loads ``mediapipe``.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from pg2lib.detect.looks import LOOKS, Landmarks
from pg2lib.detect.mediapipe import load_solution, quiet_stderr
from pg2lib.detect.person import Detection, PoseDetector, detect_person
from pg2lib.detect.tiles import search_thoroughly
from pg2lib.detect.turns import Turn, find_turn
from pg2lib.images import ImageLike, load_image
from pg2lib.pose import Pose


class MediaPipeDetector:
    """A `PoseDetector` that uses MediaPipe's BlazePose: the "full" model of the installed package, without downloads.

    A detector is not thread-safe and does not survive a fork. Make one for each thread and process, or call
    `detect_pose`, whose callers take turns. Use a detector as a context manager, or call `close`. One look takes about
    40 ms on one CPU core.

    Attributes:
        settings: identifies the model and the rules. Detectors with other settings may find other poses.

    Raises:
        PG2Error: MediaPipe is not installed, or is a version without its own models.

    >>> with MediaPipeDetector() as detector:                     # doctest: +SKIP
    ...     detection = detector.detect(load_image("photo.jpg"))
    """

    settings: ClassVar[str] = f"BlazePose full, {len(LOOKS)} looks, rules 3"

    def __init__(self) -> None:
        self._solution = load_solution("pose", "pose detection")
        self._graphs: dict[float, Any] = {}
        self._has_found = False

    def __enter__(self) -> MediaPipeDetector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free MediaPipe's graphs. The detector can still be used, and then opens new ones."""
        while self._graphs:
            self._graphs.popitem()[1].close()

    def detect(self, image: Image.Image) -> Detection:
        """Find the most prominent person in an RGB picture; see `detect_person` and `search_tiles`.

        Raises:
            NoPersonError: nobody is found.
        """
        return search_thoroughly(image, self._find, lambda picture, find: [detect_person(picture, find)])[0]

    def find_people(self, image: Image.Image) -> list[Detection]:
        """Find up to four people in an RGB picture, the largest first; see `search_people` and `search_tiles`.

        Raises:
            NoPersonError: nobody is found.
        """
        return search_thoroughly(image, self._find)

    def glance(self, image: Image.Image) -> Detection:
        """Find the most prominent person as `detect` does, but with two looks only.

        Raises:
            NoPersonError: nobody is found.
        """
        return detect_person(image, self._find, max_looks=2)

    def _find(self, picture: Image.Image, min_confidence: float) -> Landmarks | None:
        # MediaPipe writes to stderr when a graph starts and when it finds the first person.
        quiet = self._has_found and min_confidence in self._graphs
        with contextlib.nullcontext() if quiet else quiet_stderr():
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


_shared_lock = threading.Lock()


@functools.cache
def _shared_detector() -> MediaPipeDetector:
    return MediaPipeDetector()


def find_people(image: ImageLike) -> list[Detection]:
    """Find up to four people in any image, the largest first; see `search_people`.

    This function is thread-safe: its callers take turns with one detector.

    Args:
        image: a PIL image, an array or a path, as in `pg2lib.images.load_image`.

    Returns:
        Poses on the canvas of the upright image, in pixels.

    Raises:
        NoPersonError: nobody is found.
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """
    picture = load_image(image)
    with _shared_lock:
        return _shared_detector().find_people(picture)


def detect_pose(image: ImageLike) -> Pose:
    """Find the pose of the largest person in any image.

    This function is thread-safe: its callers take turns with one detector.

    Args:
        image: a PIL image, an array or a path, as in `pg2lib.images.load_image`.

    Returns:
        The pose on the canvas of the upright image, in pixels.

    Raises:
        NoPersonError: nobody is found.
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """
    return find_people(image)[0].pose


def suggested_turn(image: ImageLike, people: Sequence[Detection], detector: PoseDetector | None = None) -> Turn:
    """Return by how many degrees clockwise a photo should be turned for its people to be upright; see `find_turn`.

    A photo in which the people found are upright is not looked at again.

    Args:
        image: the photo, as in `pg2lib.images.load_image`.
        people: what `find_people` found in it; empty if nobody was found.
        detector: looks at the turned photo. None means MediaPipe, whose callers take turns.

    Raises:
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """
    picture = load_image(image)
    if detector is None:
        return find_turn(picture, people, _shared_glance)
    return find_turn(picture, people, detector.glance if isinstance(detector, MediaPipeDetector) else detector.detect)


def _shared_glance(picture: Image.Image) -> Detection:
    with _shared_lock:
        return _shared_detector().glance(picture)
