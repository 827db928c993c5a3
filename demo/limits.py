"""How much each client may ask for: allowances that refill, and bodies that arrive in time and are not too large."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.types import Message, Receive

MAX_JSON = 256 * 2**10
"""Bytes of a request that is no file: 120 poses with all their decimals take 100 kB."""

MAX_BODY_SECONDS = 120
"""In which a request must have arrived: 32 MB at 2 Mbit/s."""

MAX_HEADER_SECONDS = 15
"""A connection is closed if its request is not complete after so long; after a first one, twice as long."""

KEEP_ALIVE_S = 20
"""How long a connection may be idle between requests; short times cut off requests to a busy computer."""

MAX_OPEN = 64
"""Requests of one client that are answered at once, open streams among them."""

REMEMBERED = 10_000
"""Clients whose use is remembered."""


class Refusal(Exception):  # noqa: N818  # it is an answer, not a fault
    """A request that is not answered: an HTTP status, a sentence, and the seconds after which to try again."""

    def __init__(self, status: int, reason: str, wait_s: float = 0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.wait_s = status, reason, wait_s


def client_of(scope: Mapping[str, Any]) -> str:
    """Return the network address that a request comes from; of an IPv6 address, the network of its subscriber."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


class Allowance:
    """An amount that each client may use at once, and that refills at a steady rate."""

    def __init__(self, burst: float, per_second: float) -> None:
        self.burst, self.per_second = burst, per_second
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, amount: float = 1) -> float:
        """Take from a client's allowance; return 0, or after how many seconds there will be enough."""
        now = time.monotonic()
        used, then = self._used.pop(client, (0.0, now))
        used = max(0.0, used - (now - then) * self.per_second)
        missing = used + amount - self.burst
        self._used[client] = (used if missing > 0 else used + amount, now)
        if len(self._used) > REMEMBERED:
            self._used.popitem(last=False)
        return max(0.0, missing / self.per_second)


class Limits:
    """What one client may ask for, for a page that is served to the network."""

    def __init__(self, requests: float = 5, mb_per_hour: float = 512) -> None:
        """Set limits.

        Args:
            requests: that change something or start work, per second; twenty times as many at once.
            mb_per_hour: of uploads.
        """
        self.requests = Allowance(20 * requests, requests)
        self.uploaded = Allowance(mb_per_hour * 2**20, mb_per_hour * 2**20 / 3600)
        self.open: Counter[str] = Counter()

    def check(self, client: str, path: str, upload_bytes: int) -> None:
        """Count a request that has a body.

        Raises:
            Refusal: it is one too many.
        """
        # Nobody tries passwords faster than one in four seconds.
        if wait := self.requests.take(client, 20 if path.startswith("/login") else 1):
            raise Refusal(429, f"That was too fast. Wait {wait:.0f} seconds, then try again.", wait)
        if wait := self.uploaded.take(client, upload_bytes):
            raise Refusal(429, f"These were many files. Wait {wait / 60:.0f} minutes, then try again.", wait)

    @contextmanager
    def answering(self, client: str) -> Iterator[None]:
        """Count a request while it is answered.

        Raises:
            Refusal: too many are.
        """
        if self.open[client] >= MAX_OPEN:
            raise Refusal(429, "Too many requests at once. Wait until some are answered.", 1)
        self.open[client] += 1
        try:
            yield
        finally:
            self.open[client] -= 1
            if not self.open[client]:
                del self.open[client]


class Body:
    """A request's body, passed on as it arrives, or read whole and then passed on."""

    def __init__(self, receive: Receive, most: int, declared: str | None) -> None:
        """Receive a body.

        Args:
            receive: of the server.
            most: bytes.
            declared: the request's Content-Length.

        Raises:
            Refusal: it is declared to be larger.
        """
        self.receive, self.most, self.bytes, self.more = receive, most, 0, True
        self.end = time.monotonic() + MAX_BODY_SECONDS
        self.whole: list[Message] = []
        if declared is not None and declared.isdecimal() and int(declared[:20]) > most:
            raise self._too_large()

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            Refusal: the body is too large, or takes too long.
        """
        if self.whole:
            return self.whole.pop(0)
        if not self.more:
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), self.end - time.monotonic())
        except asyncio.TimeoutError as error:
            raise Refusal(408, "The request did not arrive in time. Try again.") from error
        self.bytes += len(message.get("body", b""))
        if self.bytes > self.most:
            raise self._too_large()
        self.more = bool(message.get("more_body", False))
        return message

    async def read(self) -> bytes:
        """Wait until all has arrived, or nobody sends any more, and return it."""
        arrived = []
        while self.more:
            arrived.append(await self())
        self.whole = arrived
        return b"".join(message.get("body", b"") for message in arrived)

    def _too_large(self) -> Refusal:
        size = f"{self.most // 2**20} MB" if self.most >= 2**20 else f"{self.most // 2**10} KB"
        return Refusal(413, f"The request is too large. At most {size} are taken.")


def impatient(protocol: type[Any]) -> type[Any]:
    """Return an HTTP protocol of uvicorn that closes connections on which the headers of a request do not end.

    Uvicorn itself waits for them for ever. It closes idle connections.
    """

    class Impatient(protocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.look_again(None)

        def look_again(self, last: object) -> None:
            """Close the connection if it still waits for the request that it waited for the last time."""
            if self.transport.is_closing():
                return
            idle = self.timeout_keep_alive_task is not None
            waits = not idle and (self.cycle is None or self.cycle.response_complete)
            if waits and last is not None and last is (self.cycle or self):
                self.transport.close()
            else:
                waiting_for = (self.cycle or self) if waits else None
                asyncio.get_running_loop().call_later(MAX_HEADER_SECONDS, self.look_again, waiting_for)

    return Impatient


def make_impatient(config: Any) -> None:
    """Change how a server of uvicorn deals with slow clients, given its configuration."""
    config.http_protocol_class = impatient(config.http_protocol_class)
    config.timeout_keep_alive = KEEP_ALIVE_S
