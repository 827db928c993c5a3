"""What the browser tests share: which browser, how it is started, and a watch over a page."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


@dataclass
class Visit:
    """One page, what went wrong on it, and what it asked for from elsewhere."""

    own: ClassVar[tuple[str, ...]] = ("data:",)
    """Kinds of address that ask nobody."""

    page: Any
    address: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.note_request(request.url))
        self.page.on("websocket", lambda socket: self.note_request(socket.url))

    def note_request(self, url: str) -> None:
        if not url.startswith((f"{self.address}/", *self.own)):
            self.elsewhere.append(url)
