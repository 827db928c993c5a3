"""Files: those that were uploaded in the same session and nothing else, and for an hour only.

Gradio names an uploaded file after its content, so that whoever knows the SHA-256 of a photo could fetch it. It checks
that a path lies in its upload cache only if the request declares the path to be an upload, and it fetches paths that
begin with ``http://``. So uploads are stored here, under names that nobody can guess, and every path that a request
names is checked here.

A session is a browser, which gets a cookie. Clients without cookies have no session: their files are safe by their
names alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.limits import Refusal

MAX_BYTES = 32 * 2**20

MAX_FILES = 16
"""Files of one upload."""

MAX_STORED = 4 * 2**30
"""Bytes of all files together."""

LIFETIME_S = 3600

PREFIX = "pg2-uploads-"
"""How the names of stores begin."""

COOKIE = "pg2-session"

ANYONE = "anyone"
"""The session of clients without cookies."""

SESSION: ContextVar[str] = ContextVar("session", default=ANYONE)
"""The session that is being worked for."""

FILE_PATH = "/gradio_api/file="

FILES = ("photo", "file", "video", "recipe")
"""Arguments that are files."""

MAX_DEPTH = 8
"""How deep values lie in an argument that is no file; a list of poses has five levels."""

NOT_UPLOADED = (
    "Choose the {name} again. It must be a file that was uploaded to this page within the last hour, of at most "
    "{megabytes} MB."
)
NO_FILE_HERE = "{name}: a file, or anything like it, is not accepted here."


# -- Storing them ------------------------------------------------------------------------------------------------------


class Store:
    """A folder of uploads and results, one folder in it for each session. It lives as long as the store."""

    def __init__(self, parent: str | os.PathLike[str]) -> None:
        Path(parent).mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent)
        self.folder = Path(self._folder.name).resolve()
        self.bytes = 0

    def new_path(self, session: str, suffix: str) -> Path:
        """Return a path that nobody can guess, for a file to be written."""
        folder = self.folder / session
        folder.mkdir(exist_ok=True)
        return folder / f"pg2-{secrets.token_hex(16)}{suffix}"

    def find(self, value: object, session: str) -> Path | None:
        """Return the file of a session, or of anyone, that an argument names; None if it is none. See `find_upload`."""
        folders = dict.fromkeys((session, ANYONE))
        return next(filter(None, (find_upload(value, self.folder / name) for name in folders)), None)

    def sweep(self, now: float | None = None) -> None:
        """Delete the files that are older than an hour, also those that a page left behind which was killed."""
        end = (time.time() if now is None else now) - LIFETIME_S
        self.bytes = _delete_old(self.folder, end)
        for other in self.folder.parent.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # it belongs to somebody else, or is deleted meanwhile
                _delete_old(other, end)

    async def upload(self, request: Request) -> Response:
        """Store the files of a request, and answer with their paths, as gradio does.

        Raises:
            Refusal: there are none, they are too large, or there is no room.
        """
        if not is_logged_in(request):
            return JSONResponse({"detail": "Enter the password first."}, 401)
        if self.bytes > MAX_STORED:
            raise Refusal(503, "There is no room for more files. Try again in an hour.", LIFETIME_S)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refusal(400, "Send files as multipart/form-data.")
        async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES) as form:
            files = [file for file in form.getlist("files") if not isinstance(file, str)]
            if not files or any((file.size or 0) > MAX_BYTES for file in files):
                raise Refusal(413 if files else 400, f"Send files of at most {MAX_BYTES // 2**20} MB each.")
            session = session_of(request.headers)
            paths = [self.new_path(session, suffix_of(file.filename)) for file in files]
            for file, path in zip(files, paths, strict=True):
                await anyio.to_thread.run_sync(_write, file.file, path)
                self.bytes += file.size or 0
        return JSONResponse([str(path) for path in paths])


def _delete_old(store: Path, end: float) -> int:
    """Delete what is older than a time from the folders of sessions, and these if they are empty; return what is left.

    Raises:
        OSError: a file cannot be deleted.
    """
    left = 0
    for folder in store.iterdir():
        for path in folder.iterdir():
            status = path.lstat()
            if status.st_mtime < end:
                path.unlink(missing_ok=True)
            else:
                left += status.st_size
        if folder.stat().st_mtime < end:  # a young one may be about to be used
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
    return left


def _write(source: Any, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target)


def suffix_of(name: str | None) -> str:
    """Return the end of a file's name by which its kind is known, or nothing; all else of the name is not kept."""
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name or "")
    return found.group().lower() if found else ""


