"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from pg2lib.errors import DataError

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, moved there when the block ends well and removed when it does not.

    Each call has its own, so that threads, processes and machines that write the same file do not meet. Its name says
    which process it is of: what a process leaves when it is killed can be told.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # safetensors makes its files readable by their owner alone
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[TextIO]:
    """A UTF-8 text file to write, which replaces `path` when the block ends well."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()


def lies_in(path: str | PathLike[str], folder: str | PathLike[str]) -> bool:
    """Whether a path is a folder or lies in it, by whatever links and in whatever case of letters the two are spelt.

    Args:
        path: need not exist.
        folder: one that does not exist holds nothing.
    """
    real = Path(path).resolve()
    return Path(folder).exists() and any(place.exists() and place.samefile(folder) for place in (real, *real.parents))


def refuse_to_replace(out: str | PathLike[str], inputs: Iterable[str | PathLike[str]]) -> None:
    """Keeps a command from writing over what it reads.

    Args:
        out: the file to be written.
        inputs: files that are read, by whatever names; those that do not exist are passed over.

    Raises:
        DataError: `out` is one of them.
    """
    target = Path(out)
    for path in map(Path, inputs):
        if target.exists() and path.exists() and target.samefile(path):
            raise DataError(f"{path} is read, and writing {target} would replace it: name another file")


def sha256_of(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_json_lines(path: str | PathLike[str], *numbers: str) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line, such as a log to which a process appends.

    A last line without its line break, as a kill or a loss of power leaves it, is discarded unless it is whole.

    Args:
        path: The file. One that does not exist has no lines.
        numbers: Keys that every line must have, with numbers as their values.

    Raises:
        DataError: A line is damaged; the message names it.
    """
    # Bytes that are not UTF-8 become replacement characters, and their line is reported as damaged.
    text = Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).is_file() else ""
    lines: list[dict[str, Any]] = []
    for number, part in enumerate(text.splitlines(keepends=True), start=1):
        try:
            line = {**json.loads(part)}
            for key in numbers:
                float(line[key])
        except (ValueError, KeyError, TypeError) as error:
            if not part.endswith("\n"):
                return lines
            raise DataError(f"{path}, line {number}, is damaged: {error!r}. Restore it, or remove the line") from error
        lines.append(line)
    return lines
