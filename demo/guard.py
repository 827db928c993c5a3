"""Which requests a page answers: those to its own address, by itself.

A browser lets every web site send requests to 127.0.0.1, and a site whose name is made to point there may also read the
answers (DNS rebinding). Both show in the request: in the name it was sent to (Host) or the site that sent it (Origin).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose


def served_addresses(host: str, port: int) -> tuple[str, ...] | None:
    """What the Host of a request may say, as "name:port", the most common one first.

    Args:
        host: name or IP address that the server listens on.
        port: of the server.

    Returns:
        The names of this computer for itself, or None where others are served too: the names that they have for this
        computer are not known here.

    Raises:
        OSError: there is no such host.
    """
    host = host.strip("[]")
    found = {ipaddress.ip_address(address[0]) for *_, address in socket.getaddrinfo(host, port)}
    if not all(address.is_loopback for address in found):
        return None
    names = dict.fromkeys(("localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host.lower()))
    return (*(f"{name}:{port}" for name in names), *(names if port == 80 else ()))


class Guard:
    """Middleware that refuses requests for another address or from another site, and those to paths that are closed.

    It stands before HTTP requests and websockets alike; what it refuses reaches nothing behind it.
    """

    def __init__(self, app: ASGIApp, addresses: Sequence[str] | None, closed: re.Pattern[str] | None = None) -> None:
        """Puts itself before an app.

        Args:
            app: what answers the requests that are let through.
            addresses: what `served_addresses` gives; None lets every Host and Origin through.
            closed: paths that are answered as if they did not exist, matched from their start.
        """
        self.app, self.addresses, self.closed = app, addresses, closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refusal = self.refusal(Headers(scope=scope), scope["path"])
        if refusal is None:
            return await self.app(scope, receive, send)
        status, reason = refusal
        answer = JSONResponse({"detail": reason}, status) if scope["type"] == "http" else WebSocketClose(1008)
        return await answer(scope, receive, send)

    def refusal(self, headers: Headers, path: str) -> tuple[int, str] | None:
        """The status and the reason if a request is refused."""
        if self.addresses is not None:
            own = f"http://{self.addresses[0]}"
            hosts, origins = headers.getlist("host"), headers.getlist("origin")
            if len(hosts) != 1 or hosts[0].lower() not in self.addresses:
                return 403, (
                    f"This page is served to the computer it runs on alone. Open it there as {own} (a tunnel needs the "
                    "same port at both ends), or start it with --host 0.0.0.0 to serve the network."
                )
            if any(origin.lower() not in {f"http://{address}" for address in self.addresses} for origin in origins):
                return 403, f"Requests are taken from the page itself, {own}, and not from other web sites."
        if self.closed is not None and self.closed.match(path):
            return 404, "Not Found"
        return None
