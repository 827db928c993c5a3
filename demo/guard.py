"""A guard in front of a page: it answers only requests to its own address that come from the page itself.

A browser lets every web site send requests to 127.0.0.1, and a site whose name resolves to that address may also read
the answers (DNS rebinding). The request shows both: its Host is the name that it was sent to, its Origin the site that
sent it.
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
    """Return the allowed values of a request's Host, as "name:port", the most common one first.

    Args:
        host: name or IP address that the server listens on.
        port: port of the server.

    Returns:
        The names of this computer for itself; None if other computers are served, too, as their names for this one
        cannot be known.

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
    """Middleware that refuses requests to other addresses, from other sites, or to closed paths.

    It checks HTTP requests and websockets before anything else sees them.
    """

    def __init__(self, app: ASGIApp, addresses: Sequence[str] | None, closed: re.Pattern[str] | None = None) -> None:
        """Guard an app.

        Args:
            app: answers the requests that are let through.
            addresses: output of `served_addresses`; None lets every Host and Origin through.
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
        """Return the HTTP status and the reason if a request is refused, otherwise None."""
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
