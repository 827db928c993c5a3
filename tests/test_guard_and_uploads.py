"""The rules of the demo's guard, its limits, its queue and its uploads, one by one and without a server."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from demo import limits, turns, uploads
from demo.guard import HEADERS, Guard, served_addresses
from demo.limits import MAX_JSON, Allowance, Limits, Refusal, client_of, impatient

OWN = "127.0.0.1:7860"


async def unreachable(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the rules are asked, and no request is answered")


def status(*headers: tuple[str, str], path: str = "/", host: str = "127.0.0.1") -> int | None:
    """The status with which a request is refused; None if it is answered."""
    guard = Guard(unreachable, served_addresses(host, 7860), "default-src 'self'")
    try:
        guard.check(Headers(raw=[(name.encode(), value.encode()) for name, value in headers]), path)
    except Refusal as refusal:
        return refusal.status
    return None


def test_the_page_answers_to_its_own_names_alone() -> None:
    for name in (OWN, "localhost:7860", "LOCALHOST:7860", "[::1]:7860"):
        assert status(("host", name)) is None
    for name in ("evil.example:7860", "127.0.0.1", "127.0.0.1:80", f"evil.example, {OWN}", ""):
        assert status(("host", name)) == 403
    assert status() == 403
    assert status(("host", OWN), ("host", "evil.example")) == 403


def test_the_page_answers_itself_and_no_other_site() -> None:
    assert status(("host", OWN), ("origin", f"http://{OWN}")) is None
    assert status(("host", OWN), ("origin", "http://localhost:7860")) is None
    for origin in ("http://evil.example", f"https://{OWN}", "http://127.0.0.1", "null", ""):
        assert status(("host", OWN), ("origin", origin)) == 403
    assert status(("host", OWN), ("origin", f"http://{OWN}"), ("origin", "http://evil.example")) == 403


def test_a_page_for_the_network_answers_to_any_name() -> None:
    assert status(("host", "my-laptop:7860"), ("origin", "http://my-laptop:7860"), host="0.0.0.0") is None


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An upload, a folder, and links out of the cache and within it."""
    folder = tmp_path / "cache"
    (folder / "folder").mkdir(parents=True)
    (folder / "photo.png").write_bytes(b"0123456789")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "within.png").symlink_to(folder / "photo.png")
    (tmp_path / "cache-of-another").mkdir()
    (tmp_path / "cache-of-another" / "photo.png").write_bytes(b"secret")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def find(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Path | None]:
    """Look for what a request names, among uploads of at most ten bytes."""
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    return lambda value: uploads.find_upload(value, cache)


@pytest.mark.parametrize("name", ["photo.png", "within.png", "folder/../photo.png", "./photo.png"])
def test_an_upload_is_found(find: Callable[[object], Path | None], cache: Path, name: str) -> None:
    assert find({"path": f"{cache}/{name}"}) == (cache / "photo.png").resolve()


@pytest.mark.parametrize(
    "name",
    ["out.png", "../secret.png", "../cache-of-another/photo.png", "folder", "", "pipe", "gone.png", "a\0b", "a" * 5000],
)
def test_nothing_else_is_found(find: Callable[[object], Path | None], cache: Path, name: str) -> None:
    assert find({"path": f"{cache}/{name}"}) is None


def test_a_file_of_more_bytes_is_not_found(find: Callable[[object], Path | None], cache: Path) -> None:
    (cache / "photo.png").write_bytes(b"01234567890")
    assert find({"path": str(cache / "photo.png")}) is None


@pytest.mark.parametrize("value", [None, 3, "photo.png", ["photo.png"], {}, {"path": None}, {"path": {"path": "x"}}])
def test_what_names_no_path_is_not_found(find: Callable[[object], Path | None], value: object) -> None:
    assert find(value) is None


def test_a_file_is_found_in_its_session_alone_and_for_an_hour(tmp_path: Path) -> None:
    store = uploads.Store(tmp_path)
    own, shared = store.new_path("ann", ".png"), store.new_path(uploads.ANYONE, ".png")
    for path in (own, shared):
        path.write_bytes(b"photo")
    assert store.find({"path": str(own)}, "ann") == own
    assert store.find({"path": str(own)}, "bob") is store.find({"path": str(own)}, uploads.ANYONE) is None
    assert store.find({"path": str(shared)}, "ann") == shared
    store.sweep(time.time() + uploads.LIFETIME_S - 60)
    assert own.exists() and store.bytes == 10
    store.sweep(time.time() + uploads.LIFETIME_S + 60)
    assert not list(store.folder.iterdir()) and store.bytes == 0
    left = tmp_path / f"{uploads.PREFIX}of-a-page-that-was-killed" / "ann" / "photo.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"photo")
    store.sweep()
    assert left.exists()
    store.sweep(time.time() + uploads.LIFETIME_S + 60)
    assert not left.exists()


