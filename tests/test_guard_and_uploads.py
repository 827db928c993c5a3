"""The rules of the demo's guard and of its uploads, one by one and without a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from demo.guard import Guard, served_addresses
from demo.limits import Refusal

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
    uploads = pytest.importorskip("demo.uploads", reason="needs gradio")
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
