"""The queue: who waits, for how long, and whose turn it is."""

from __future__ import annotations

import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.server_messages import ProcessCompletedMessage
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.limits import REMEMBERED, Refusal, client_of
from demo.words import FULL, NO_CALL, WAITED

MAX_WAITING = 128
"""Calls that wait."""

MAX_WAIT_S = 300
"""How long a call waits for its turn."""

UNHEARD_S = 30
"""A call whose answer nobody has asked for in this time is given up."""

STREAM = re.compile(r"/gradio_api/(?:call/(?:v2/)?[^/]+/(?P<event>[^/]+)|queue/data)/?")
"""Paths of the streams by which clients hear of their calls."""


class Turns(Queue):
    """Gradio's queue, with turns: next is the client that was served least recently, so that none can crowd out others.

    A call ends with an error if it waits too long, and without one if nobody listens to it. When all places are taken,
    the client that holds most of them loses its last one to a newcomer who holds fewer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ANALYTICS_MAX_EVENTS = 1
        self.listening: Counter[str] = Counter()
        self._served: OrderedDict[str, float] = OrderedDict()
        self._looked_at = 0.0
        self._silent: set[str] = set()

    def compute_analytics_summary(self, records: list[Any]) -> dict[str, Any]:
        """Save the work of gradio's statistics, which nobody sees."""
        return {"functions": {}}

    @contextmanager
    def listener(self, scope: Scope) -> Iterator[None]:
        """Note that somebody listens for as long as a request for a stream is answered.

        Raises:
            Refusal: there is nothing to hear.
        """
        found = STREAM.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        if found is None:
            yield
            return
        queries = parse_qs(scope["query_string"].decode("latin-1"))
        name = found["event"] or next(iter(queries.get("session_hash", [""])))
        session = next((each for each, events in self.pending_event_ids_session.items() if name in events), name)
        if session not in self.pending_messages_per_session:
            raise Refusal(404, NO_CALL)
        self.listening[session] += 1
        try:
            yield
        finally:
            self.listening[session] -= 1
            if not self.listening[session]:
                del self.listening[session]

    async def push(self, body: PredictBodyInternal, request: Any, username: str | None) -> Any:
        """Let a call wait, if there is a place for it."""
        if len(self) >= MAX_WAITING:
            waiting = [event for each in self.event_queue_per_concurrency_id.values() for event in each.queue]
            held = Counter(_client(event) for event in waiting)
            most, count = held.most_common(1)[0]
            if count <= held[client_of(request.scope)] + 1:
                return False, FULL, "queue_full"
            self._end(max((e for e in waiting if _client(e) == most), key=lambda event: event.enqueue_time), FULL)
        return await super().push(body, request, username)

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """Return the next calls to answer, None if there are none or all workers are busy."""
        now = time.monotonic()
        if now - self._looked_at > 0.1:
            self._looked_at = now
            self._end_old(now)
        for line in self.event_queue_per_concurrency_id.values():
            free = line.concurrency_limit is None or line.current_concurrency < line.concurrency_limit
            if free and len(line.queue) > 1:
                first = min(line.queue, key=lambda event: self._served.get(_client(event), 0))
                line.queue.remove(first)
                line.queue.insert(0, first)
        found = super().get_events()
        for event in [] if found is None else found[0]:
            self._served.pop(_client(event), None)
            self._served[_client(event)] = now
            if len(self._served) > REMEMBERED:
                self._served.popitem(last=False)
        return found

    def forget(self) -> None:
        """Stop work that nobody listens to, and forget answers that nobody has fetched since the last call of this."""
        now = time.monotonic()
        for event in (event for job in self.active_jobs if job is not None for event in job):
            if self._is_unheard(event, now):
                event.alive = False  # it ends at its next step
        sessions = {*self.pending_messages_per_session, *self.pending_event_ids_session}
        busy = {event.session_hash for event in self.event_ids_to_events.values()}
        silent = sessions - busy - set(self.listening)
        for session in silent & self._silent:
            self.pending_messages_per_session.pop(session, None)
            self.pending_event_ids_session.pop(session, None)
        self._silent = silent

    def _end_old(self, now: float) -> None:
        for line in self.event_queue_per_concurrency_id.values():
            for event in list(line.queue):
                if self._is_unheard(event, now):
                    self._end(event, NO_CALL)
                elif now - event.enqueue_time > MAX_WAIT_S:
                    self._end(event, WAITED.format(minutes=MAX_WAIT_S // 60))

    def _is_unheard(self, event: Event, now: float) -> bool:
        return event.session_hash not in self.listening and now - event.enqueue_time > UNHEARD_S

    def _end(self, event: Event, sentence: str) -> None:
        """End a call that waits."""
        self.event_queue_per_concurrency_id[event.concurrency_id].queue.remove(event)
        self.event_ids_to_events.pop(event._id, None)
        self.send_message(event, ProcessCompletedMessage(output={"error": sentence}, success=False))


def _client(event: Event) -> str:
    return client_of(event.request.scope)


class Listeners:
    """Middleware that tells the queue which calls somebody listens to."""

    def __init__(self, app: ASGIApp, queue: Turns) -> None:
        self.app, self.queue = app, queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with self.queue.listener(scope):
            await self.app(scope, receive, send)
