"""Videos: poses from a short video, and animations as GIF or MP4.

Reading and writing video needs PyAV, ``pip install "pg2lib[video]"``; a GIF is written by Pillow alone.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.files import atomic_path
from pg2lib.framing import Framing, with_room
from pg2lib.images import Crop
from pg2lib.pose import JOINTS, Pose

MAX_SIDE_PX = 640
"""Frames are reduced to this before people are looked for: more detail does not help the detector."""

MAX_PIXELS = 80_000_000
"""Videos with larger frames are refused: decoding one takes up to 12 bytes per pixel."""

MAX_GAP = 6
"""Frames for which a joint may be missing between two frames that show it and still be filled in."""

FORMATS = (".gif", ".mp4")

Find = Callable[[Image.Image], Sequence[Pose]]
"""The poses of all people in a picture, the most prominent first; raises NoPersonError where there is nobody."""

OnFrame = Callable[[int], None]
"""Called with the number of frames that are done."""


def read_frames(path: str | PathLike[str], fps: float = 12.0, max_frames: int = 120) -> Iterator[Image.Image]:
    """Yield frames of a video at a steady rate, upright, with no side above `MAX_SIDE_PX`.

    Args:
        path: a video file, or a GIF.
        fps: frames to yield per second of the video; never more than the video has.
        max_frames: the rest of the video is not read.

    Raises:
        DataError: the file cannot be read as a video; the message names it.
        PG2Error: PyAV is not installed.
    """
    av = _pyav("reading a video")
    if Path(path).exists() and not Path(path).is_file():
        raise DataError(f"{path}: is not a file; expected MP4, WebM, MOV or GIF")  # reading a pipe might never end
    try:
        # FFmpeg gets an open file and no protocol, so that a playlist cannot make it open others.
        with (
            Path(path).open("rb") as file,
            av.open(file, options={"protocol_whitelist": "none"}, **_any_text(av)) as container,
        ):
            if not container.streams.video:
                raise DataError(f"{path}: expected a video, and the file has no video stream")
            video = container.streams.video[0]
            if video.width * video.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: has frames of {video.width}x{video.height} pixels; expected at most {MAX_PIXELS:,} pixels"
                )
            video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may differ from what the header says
            due = 0.0
            frames = container.decode(video)
            for number, frame in enumerate(itertools.islice(frames, 100_000)):
                seconds = number / 25 if frame.time is None else frame.time
                if seconds + 1e-6 < due:
                    continue
                due = max(due, seconds) + 1 / fps
                yield _upright(frame)
                max_frames -= 1
                if max_frames <= 0:
                    return
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); expected MP4, WebM, MOV or GIF") from error


def read_video_poses(
    path: str | PathLike[str],
    find: Find,
    fps: float = 12.0,
    max_frames: int = 120,
    on_frame: OnFrame = lambda done: None,
) -> list[Pose]:
    """Follow one person through a video, and smooth their poses.

    The most prominent person of the first frame that shows anybody is followed: in every further frame it is the
    person whose joints lie nearest. Gaps of up to `MAX_GAP` frames are filled in; see `smooth`.

    Args:
        path: a video file, or a GIF.
        find: finds the poses of people, the most prominent one first.
        fps: poses per second of the video.
        max_frames: how many frames to look at.
        on_frame: called after every frame. What it raises ends the reading.

    Returns:
        One pose per frame, on the canvas of the reduced frame, from the first frame that shows the person to the last.

    Raises:
        NoPersonError: no frame shows anybody.
        DataError, PG2Error: as `read_frames`.
    """
    poses: list[Pose] = []
    for done, frame in enumerate(read_frames(path, fps, max_frames), start=1):
        try:
            people = find(frame)
        except NoPersonError:
            people = []
        seen = [pose for pose in poses if bool(pose.visible.any())]
        if people:
            poses.append(_nearest(people, seen[-1]) if seen else people[0])
        elif seen:
            poses.append(Pose(torch.full((len(JOINTS), 2), torch.nan), seen[-1].canvas))
        on_frame(done)
    while poses and not bool(poses[-1].visible.any()):
        poses.pop()
    if not poses:
        raise NoPersonError(
            f"{path}: nobody was found in any frame; use a video that shows one person from head to feet"
        )
    return smooth(poses)


def smooth(poses: Sequence[Pose]) -> list[Pose]:
    """Remove the jitter of a detector from a sequence of poses.

    Each coordinate is filled in over gaps of up to `MAX_GAP` frames, then filtered by a running median of 3, which
    removes single outliers, and by a running mean of 3.

    Args:
        poses: one per frame, all on one canvas.

    Raises:
        DataError: the poses are on several canvases.
    """
    canvases = {pose.canvas for pose in poses}
    if len(canvases) > 1:
        raise DataError(f"the poses of an animation must be on one canvas, got {sorted(canvases)}")
    table = pd.DataFrame(torch.stack([pose.xy.flatten() for pose in poses]).double().numpy())
    filled = table.interpolate(limit_area="inside")
    missing = table.isna()
    for column in table:  # a gap is filled as a whole or not at all
        runs = (missing[column] != missing[column].shift()).cumsum()
        filled.loc[missing[column] & (missing.groupby(runs)[column].transform("size") > MAX_GAP), column] = float("nan")
    # The first and the last frame, and those beside a gap, have no three values and stay as they are.
    median = filled.rolling(3, center=True).median().fillna(filled)
    steady = median.rolling(3, center=True).mean().fillna(median)
    return [Pose(torch.tensor(row, dtype=torch.float32).view(-1, 2), poses[0].canvas) for row in steady.to_numpy()]


def frame_poses(
    poses: Sequence[Pose], framing: Framing, canvas: tuple[int, int], portrait: Crop | None = None
) -> list[Pose]:
    """Frame the poses of a video like the people in the training images, at one size, and keep the person in the frame.

    Every pose is cropped to the median height of all crops; the crop follows the person smoothly.

    Args:
        poses: one per frame, all on one canvas; a frame without joints keeps the crop of its neighbours.
        framing: how people stand in the training images.
        canvas: of the model, (height, width).
        portrait: the part of that canvas that a half-length portrait shows. It is enlarged for all poses alike, see
            `pg2lib.framing.with_room`.

    Raises:
        DataError: no pose has a joint.
    """
    crops = [framing.crop(pose, canvas) if bool(pose.visible.any()) else None for pose in poses]
    seen = [crop for crop in crops if crop is not None]
    if not seen:
        raise DataError("expected a pose with one joint or more, got none")
    height = statistics.median(crop.bottom - crop.top for crop in seen)
    nan = float("nan")
    middles = pd.DataFrame(
        [(nan, nan) if crop is None else ((crop.left + crop.right) / 2, (crop.top + crop.bottom) / 2) for crop in crops]
    )
    steady = middles.interpolate(limit_direction="both").rolling(9, center=True, min_periods=1).mean()
    framed = [
        pose.crop(Crop.around(x, y, height, canvas))
        for pose, (x, y) in zip(poses, steady.to_numpy().tolist(), strict=True)
    ]
    if portrait is None:
        return framed
    # What the usual framing cuts off, such as one wide gesture, does not count.
    part = with_room(portrait, [pose.inside() for pose in framed])
    return [pose.crop(part) for pose in framed]


def write_animation(pictures: Iterable[Image.Image], path: str | PathLike[str], fps: float = 12.0) -> Path:
    """Write pictures as a GIF that repeats, or as an MP4 (H.264).

    The file appears when it is complete. An MP4 is encoded as its pictures come.

    Args:
        pictures: at least one, all of one size.
        path: ends in .gif or .mp4.
        fps: pictures per second.

    Raises:
        DataError: another suffix, no picture, or pictures of different sizes.
        PG2Error: an MP4 without PyAV.
    """
    target = Path(path)
    check_suffix(target)
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".gif":
            _write_gif(_of_one_size(pictures, target), temporary, fps)
        else:
            _write_mp4(_of_one_size(pictures, target), temporary, fps)
    return target


def check_suffix(path: str | PathLike[str]) -> None:
    """Refuse the name of a file that `write_animation` cannot write.

    Raises:
        DataError: its suffix is not one of `FORMATS`.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise DataError(f"{path}: expected a file name that ends in {' or '.join(FORMATS)}, to write an animation")


