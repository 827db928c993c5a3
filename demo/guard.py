"""A guard in front of a page: it answers requests to its own address, from the page itself, and within limits.

A browser lets every web site send requests to 127.0.0.1, and a site whose name resolves to that address may also read
the answers (DNS rebinding). The request shows both: its Host is the name that it was sent to, its Origin the site that
sent it.
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from demo.limits import MAX_JSON, Body, Limits, Refusal, client_of


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


HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer: no other page may frame it, show its pictures, or learn its address."""


async def explain(request: Request, error: RequestValidationError) -> Response:
    """Say in a sentence what is wrong with a request.

    FastAPI would repeat the input, which JSON cannot hold if it is NaN or half a surrogate pair.
    """
    wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return JSONResponse({"detail": ascii(wrong)[1:-1]}, status_code=422)


EXPLAINED: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    RequestValidationError: explain
}
"""Exception handlers of an app that is made with FastAPI."""


class Guard:
    """Middleware that refuses requests to other addresses, from other sites, to closed paths, and beyond limits.

    It checks HTTP requests and websockets before anything else sees them, and adds headers to every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        addresses: Sequence[str] | None,
        policy: str,
        open_paths: re.Pattern[str] | None = None,
        files: Mapping[str, int] | None = None,
        limits: Limits | None = None,
        check_body: Callable[[str, bytes], None] | None = None,
    ) -> None:
        """Guard an app.

        Args:
            app: answers the requests that are let through.
            addresses: output of `served_addresses`; None lets every Host and Origin through, within `limits`.
            policy: the Content-Security-Policy, to which ``frame-ancestors 'none'`` is added.
            open_paths: paths that exist, matched from their start; None for all.
            files: paths that take files, with the most bytes of a request; all others take `MAX_JSON`.
            limits: of each client; by default those of `Limits`.
            check_body: is called with path and body of each request that brings no file, and may raise a Refusal.
        """
        self.app, self.addresses, self.open_paths, self.files = app, addresses, open_paths, files or {}
        self.limits, self.check_body = limits or Limits(), check_body
        self.headers = {**HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        started = False

        async def add_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        try:
            self.check(Headers(scope=scope), scope["path"])
            public = self.addresses is None and scope["type"] == "http"
            with self.limits.answering(client_of(scope)) if public else nullcontext():
                if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                    receive = await self.admit(scope, receive, public)
                return await self.app(scope, receive, add_headers)
        except ClientDisconnect:  # nobody waits for an answer
            return None
        except Refusal as refusal:
            if started:
                raise
            headers = {"Retry-After": f"{math.ceil(refusal.wait_s)}"} if refusal.wait_s else {}
            if scope["type"] == "websocket":
                return await WebSocketClose(1008)(scope, receive, send)
            answer = JSONResponse({"detail": refusal.reason}, refusal.status, headers)
            return await answer(scope, receive, add_headers)

    def check(self, headers: Headers, path: str) -> None:
        """Check who asks, and for what.

        Raises:
            Refusal: the request is not meant for this page, does not come from it, or asks for a closed path.
        """
        if self.addresses is not None:
            own = f"http://{self.addresses[0]}"
            hosts, origins = headers.getlist("host"), headers.getlist("origin")
            if len(hosts) != 1 or hosts[0].lower() not in self.addresses:
                raise Refusal(403, (
                    f"This page is served to the computer it runs on alone. Open it there as {own} (a tunnel needs the "
                    "same port at both ends), or start it with --host 0.0.0.0 to serve the network."
                ))  # fmt: skip
            if any(origin.lower() not in {f"http://{address}" for address in self.addresses} for origin in origins):
                raise Refusal(403, f"Requests are taken from the page itself, {own}, and not from other web sites.")
        if self.open_paths is not None and not self.open_paths.match(path):
            raise Refusal(404, "Not Found")

    async def admit(self, scope: Scope, receive: Receive, public: bool) -> Body:
        """Return the body of a request; of one that brings no file, all of it has arrived.

        Raises:
            Refusal: it is too large, takes too long, or is one too many.
        """
        path = scope["path"].rstrip("/")
        declared = Headers(scope=scope).get("content-length")
        body = Body(receive, self.files.get(path, MAX_JSON), declared)
        if public:
            uploads = path in self.files
            known = int(declared) if declared is not None and declared.isdecimal() else body.most
            self.limits.check(client_of(scope), path, known if uploads else 0)
        if path not in self.files:
            content = await body.read()
            if self.check_body is not None:
                self.check_body(scope["path"], content)
        return body
