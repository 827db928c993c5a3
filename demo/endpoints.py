"""The endpoints of the page, for its own script, `gradio_client` and curl alike (docs/api.md).

gradio derives the documentation of an endpoint from the signature and the docstring of its function. It evaluates the
annotations, so this module must not postpone them.
"""

import inspect
import logging
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import gradio as gr
from gradio.events import api

from demo.looks import Choice, RefusedError
from demo.service import Options, Service, read_own_pose
from demo.steps import Progress
from demo.uploads import SESSION, Store, UploadsOnly
from demo.words import BROKEN

log = logging.getLogger(__name__)

WORKERS = 2
"""Single pictures that are made at once."""


class Upload(TypedDict):
    """A file that was uploaded to the page, or one that it made."""

    path: str
    meta: dict[str, Any]


class PoseJson(TypedDict):
    """A pose as `pg2lib.Pose.to_json` writes it: [height, width], and 18 times [x, y] or null, in pixels."""

    canvas: list[int]
    keypoints: list[list[float] | None]


Turn = Literal[0, 90, 180, 270]
Background = Literal["photo", "plain"]
Format = Literal["gif", "mp4"]
Json = dict[str, Any]


# -- Photo and options, which many endpoints share ---------------------------------------------------------------------


def choose(
    photo: Upload,
    person: int = 0,
    box: list[float] | None = None,
    turn: Turn = 0,
    photo_pose: PoseJson | None = None,
    strength: float = 1.0,
    background: Background = "photo",
    model: str = "",
) -> tuple[Choice, Options]:
    """Check what endpoints share.

    Args:
        photo: an uploaded file.
        person: 0 for the most prominent person; 1 and up count from left to right.
        box: look only there: left, top, right, bottom in pixels of the turned photo.
        turn: degrees by which the photo is turned clockwise first.
        photo_pose: the pose of the person in the turned photo, if it is known: nobody is looked for.
        strength: 0 keeps the proportions of the pose, 1 gives it those of the person.
        background: the photo's own, or a plain one.
        model: a name of /models; empty for the first.

    Raises:
        RefusedError: an argument is missing, or has another type.
    """
    if cast("Upload | None", photo) is None:  # which a client may send
        raise RefusedError("Choose a photo first.")
    if not _is_whole(person):
        raise RefusedError(f"person: expected a number, 0 for the most prominent person, got {person!r}")
    if not _is_box(box):
        raise RefusedError(f"box: expected left, top, right and bottom in pixels, got {box!r}")
    if not _is_whole(turn) or turn not in (0, 90, 180, 270):
        raise RefusedError(f"turn: expected 0, 90, 180 or 270 degrees, got {turn!r}")
    if not _is_number(strength):
        raise RefusedError(f"strength: expected a number from 0 to 1, got {strength!r}")
    place = None if box is None else tuple(box)
    return Choice(photo["path"], person, place, turn, read_own_pose(photo_pose)), Options(strength, background, model)