def is_logged_in(request: Request) -> bool:
    """Return whether a request may be answered, as gradio decides it: without a password, or after it was entered."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return app.auth is None or any(request.cookies.get(name) in app.tokens for name in names)


# -- Whose they are ----------------------------------------------------------------------------------------------------


def session_of(headers: Mapping[str, str]) -> str:
    """Return the session of a request, which is the name of its folder. It does not reveal the cookie."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return ANYONE if cookie is None else hashlib.sha256(cookie.value.encode()).hexdigest()


class Sessions:
    """Middleware that gives each browser a cookie, and serves files only to the session that they belong to."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app, self.store = app, store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, session = scope["path"], session_of(Headers(scope=scope))
        if path.startswith(FILE_PATH) and self.store.find({"path": path.removeprefix(FILE_PATH)}, session) is None:
            raise Refusal(403, "There is no such file here. It may be older than an hour.")

        async def add_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and path == "/" and session == ANYONE:
                cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Lax"
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        await self.app(scope, receive, add_cookie)


# -- Arguments that name them ------------------------------------------------------------------------------------------


class UploadsOnly(gr.Blocks):
    """Blocks whose events accept only files of their session, on every route by which a request reaches them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.store = Store(self.GRADIO_CACHE)

    async def process_api(
        self, block_fn: BlockFunction | int, inputs: list[Any], state: SessionState | None = None,
        request: gr.Request | list[gr.Request] | None = None, *arguments: Any, **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Note for which session the work is."""
        SESSION.set(session_of(request.headers) if isinstance(request, gr.Request) else ANYONE)
        answer: dict[str, Any] = await super().process_api(block_fn, inputs, state, request, *arguments, **options)
        return answer

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """Check the arguments before gradio, which would fetch and open what they name."""
        checked = [
            self.check(str(getattr(block, "label", "")), value)
            for block, value in zip(block_fn.inputs, inputs, strict=False)
        ]
        # No session is given on: gradio would keep the last arguments and results of every session in memory.
        arguments: list[Any] = await super().preprocess_data(block_fn, checked, None, explicit_call)
        return arguments

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any], state: SessionState | None
    ) -> list[Any]:
        """Send results without keeping them, see `preprocess_data`."""
        results: list[Any] = await super().postprocess_data(block_fn, predictions, None)
        return results

    def check(self, name: str, value: Any) -> Any:
        """Return an argument that is safe to pass to gradio.

        Args:
            name: of the argument; `FILES` are files, all others are JSON values without any.
            value: what came.

        Raises:
            gr.Error: it names a file that was not uploaded in this session, or a file where none is accepted.
        """
        if name not in FILES:
            if resembles_file(value):
                raise gr.Error(NO_FILE_HERE.format(name=name), print_exception=False)
            return value
        if value is None:
            return None
        path = self.store.find(value, SESSION.get())
        if path is None:
            text = NOT_UPLOADED.format(name=name, megabytes=MAX_BYTES // 2**20)
            raise gr.Error(text, print_exception=False)
        # Only the path is passed on, no URL or file name that came with it.
        return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def resembles_file(value: object) -> bool:
    """Return whether a JSON value is, or contains, something that gradio could take for a file.

    That is an object with other keys than those of a pose, or whatever lies deeper than `MAX_DEPTH`.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        objects = [each for each in level if isinstance(each, dict)]
        if any(not set(each) <= {"canvas", "keypoints"} for each in objects):
            return True
        level = [inner for each in objects for inner in each.values()] + [
            inner for each in level if isinstance(each, list) for inner in each
        ]
        if not level:
            return False
    return True


def find_upload(value: object, cache: str | os.PathLike[str]) -> Path | None:
    """Return the uploaded file that the argument of a request names.

    Args:
        value: anything; an upload is an object whose "path" is the path that the server answered the upload with.
        cache: folder in which uploads are stored.

    Returns:
        The path of the file, with links resolved; None for anything but a regular file in the cache of at most
        `MAX_BYTES`.
    """
    given = value.get("path") if isinstance(value, dict) else None
    if not isinstance(given, str):
        return None
    try:
        # First compare the text alone, so that the file system is not asked about anything outside the cache.
        if not Path(os.path.abspath(given)).is_relative_to(os.path.abspath(cache)):  # noqa: PTH100
            return None
        path = Path(given).resolve(strict=True)
        if not path.is_relative_to(Path(cache).resolve()):  # reached by a link
            return None
        status = path.stat()
    except (OSError, ValueError, RuntimeError):  # no such file, an impossible name, or a circle of links
        return None
    return path if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES else None
