"""The user study (Table 2) in a browser: a page for raters on a network, over the engine `pg2lib.user_study`.

    python demo/app.py --study DIR --host 0.0.0.0     serves the page
    python demo/app.py --study DIR --results          prints the table; raters have no way to it

The page loads all images of a session first, shows each for the protocol's time, measured where it is shown, and asks
for the next one only when the last answer is stored. Raters are random names; nothing else about them is kept.
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
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from demo.guard import Guard, served_addresses
from pg2lib.errors import DataError, PG2Error
from pg2lib.user_study import Session, Study, results

HERE = Path(__file__).parent

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Begin(BaseModel):
    """Somebody new, or a rater who comes back; `another` asks for a further session once one is finished."""

    model_config = ConfigDict(extra="forbid")
    rater: str | None = None
    another: bool = False


class Answer(BaseModel):
    """What a rater says of one image."""

    model_config = ConfigDict(extra="forbid")
    rater: str
    number: int
    position: int
    says_real: bool
    exposure_ms: Milliseconds
    response_ms: Milliseconds
    showings: Annotated[int, Field(ge=1, le=1_000_000)]


class State(BaseModel):
    """Where a rater stands. Models have numbers here: their names would tell what is under study."""

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
    """The page and what it asks for."""
    app = FastAPI(title=study.title, openapi_url=None, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def add_headers(request: Request, call_next):  # type: ignore[no-untyped-def]
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(DataError)
    def refuse(request: Request, error: DataError) -> Response:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.exception_handler(RequestValidationError)
    def correct(request: Request, error: RequestValidationError) -> Response:
        # Not with what came, as FastAPI does: NaN and half a character are no JSON, and the answer would fail in turn.
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return JSONResponse({"detail": ascii(wrong)[1:-1]}, status_code=422)

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
        assert session is not None  # somebody new has every model before them
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
    """The page's HTML, with what the study's protocol says in its words."""
    protocol = study.protocol
    minutes = round(protocol.images * (protocol.exposure_s + 2) / 60)  # two seconds to answer and to wait
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
    """What a rater has begun, in that order: one session or more.

    Raises:
        HTTPException: 404, nobody of that name has begun.
    """
    try:
        sessions = study.sessions_of(rater)
    except DataError:  # a name that no rater can have
        sessions = []
    if not sessions:
        raise HTTPException(404, "There is no such rater.")
    return sessions


def session_of(study: Study, rater: str, number: int) -> Session:
    """A session that was begun, 1 for the rater's first.

    Raises:
        HTTPException: 404, there is no such session.
    """
    sessions = sessions_of(study, rater)
    if not 1 <= number <= len(sessions):
        raise HTTPException(404, "There is no such session.")
    return sessions[number - 1]


def describe(session: Session) -> State:
    """What the page has to know of a session."""
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
    """Prints the table of a study, as Markdown; returns the exit status."""
    try:
        print(results(folder).to_markdown(), end="")
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve_study(folder: Path, host: str, port: int) -> int:
    """Serves the page until it is interrupted; returns the exit status."""
    try:
        study = Study.open(folder)
        listener = socket.create_server((host, port), backlog=128)
        port = listener.getsockname()[1]  # for 0 the system chooses
        page = Guard(build_page(study), served_addresses(host, port))
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot serve on {host}:{port}; try another --port. ({error})", file=sys.stderr)
        return 2
    print(f"{study!r}", flush=True)
    print(f"The study runs on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    if host == "0.0.0.0":
        print(f"Raters open http://NAME:{port}, where NAME is what this computer is called on the network.", flush=True)
    server = uvicorn.Server(uvicorn.Config(page, log_level="warning", access_log=False))
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0