def of_photo(*returns: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a method that takes a choice and options the parameters of `choose` in their place.

    Args:
        returns: what each value is that the method returns or yields.
    """
    photo, *others = inspect.signature(choose).parameters.values()

    def declare(method: Callable[..., Any]) -> Callable[..., Any]:
        myself, _, _, *own = inspect.signature(method).parameters.values()
        parameters = sorted([photo, *own, *others], key=lambda each: each.default is not inspect.Parameter.empty)

        @wraps(method)
        def answer(self: "Endpoints", *arguments: Any) -> Any:
            values = dict(zip((each.name for each in parameters), arguments, strict=True))
            shared = {each.name: values.pop(each.name) for each in (photo, *others)}
            choice, options = choose(**shared)
            return method(self, choice, options, **values)

        kept = {each.name: each.annotation for each in parameters}
        answer.__annotations__ = {**kept, "return": tuple[returns]}  # type: ignore[valid-type]
        answer.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [myself, *parameters],
            return_annotation=tuple[returns],  # type: ignore[valid-type]
        )
        answer.yields = inspect.isgeneratorfunction(method)  # type: ignore[attr-defined]
        return answer

    return declare


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_box(value: object) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)))


def _is_number(value: object) -> bool:
    """Return whether a value is a number of ordinary size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


# -- The endpoints -----------------------------------------------------------------------------------------------------


class Endpoints:
    """Functions with the names, parameters and descriptions of the endpoints."""

    def __init__(self, service: Service, listed: list[Json], store: Store) -> None:
        """Answer requests.

        Args:
            service: does the work.
            listed: the answer of /examples.
            store: of results.
        """
        self.service, self.listed, self.store = service, listed, store

    def presets(self) -> Json:
        """Return the poses to choose from: {"poses": [{"name", "pose", "hard"}]}, the reliable ones first."""
        return {"poses": self.service.presets()}

    def models(self) -> list[Json]:
        """Return the models as [{"name", "text"}]; the first is the default, the text is Markdown."""
        return self.service.models()

    def examples(self) -> list[Json]:
        """Return example photos as [{"name", "url"}], with addresses relative to the page."""
        return self.listed

    def find_people(self, photo: Upload, box: list[float] | None = None, turn: Turn = 0) -> Json:
        """Find the people in a photo. Nobody is no error: the list is empty, and a note says what to do.

        Parameters:
            photo: an uploaded file.
            box: look only there: left, top, right, bottom in pixels of the turned photo.
            turn: degrees by which the photo is turned clockwise first.
        """
        return self.service.find_people(choose(photo, 0, box, turn)[0])

    def read_pose(self, file: Upload | None = None, text: str = "") -> Json:
        """Read poses from a file or from text: {"poses": [pose], "notes": [sentence]}.

        Parameters:
            file: an uploaded file with a pose, or a photo, which gives the pose of each person.
            text: a pose, or a list of poses, in JSON.
        """
        if not isinstance(text, str):
            raise RefusedError("text: expected a pose in JSON, as text")
        return self.service.read_poses(None if file is None else file["path"], text)

    @of_photo(Upload, Json)
    def repose(self, choice: Choice, options: Options, pose: PoseJson | str) -> Any:
        """Show the person of a photo in another pose: a PNG file, and details.

        Parameters:
            pose: a pose, or the name of a preset.
        """
        content, details = self.service.repose(choice, pose, options)
        return self._png(content), details

    def replay(self, photo: Upload, recipe: Upload) -> tuple[Upload, Json]:
        """Make a picture again from its photo: a PNG file, and details as of /repose.

        Parameters:
            photo: the uploaded photo that the picture was made from.
            recipe: an uploaded PNG that was made here, which carries how it was made.
        """
        if cast("Upload | None", photo) is None or cast("Upload | None", recipe) is None:
            raise RefusedError("Choose a photo, and a picture that was made from it here.")
        content, details = self.service.replay(photo["path"], recipe["path"])
        return self._png(content), details

    @of_photo(list[Upload], list[Json])
    def repose_many(self, choice: Choice, options: Options, poses: list[PoseJson | str]) -> Any:
        """Show the person of a photo in several poses: the files and their details so far, one more each time.

        Parameters:
            poses: poses, or names of presets.
        """
        files: list[Upload] = []
        details: list[Json] = []
        for content, detail in self.service.repose_many(choice, poses, options):
            files.append(self._png(content))
            details.append(detail)
            yield list(files), list(details)

    @of_photo(Upload | None, Json)
    def contact_sheet(self, choice: Choice, options: Options, names: list[str] | None = None) -> Any:
        """Show the person of a photo in many presets on one sheet: null and {"done", "of"}, at last the file.

        Parameters:
            names: of presets; null for all.
        """
        path = self._new_file("-poses.png")
        yield from _with_progress(self.service.contact_sheet(choice, names, path, options), path)

    @of_photo(Upload | None, Json)
    def animate(
        self,
        choice: Choice,
        options: Options,
        first: PoseJson | str,
        last: PoseJson | str,
        frames: int = 24,
        fps: float = 12,
        format: Format = "gif",
    ) -> Any:
        """Move the person of a photo from one pose to another and back: null and {"done", "of"}, at last the file.

        Parameters:
            first: a pose, or the name of a preset.
            last: a pose, or the name of a preset.
            frames: pictures from the first pose to the last, 2 to 120.
            fps: pictures per second, 1 to 30.
            format: of the file.
        """
        path = self._animation(format)
        yield from _with_progress(self.service.animate(choice, first, last, frames, path, fps, options), path)

    @of_photo(Upload | None, Json)
    def animate_video(
        self, choice: Choice, options: Options, video: Upload, fps: float = 12, format: Format = "gif"
    ) -> Any:
        """Move the person of a photo like the person in a short video: null and {"done", "of"}, at last the file.

        Parameters:
            video: an uploaded MP4, WebM, MOV or GIF file.
            fps: pictures per second, 1 to 30; at most 120 pictures are made.
            format: of the file.
        """
        if not isinstance(video, dict):
            raise RefusedError("Choose a video first.")
        path = self._animation(format)
        yield from _with_progress(self.service.animate_video(choice, video["path"], path, fps, options), path)

    def _png(self, content: bytes) -> Upload:
        path = self._new_file(".png")
        path.write_bytes(content)
        return _file(path)

    def _animation(self, format: object) -> Path:
        if format not in ("gif", "mp4"):
            raise RefusedError(f"format: expected gif or mp4, got {format!r}")
        return self._new_file(f"-animation.{format}")

    def _new_file(self, suffix: str) -> Path:
        """Return the path of a file to be written, for the session that is being worked for."""
        return self.store.new_path(SESSION.get(), suffix)


def _file(path: Path) -> Upload:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def _with_progress(work: Iterator[Progress], path: Path) -> Iterator[tuple[Upload | None, Json]]:
    of = 0
    for progress in work:
        of = progress.of
        yield None, {"done": progress.done, "of": of}
    yield _file(path), {"done": of, "of": of}


# -- In gradio ---------------------------------------------------------------------------------------------------------


def add_endpoints(blocks: UploadsOnly, service: Service, examples: list[Json]) -> None:
    """Add all endpoints to the blocks that are being built."""
    own = Endpoints(service, examples, blocks.store)
    groups: list[tuple[list[Callable[..., Any]], dict[str, Any]]] = [
        ([own.presets, own.models, own.examples], {"queue": False}),
        (
            [own.find_people, own.read_pose, own.repose, own.replay],
            {"concurrency_id": "one", "concurrency_limit": WORKERS},
        ),
        # What takes long waits for its like, so that single pictures are made meanwhile.
        (
            [own.repose_many, own.contact_sheet, own.animate, own.animate_video],
            {"concurrency_id": "many", "concurrency_limit": 1},
        ),
    ]
    for functions, options in groups:
        for function in functions:
            _add(blocks, function, **options)


def _add(blocks: gr.Blocks, function: Callable[..., Any], **options: Any) -> None:
    api(_refusing(function), api_name=function.__name__, **options)
    event = max(blocks.fns.items())[1]
    for block, name in zip(event.inputs, inspect.signature(function).parameters, strict=True):
        block.label = name  # type: ignore[union-attr]  # `demo.uploads` knows arguments by their names


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn refusals into gradio's errors, which carry their sentence; log everything else that goes wrong."""

    def error_for(error: Exception) -> gr.Error:
        if isinstance(error, RefusedError):
            return gr.Error(str(error), print_exception=False)
        log.exception("a request failed", exc_info=error)
        return gr.Error(BROKEN, print_exception=False)

    @wraps(function)
    def answer(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise error_for(error) from error

    @wraps(function)
    def answers(*arguments: Any) -> Any:
        try:
            yield from function(*arguments)
        except Exception as error:
            raise error_for(error) from error

    chosen = answers if getattr(function, "yields", False) else answer
    chosen.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # that of the method has a self
    return chosen
