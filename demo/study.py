"""The web page on which raters take part in a user study (Table 2) of `pg2lib.user_study`.

    python demo/app.py --study DIR --host 0.0.0.0     serves the page
    python demo/app.py --study DIR --results          prints the results, which the page does not show

The page loads all images of a session before it shows the first. It shows every image for the protocol's exposure,
measures the exposure itself, and goes on to the next image when the server has stored the answer. Of a rater only a
random name is stored.
"""

from __future__ import annotations

import html
import socket
import sys
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from demo.guard import EXPLAINED, Guard, served_addresses
from demo.limits import Limits, make_impatient
from pg2lib.errors import DataError, PG2Error
from pg2lib.user_study import Session, Study, results

HERE = Path(__file__).parent

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

POLICY = "default-src 'self'; img-src 'self' data:"

REQUESTS = 50
"""Requests per second from one address, behind which a whole class may sit; raters answer every second or two."""


class Begin(BaseModel):
    """Request for a session.

    Attributes:
        rater: name of a rater who comes back; None for a new one.
        another: whether to begin another session if the last one is finished.
    """

    model_config = ConfigDict(extra="forbid")
    rater: str | None = None
    another: bool = False


class Answer(BaseModel):
    """Answer of a rater for one image; see `Session.answer`."""

    model_config = ConfigDict(extra="forbid")
    rater: str
    number: int
    position: int
    says_real: bool
    exposure_ms: Milliseconds
    response_ms: Milliseconds
    showings: Annotated[int, Field(ge=1, le=1_000_000)]


class State(BaseModel):
    """State of a session. It has a number instead of the model's name, which would reveal what is studied."""

    rater: str
    number: int
    sessions: int
    images: int
    practice: int
    answered: int
    exposure_ms: float
    height: int
    width: int


def build_page(study: Study) -> FastAPI:
    """Return the web application: the page, and what its script requests."""
    app = FastAPI(
        title=study.title, openapi_url=None, docs_url=None, redoc_url=None, exception_handlers=EXPLAINED
    )  # fmt: skip

    @app.middleware("http")
    async def add_headers(request: Request, call_next):  # type: ignore[no-untyped-def]
        response = await call_next(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(DataError)
    def refuse(request: Request, error: DataError) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(render(study))

    @app.get("/study.js")
    def script() -> FileResponse:
        return FileResponse(HERE / "study.js", media_type="text/javascript")

    @app.get("/study.css")
    def style() -> FileResponse:
        return FileResponse(HERE / "study.css", media_type="text/css")

    @app.post("/session")
    def begin(request: Begin) -> State:
        if request.rater is None:
            rater = study.new_rater()
            session = study.next_session(rater)
        else:
            session = sessions_of(study, request.rater)[-1]
            if request.another and session.finished:
                session = study.next_session(request.rater) or session
        assert session is not None  # a new rater has not judged any model
        return describe(session)

    @app.get("/image/{rater}/{number}/{position}")
    def image(rater: str, number: int, position: int) -> FileResponse:
        return FileResponse(session_of(study, rater, number).image_path(position), media_type="image/png")

    @app.post("/answer")
    def answer(given: Answer) -> dict[str, int]:
        session = session_of(study, given.rater, given.number)
        values = given.model_dump(exclude={"rater", "number"})
        return {"answered": session.answer(**values)}

    return app


def render(study: Study) -> str:
    """Return the page's HTML, filled in from the study's protocol."""
    protocol = study.protocol
    minutes = round(protocol.images * (protocol.exposure_s + 2) / 60)  # about two seconds to answer and for the pause
    words = {
        "title": study.title,
        "images": protocol.images,
        "practice": protocol.practice,
        "scored": protocol.images - protocol.practice,
        "exposure": "one second" if protocol.exposure_s == 1 else f"{protocol.exposure_s:g} seconds",
        "minutes": "a minute" if minutes <= 1 else f"{minutes} minutes",
    }
    template = Template((HERE / "study.html").read_text(encoding="utf-8"))
    return template.substitute({name: html.escape(str(word)) for name, word in words.items()})


def sessions_of(study: Study, rater: str) -> list[Session]:
    """Return the sessions that a rater has begun, at least one.

    Raises:
        HTTPException: 404, the rater has not begun any.
    """
    try:
        sessions = study.sessions_of(rater)
    except DataError:  # a name that no rater can have
        sessions = []
    if not sessions:
        raise HTTPException(404, "there is no such rater")
    return sessions


def session_of(study: Study, rater: str, number: int) -> Session:
    """Return a session that a rater has begun; the first has the number 1.

    Raises:
        HTTPException: 404, there is no such session.
    """
    sessions = sessions_of(study, rater)
    if not 1 <= number <= len(sessions):
        raise HTTPException(404, "there is no such session")
    return sessions[number - 1]


def describe(session: Session) -> State:
    """Return the state of a session for the page."""
    study, protocol = session.study, session.study.protocol
    return State(
        rater=session.rater,
        number=session.number,
        sessions=len(study.models),
        images=len(session),
        practice=protocol.practice,
        answered=session.answered,
        exposure_ms=protocol.exposure_s * 1000,
        height=study.canvas[0],
        width=study.canvas[1],
    )


def print_results(folder: Path) -> int:
    """Print the results of a study as Markdown and return the exit status."""
    try:
        print(results(folder).to_markdown(), end="")
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve_study(folder: Path, host: str, port: int) -> int:
    """Serve the page until interrupted and return the exit status."""
    try:
        study = Study.open(folder)
        listener = socket.create_server((host, port), backlog=128)
        port = listener.getsockname()[1]  # which the system has chosen if it was 0
        page = Guard(build_page(study), served_addresses(host, port), POLICY, limits=Limits(REQUESTS))
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot serve on {host}:{port} ({error}); try another --port", file=sys.stderr)
        return 2
    print(f"{study!r}", flush=True)
    print(f"The study runs on http://{host}:{port} (press Ctrl-C to stop)", flush=True)
    if host == "0.0.0.0":
        print(
            f"Raters open http://NAME:{port}, where NAME is the name of this computer on the network. Whoever reaches "
            "it can take part: there is no password, and the page shows no results.",
            flush=True,
        )
    config = uvicorn.Config(page, log_level="warning", access_log=False)
    config.load()
    make_impatient(config)
    server = uvicorn.Server(config)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0
