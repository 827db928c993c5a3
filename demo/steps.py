"""Work that takes a while, as generators: they tell how far they are, end in time, and stop when they are closed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from demo.looks import RefusedError
from demo.words import TOO_LONG

T = TypeVar("T")

MAX_SECONDS = 300
"""What takes longer is ended."""


@dataclass(frozen=True)
class Progress:
    """How far some work is.

    Attributes:
        done: finished pictures, or frames that were looked at.
        of: how many there will be; 0 if nobody knows.
    """

    done: int
    of: int


class _ClosedError(Exception):
    """Nobody waits for the work any more."""


def in_time(values: Iterable[T]) -> Iterator[T]:
    """Yield the values for as long as there is time.

    Raises:
        RefusedError: the time is over, and there are values left.
    """
    end = time.monotonic() + MAX_SECONDS
    for value in values:
        if time.monotonic() > end:
            raise RefusedError(TOO_LONG.format(minutes=MAX_SECONDS // 60))
        yield value


def counted(work: Callable[[Callable[[int], None]], T]) -> Generator[Progress, None, T]:
    """Run work that calls back with what is done, in a thread; yield its progress, and return its result.

    The work ends at its next call when the generator is closed or its time is over.
    """
    told: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    closed = threading.Event()
    outcome: list[T | BaseException] = []

    def tell(done: int) -> None:
        if closed.is_set():
            raise _ClosedError
        told.put(done)

    def run() -> None:
        try:
            outcome.append(work(tell))
        except BaseException as error:  # it is raised where the result is awaited
            outcome.append(error)
        told.put(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        for done in in_time(iter(told.get, None)):
            yield Progress(done, 0)
    finally:
        closed.set()
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result
