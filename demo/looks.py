"""Looks at photos, remembered: a photo is decoded and searched once, then every pose costs one forward pass."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from demo.words import NOBODY, UNREADABLE
from pg2lib.condition import ConditionView, Photo
from pg2lib.detect import Detection
from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import Pose

T = TypeVar("T")

MAX_MEMORY = 400_000_000
"""Bytes of memory that opening one photo may take: enough for a PNG of 50 megapixels, and for larger JPEGs."""

REMEMBERED_BYTES = 200_000_000
"""Bytes of photos and views that are remembered; the least recently used are forgotten first."""


class RefusedError(Exception):
    """A request cannot be met; the message tells the user why, and what to do, in one plain sentence or two."""


@dataclass(frozen=True)
class Choice:
    """A photo, and whom to take from it.

    Attributes:
        path: of the file.
        person: 0 for the most prominent person; 1 and up count from left to right.
        box: look only there: left, top, right, bottom in pixels of the turned photo.
        turn: degrees by which the photo is turned clockwise first.
        pose: placed by hand, in pixels of the turned photo: nobody is looked for.
    """

    path: str
    person: int = 0
    box: tuple[float, ...] | None = None
    turn: int = 0
    pose: Pose | None = None

    @cached_property
    def digest(self) -> bytes:
        """A digest of the file's bytes.

        Raises:
            RefusedError: it cannot be read.
        """
        try:
            return hashlib.sha256(Path(self.path).read_bytes()).digest()
        except OSError as error:
            raise RefusedError(UNREADABLE.format(what="photo", instead="a JPEG or PNG file")) from error


class Remembered:
    """Values by key, the most recently used ones within a number of bytes; safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """The bytes of all values."""
        return sum(size for _, size in self._values.values())

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """Return the value of a key; if it is not remembered, make it.

        Two threads that ask for a new key at once both make it, and one of the values is kept.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]  # type: ignore[return-value]
        value = make()
        with self._lock:
            self._values[key] = (value, size(value))
            while len(self._values) > 1 and self.bytes > self.max_bytes:
                self._values.popitem(last=False)
        return value


class Looks:
    """What the pipelines see of photos, keyed by the bytes of the photo, the choice of person, and the model."""

    def __init__(self, max_bytes: int = REMEMBERED_BYTES) -> None:
        self.remembered = Remembered(max_bytes)
        self._opening = threading.Lock()  # of one photo at a time, as that may take much memory

    def photo(self, choice: Choice) -> Photo:
        """Return the photo, upright and turned.

        Raises:
            RefusedError: it cannot be read.
        """
        return self.remembered.get(
            ("photo", choice.digest, choice.turn),
            lambda: self._load(choice),
            lambda photo: 4 * photo.picture.width * photo.picture.height,
        )

    def people(self, pipeline: PG2Pipeline, choice: Choice) -> Sequence[Detection]:
        """Return the people in the photo, from left to right; nobody is an empty list.

        Raises:
            RefusedError: the photo cannot be read, or the box does not lie in it.
        """

        def find() -> Sequence[Detection]:
            try:
                return pipeline.find_people(self.photo(choice), choice.box)
            except NoPersonError:
                return []
            except PG2Error as error:  # the box; or MediaPipe is missing, and the message says what to install
                raise RefusedError(str(error)) from error

        # Pipelines share one detector, unless they were given their own.
        key = ("people", choice.digest, choice.turn, choice.box, pipeline.detector)
        return self.remembered.get(key, find, lambda people: 1000 * (1 + len(people)))

    def view(self, pipeline: PG2Pipeline, choice: Choice) -> ConditionView:
        """Return what the model sees of the photo.

        Raises:
            RefusedError: the photo cannot be read, shows nobody or fewer people, or the pose does not fit it.
        """

        def look() -> ConditionView:
            people = None if choice.pose is not None else self.people(pipeline, choice)
            if people is not None and not people:
                raise RefusedError(NOBODY)
            try:
                return pipeline.look(
                    self.photo(choice), condition_pose=choice.pose, person=choice.person, people=people
                )
            except PG2Error as error:
                raise RefusedError(str(error)) from error

        key = ("view", pipeline.name, choice.digest, choice.person, choice.box, choice.turn, choice.pose)
        return self.remembered.get(key, look, lambda view: 5 * view.condition_image.nbytes)

    def _load(self, choice: Choice) -> Photo:
        try:
            with self._opening:
                photo = Photo.load(choice.path, max_bytes=MAX_MEMORY)
        except DataError as error:
            raise RefusedError(UNREADABLE.format(what="photo", instead="a JPEG or PNG file")) from error
        try:
            return Photo.load(photo, choice.turn)
        except DataError as error:
            raise RefusedError(str(error)) from error