def test_a_cookie_names_a_session_and_is_not_its_name() -> None:
    names = {uploads.session_of({"cookie": f"{uploads.COOKIE}={value}"}) for value in ("a", "b", "../a")}
    assert len(names) == 3 and all(name.isalnum() and len(name) == 64 for name in names)
    assert {uploads.session_of({"cookie": cookie}) for cookie in ("", "other=a", "\0;=")} == {uploads.ANYONE}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.PNG", ".png"), ("a", ""), (None, ""), ("a.b/c", ""), ("a.\ud800", ""), ("a.png\0", ""), ("..", "")],
)
def test_of_a_files_name_only_its_kind_is_kept(name: str | None, suffix: str) -> None:
    assert uploads.suffix_of(name) == suffix


# -- Limits ------------------------------------------------------------------------------------------------------------


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of bytes that came."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    guard: Guard, *chunks: bytes, path: str = "/call", declared: int | None = None, client: str = "192.0.2.1"
) -> tuple[int, dict[str, str], bytes]:
    """Send a body in chunks, of which the last does not end it if it is empty; return status, headers and body."""
    messages: list[Message] = [{"type": "http.request", "body": each, "more_body": True} for each in chunks]
    if chunks and chunks[-1]:
        messages[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else await asyncio.sleep(60, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", OWN.encode())] + ([(b"content-length", str(declared).encode())] if declared else [])
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": (client, 1)}
    asyncio.run(guard(scope, receive, send))
    fields = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, sent[1]["body"]


def test_a_request_is_as_large_as_its_path_allows() -> None:
    guard = Guard(echo, served_addresses("127.0.0.1", 7860), "", files={"/upload": 2 * MAX_JSON})
    half = bytes(MAX_JSON // 2)
    assert ask(guard, half, half)[::2] == (200, str(MAX_JSON).encode())
    assert ask(guard, half, half, b"1")[0] == ask(guard, b"1", declared=MAX_JSON + 1)[0] == 413
    assert ask(guard, b"1", declared=10**30)[0] == 413
    assert ask(guard, half, half, b"1", path="/upload")[0] == 200
    assert ask(guard, half, half, half, half, b"1", path="/upload")[0] == 413


def test_a_request_arrives_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODY_SECONDS", 0.02)
    guard = Guard(echo, served_addresses("127.0.0.1", 7860), "", files={"/upload": 10})
    assert ask(guard, b"1", b"")[0] == ask(guard, b"1", b"", path="/upload")[0] == 408


def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HEADER_SECONDS", 0.01)

    class Protocol:
        cycle: Any = None
        timeout_keep_alive_task: Any = None

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

    async def closed(cycles: list[Any], keep_alive: Any = None) -> bool:
        """Whether it is closed by the time all cycles were seen."""
        transport = SimpleNamespace(closing=False)
        transport.is_closing, transport.close = lambda: transport.closing, lambda: setattr(transport, "closing", True)
        connection = impatient(Protocol)()
        connection.timeout_keep_alive_task = keep_alive
        connection.connection_made(transport)
        for connection.cycle in cycles:
            await asyncio.sleep(0.05)
        return bool(transport.closing)

    busy, idle = SimpleNamespace(response_complete=False), SimpleNamespace(response_complete=True)
    assert asyncio.run(closed([None])) and asyncio.run(closed([busy, idle]))
    assert not asyncio.run(closed([busy])) and not asyncio.run(closed([idle], keep_alive="runs"))


def test_a_client_of_the_network_has_an_allowance_that_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    allowance = Allowance(burst=3, per_second=2)
    assert [allowance.take("a") for _ in range(3)] == [0, 0, 0]
    assert allowance.take("a") == 0.5 and allowance.take("b") == 0, "clients do not share it"
    now += 0.5
    assert allowance.take("a") == 0 and allowance.take("a") > 0
    now += 1000
    assert allowance.take("a", 3) == 0 and allowance.take("a") > 0, "it never exceeds the burst"


def test_a_client_of_the_network_is_slowed_down_and_this_computer_is_not() -> None:
    public = Guard(echo, None, "", limits=Limits(requests=0.1))
    statuses = [ask(public, b"1") for _ in range(3)]
    assert [status for status, *_ in statuses] == [200, 200, 429] and int(statuses[2][1]["retry-after"]) > 0
    assert ask(public, b"1", client="192.0.2.2")[0] == 200
    assert ask(Guard(echo, None, "", limits=Limits(requests=0.5)), b"1", path="/login")[0] == 429, "a guess costs more"
    uploads = Guard(echo, None, "", files={"/upload": 2**21}, limits=Limits(mb_per_hour=1))
    assert ask(uploads, b"1", path="/upload", declared=2**20)[0] == 200
    assert ask(uploads, b"1", path="/upload", declared=2**10)[0] == 429
    own = Guard(echo, served_addresses("127.0.0.1", 7860), "", limits=Limits(requests=0.1))
    assert {ask(own, b"1")[0] for _ in range(5)} == {200}


def test_only_so_many_requests_of_a_client_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN", 1)
    several = Limits()
    with several.answering("a"):
        with pytest.raises(Refusal, match="at once"), several.answering("a"):
            pass
        with several.answering("b"):
            pass
    with several.answering("a"):
        pass


def test_a_client_is_an_address_or_the_network_of_a_subscriber() -> None:
    of = [client_of({"client": (host, 1)}) for host in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
    assert of[0] == "192.0.2.1" and of[1] == of[2] != of[3]
    assert client_of({}) == client_of({"client": None}) == ""


def test_every_answer_has_the_headers() -> None:
    guard = Guard(echo, served_addresses("127.0.0.1", 7860), "default-src 'self'")
    for answer in (ask(guard, b"1"), ask(guard, b"1", declared=MAX_JSON + 1)):
        assert {name: answer[1][name.lower()] for name in HEADERS} == HEADERS
        assert answer[1]["content-security-policy"] == "default-src 'self'; frame-ancestors 'none'"


# -- Turns -------------------------------------------------------------------------------------------------------------


class Work:
    """An endpoint that one worker answers."""

    concurrency_id, concurrency_limit, batch, connection = "one", 1, False, "sse"
    api_name, validator, fn = "work", None, None


class Line:
    """A queue in which calls of several clients wait, and what they were told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = turns
        monkeypatch.setattr(self.turns, "MAX_WAITING", 4)
        self.queue = self.turns.Turns(
            live_updates=False, concurrency_count=9, update_intervals=1, max_size=None,
            blocks=SimpleNamespace(state_holder=defaultdict(lambda: self.settings)),
        )  # fmt: skip
        self.queue.active_jobs = [None] * 9

    settings = SimpleNamespace(blocks_config=SimpleNamespace(fns={0: Work()}))

    def join(self, client: str, session: str, listens: bool = True) -> tuple[bool, object, str]:
        from gradio.data_classes import PredictBodyInternal

        body = PredictBodyInternal(data=[], fn_index=0, session_hash=session)
        if listens:
            self.queue.listening[session] += 1
        request: Any = SimpleNamespace(scope={"client": (client, 1)})
        return asyncio.run(self.queue.push(body, request, None))  # type: ignore[no-any-return]

    def next(self) -> str | None:
        found = self.queue.get_events()
        return None if found is None else found[0][0].session_hash

    def told(self, session: str) -> str:
        messages = self.queue.pending_messages_per_session[session]
        told = ""
        while not messages.empty():
            told = str(getattr(messages.get_nowait(), "output", {}).get("error", told))
        return told


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def test_clients_take_turns(line: Line) -> None:
    for client, session in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
        assert line.join(client, session)[0]
    assert [line.next() for _ in range(5)] == ["a1", "b1", "a2", "a3", None]


def test_whoever_holds_most_places_makes_room(line: Line) -> None:
    for session in ("a1", "a2", "a3", "a4"):
        line.join("a", session)
    assert line.join("a", "a5")[2] == "queue_full"
    assert line.join("b", "b1")[0] and "Too many" in line.told("a4") and line.told("a3") == ""
    assert [line.next() for _ in range(5)] == ["a1", "b1", "a2", "a3", None]


def test_a_call_waits_its_turn_for_so_long_and_no_longer(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.join("a", "a1")
    monkeypatch.setattr(line.turns, "MAX_WAIT_S", -1)
    assert line.next() is None and "still not your turn" in line.told("a1")


def test_a_call_that_nobody_listens_to_is_not_answered(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.join("a", "heard")
    line.join("a", "unheard", listens=False)
    monkeypatch.setattr(line.turns, "UNHEARD_S", -1)
    assert [line.next(), line.next()] == ["heard", None]


def test_answers_that_nobody_fetches_are_forgotten(line: Line) -> None:
    line.join("a", "waits", listens=False)
    line.join("a", "done", listens=False)
    line.queue.event_ids_to_events = {
        name: event for name, event in line.queue.event_ids_to_events.items() if event.session_hash == "waits"
    }
    line.queue.forget()
    assert set(line.queue.pending_messages_per_session) == {"waits", "done"}, "it may be fetched in a moment"
    line.queue.forget()
    assert set(line.queue.pending_messages_per_session) == set(line.queue.pending_event_ids_session) == {"waits"}