def _write_gif(pictures: Iterator[Image.Image], path: Path, fps: float) -> None:
    every = [picture.convert("RGB") for picture in pictures]
    # One palette for all, from up to eight of them: a palette for each takes far longer, and still areas flicker.
    some = every[:: -(-len(every) // 8)]
    width, height = every[0].size
    together = Image.new("RGB", (width, height * len(some)))
    for index, picture in enumerate(some):
        together.paste(picture, (0, index * height))
    palette = together.quantize(256)
    first, *more = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in every)
    milliseconds = max(20, round(1000 / fps))  # browsers slow down GIFs that are faster
    first.save(path, "GIF", save_all=True, append_images=more, duration=milliseconds, loop=0)


def _write_mp4(pictures: Iterator[Image.Image], path: Path, fps: float) -> None:
    av = _pyav("writing an MP4")
    first = next(pictures)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        # H.264 in its usual form has even sides.
        stream.width, stream.height = first.width + first.width % 2, first.height + first.height % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for picture in itertools.chain([first], pictures):
            even = Image.new("RGB", (stream.width, stream.height))
            even.paste(picture)
            container.mux(stream.encode(av.VideoFrame.from_image(even)))
        container.mux(stream.encode())


def _of_one_size(pictures: Iterable[Image.Image], target: Path) -> Iterator[Image.Image]:
    """The pictures, RGB.

    Raises:
        DataError: there is none, or their sizes differ.
    """
    size = None
    for number, picture in enumerate(pictures, start=1):
        size = size or picture.size
        if picture.size != size:
            raise DataError(f"{target}: picture {number} has {picture.size} pixels, those before it have {size}")
        yield picture.convert("RGB")
    if size is None:
        raise DataError(f"{target}: an animation needs at least one picture")


def _nearest(people: Sequence[Pose], last: Pose) -> Pose:
    """The person whose joints lie nearest to where they were; the first where nobody shares a joint."""

    def distance(pose: Pose) -> float:
        shared = pose.visible & last.visible
        if not bool(shared.any()):
            return float("inf")
        return float(torch.linalg.vector_norm(pose.xy[shared] - last.xy[shared], dim=1).mean())

    return min(people, key=distance)


def _upright(frame: Any) -> Image.Image:
    """A decoded frame as a picture, turned as the file says and reduced."""
    picture: Image.Image = frame.to_image()
    turn = getattr(frame, "rotation", 0) % 360
    if turn:
        picture = picture.rotate(turn, expand=True)
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    return picture


def _pyav(purpose: str) -> Any:
    """PyAV.

    Raises:
        PG2Error: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise PG2Error(f'{purpose} needs PyAV: pip install "pg2lib[video]" ({error})') from error


def _any_text(av: Any) -> dict[str, str]:
    """Return the option of `av.open` for metadata that are not UTF-8. PyAV 19 reads them as they are, without it."""
    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
