"""Mattes: which pixels of a picture are the person, found by MediaPipe's selfie segmentation.

The network takes 256x256 pixels, and MediaPipe stretches every picture to them. Here the picture is padded to a square
with its edge pixels first, which keeps its proportions: on 218 crops of Market-1501 the mean matte inside the pose mask
rises from .76 to .97. The output is not sharpened, as 97 % of its pixels lie within .1 of 0 or 1 on DeepFashion.

The module costs nothing to import: ``mediapipe`` is loaded by the first matte.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg2lib.detect.person import chatter_held_back, mediapipe_solution
from pg2lib.images import ImageLike, load_image

log = logging.getLogger(__name__)

SIDE_PX = 256
"""The square that the network sees."""

LEAST_SHARE = 0.01
"""A matte that covers less of the picture counts as nobody found. On DeepFashion and Market-1501 such mattes are specks
on garments without a person and on close-ups; the next smallest mattes cover 3.5 %."""


class MatteFinder:
    """Finds mattes with MediaPipe's selfie segmentation (the general model inside the package; nothing is fetched).

    Not thread safe: make one for each thread, or use `find_matte`, which takes turns. Use it as a context manager, or
    call `close`. A matte of a picture of 256x256 pixels takes some 4 ms on one core.

    >>> with MatteFinder() as finder:                             # doctest: +SKIP
    ...     matte = finder.find(load_image("photo.jpg"))
    """

    def __init__(self) -> None:
        self._graph: Any = None

    def __enter__(self) -> MatteFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees MediaPipe's graph. The finder can be used again; it opens a new one."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def find(self, image: Image.Image) -> NDArray[np.uint8]:
        """The matte of an RGB picture.

        Returns:
            uint8 (height, width): 255 = person, 0 = background. All 255 where nobody is found, and where MediaPipe
            fails, which is logged: an empty matte would remove the person.

        Raises:
            PG2Error: MediaPipe is not installed, or is a version without its own models.
        """
        pixels = np.asarray(image)
        height, width = pixels.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        around = ((top, side - height - top), (left, side - width - left), (0, 0))
        square = Image.fromarray(np.pad(pixels, around, mode="edge"))
        try:
            person = self._segment(np.asarray(square.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)))
        except RuntimeError as error:
            log.warning("MediaPipe failed on a picture of %dx%d pixels, which gets no matte: %s", width, height, error)
            self._graph = None  # MediaPipe closes a graph that fails.
            return np.full((height, width), 255, dtype=np.uint8)
        matte = Image.fromarray((person * 255).round().astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
        found = np.asarray(matte)[top : top + height, left : left + width]
        if (found >= 128).mean() < LEAST_SHARE:
            return np.full((height, width), 255, dtype=np.uint8)
        return found

    def _segment(self, square: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network says of a square picture, in [0, 1]."""
        starts = self._graph is None
        with chatter_held_back() if starts else contextlib.nullcontext():
            if starts:
                self._graph = _selfie_segmentation().SelfieSegmentation(model_selection=0)
            mask: NDArray[np.float32] = self._graph.process(square).segmentation_mask
        return mask


def check_mediapipe() -> None:
    """Checks that mattes can be found.

    Raises:
        PG2Error: MediaPipe is not installed, or is a version without its own models.
    """
    _selfie_segmentation()


def _selfie_segmentation() -> Any:
    return mediapipe_solution("selfie_segmentation", "finding mattes")


_shared_lock = threading.Lock()
_shared_finder = MatteFinder()


def find_matte(image: ImageLike) -> Float[Tensor, "height width"]:
    """The matte of any image, in pixels of the upright image.

    Safe to call from several threads, which take turns with one finder.

    Returns:
        In [0, 1]: 1 = person, 0 = background; all ones where nobody is found.

    Raises:
        DataError: the image cannot be read.
        PG2Error: MediaPipe is not installed.
    """
    picture = load_image(image)
    with _shared_lock:
        matte = _shared_finder.find(picture)
    return torch.from_numpy(matte.astype(np.float32) / 255)
