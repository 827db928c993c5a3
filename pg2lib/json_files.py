"""JSON that anybody may have written or damaged: read within limits, and checked against the fields that are expected.

Every reader of the package parses JSON here. `parse_json` and `read_json` bound the size, the depth and the numbers;
`checked` compares what they return with a dataclass or another type, and names the field that is wrong.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pg2lib.errors import DataError, PG2Error

MAX_BYTES = 64_000_000
"""The largest JSON file that is read, unless its reader names another limit."""

MAX_LINE_BYTES = 1_000_000
"""The longest line of a file of JSON lines."""

MAX_VALUES = 5_000_000
"""The most values in a file. A file of brackets alone takes 25 times its size in memory."""

MAX_DEPTH = 32
"""How deep lists and objects may be nested."""

MAX_DIGITS = 20
"""The most digits of a whole number: all numbers of 64 bits have at most as many."""

LARGEST = 3.4e38
"""No number is larger: float32 cannot hold it."""


def parse_json(
    content: str | bytes,
    where: str,
    *,
    finite: bool = True,
    max_values: int = MAX_VALUES,
    error: type[PG2Error] = DataError,
) -> Any:
    """Parse JSON.

    Args:
        content: Text, or bytes in UTF-8.
        where: The file or the place in it, for messages.
        finite: Refuse NaN and Infinity, which JSON does not have but Python writes.
        max_values: The most values, lists and objects that it may hold, judged by its commas and brackets.
        error: The exception to raise.

    Returns:
        Dictionaries, lists, strings, numbers, booleans and None.

    Raises:
        PG2Error: Of the class `error`: the content is not JSON, holds too many values, is nested more than `MAX_DEPTH`
            deep, or holds a number of more than `MAX_DIGITS` digits, one beyond `LARGEST`, or text that is not Unicode.
    """
    try:
        text = _decoded(content)
        if text.count(",") + text.count("[") + text.count("{") > max_values:
            raise ValueError(f"it holds more than {max_values:,} values")
        value = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_refuse if finite else None)
        _check_unicode(text, value)
    except (ValueError, RecursionError) as reason:
        said = "it is nested too deeply" if isinstance(reason, RecursionError) else reason
        raise error(f"{where} cannot be read as JSON: {said}") from reason
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner for outer in level if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer) if isinstance(inner, list | dict)
        ]  # fmt: skip
        if not level:
            return value
    raise error(f"{where} is nested more than {MAX_DEPTH} levels deep")


def read_json(
    path: str | PathLike[str],
    *,
    finite: bool = True,
    max_bytes: int = MAX_BYTES,
    error: type[PG2Error] = DataError,
) -> Any:
    """Read a JSON file, as `parse_json` does.

    Raises:
        FileNotFoundError: There is no such file.
        PG2Error: Of the class `error`: the file cannot be read, is larger than `max_bytes`, or see `parse_json`.
    """
    return parse_json(read_limited(path, max_bytes, error), str(path), finite=finite, error=error)


def read_limited(path: str | PathLike[str], max_bytes: int, error: type[PG2Error] = DataError) -> bytes:
    """Return the content of a regular file of at most `max_bytes`.

    Raises:
        FileNotFoundError: There is no such file.
        PG2Error: Of the class `error`: it is a folder or a device, cannot be read, or is larger.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise error(f"{file} is not a regular file")
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise error(f"{file} cannot be read: {reason}") from reason
    if len(content) > max_bytes:
        raise error(f"{file} has more than {max_bytes / 1e6:g} MB; expected a smaller file")
    return content


def read_json_lines(path: str | PathLike[str], *numbers: str, finite: bool = True) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line, such as a log to which a process appends.

    A last line without its line break, as a kill or a loss of power leaves it, is discarded unless it is whole.

    Args:
        path: The file. One that does not exist has no lines.
        numbers: Keys that every line must have, with numbers as their values.
        finite: As in `parse_json`.

    Returns:
        One dictionary per line. Their values are numbers, strings, booleans and None.

    Raises:
        DataError: The file cannot be read, or a line is damaged; the message names it.
    """
    lines: list[dict[str, Any]] = []
    for number, part in enumerate(_parts(Path(path)), start=1):
        where = f"{path}, line {number},"
        try:
            line = checked(dict[str, Scalar], parse_json(part, where, finite=finite), where)
            for key in numbers:
                if key not in line:
                    raise DataError(f"{where} has no field {key!r}")
                checked(float, line[key], where, key)
        except DataError as error:
            if not part.endswith(b"\n"):
                return lines
            raise DataError(f"{error}. The line is damaged: restore it, or remove the line") from error
        lines.append(line)
    return lines


# -- Types -------------------------------------------------------------------------------------------------------------

Scalar = Union[str, float, bool, None]  # noqa: UP007 - as a value, `str | float` has another type before Python 3.14
"""A JSON value that is neither a list nor an object."""


def checked(kind: Any, value: Any, where: str, field: str = "", error: type[PG2Error] = DataError) -> Any:
    """Return a parsed JSON value as a type; nothing is converted but lists to tuples and objects to dataclasses.

    Args:
        kind: A dataclass or NamedTuple, whose fields are read by the same rules; ``str``, ``int``, ``float`` (which a
            whole number also is), ``bool``, ``None``, ``Any``, a ``Literal``, a union, ``tuple[A, B]``,
            ``tuple[A, ...]``, ``list[A]``, ``Sequence[A]``, ``dict[str, A]`` or ``Mapping[str, A]``.
        value: What `parse_json` returned, or a part of it.
        where: The file, for messages.
        field: The place of the value in the file, such as ``figures.refined``.
        error: The exception to raise.

    Raises:
        PG2Error: Of the class `error`: the value is of another type, an object lacks a field or has an unknown one, or
            the dataclass refuses the values. The message names the file and the field.
    """
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        # The members are told apart by the JSON type alone, so that the message is about the one that is meant.
        fitting = next((member for member in args if _fits(member, value)), None)
        if fitting is not None:
            return checked(fitting, value, where, field, error)
    elif _fits(kind, value):
        if origin is tuple and args[-1] is not Ellipsis:
            return tuple(_items(args, value, where, field, error))
        if origin is tuple:
            return tuple(_items([args[0]] * len(value), value, where, field, error))
        if origin in (list, Sequence):
            return list(_items([args[0]] * len(value), value, where, field, error))
        if origin in (dict, Mapping):
            return {key: checked(args[1], item, where, _below(field, key), error) for key, item in value.items()}
        return _record(kind, value, where, field, error) if _is_record(kind) else value
    raise _wrong(_words(kind), value, where, field, error)


def checked_fields(
    kinds: Mapping[str, Any],
    value: Any,
    where: str,
    field: str = "",
    error: type[PG2Error] = DataError,
    optional: Iterable[str] = (),
    others: bool = False,
) -> dict[str, Any]:
    """Return the fields of a JSON object, each `checked`.

    Args:
        kinds: The type of each field.
        value, where, field, error: As in `checked`.
        optional: Fields that may be absent.
        others: Allow other fields, and leave them out.

    Raises:
        PG2Error: As in `checked`.
    """
    if not isinstance(value, dict):
        raise _wrong("an object", value, where, field, error)
    unknown = [] if others else sorted(value.keys() - kinds.keys())
    missing = [name for name in kinds if name not in value and name not in optional]
    if unknown:
        close = difflib.get_close_matches(unknown[0][:80], list(kinds), n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise error(f"{where}: unknown field {shown(_below(field, unknown[0]))}{hint}")
    if missing:
        raise error(f"{where}: no field {shown(_below(field, missing[0]))}")
    return {
        name: checked(kind, value[name], where, _below(field, name), error)
        for name, kind in kinds.items()
        if name in value
    }


def shown(value: Any, most: int = 60) -> str:
    """Return a value for a message: printable, on one line and of at most so many characters."""
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object of {len(value)} fields"
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return f"a whole number of more than {MAX_DIGITS} digits"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _record(kind: Any, value: Any, where: str, field: str, error: type[PG2Error]) -> Any:
    hints, optional = _fields(kind)
    values = checked_fields(hints, value, where, field, error, optional)
    try:
        return kind(**values)
    except PG2Error as reason:
        raise error(f"{where}: {field}{': ' if field else ''}{reason}") from reason


def _items(kinds: Sequence[Any], values: list[Any], where: str, field: str, error: type[PG2Error]) -> Iterator[Any]:
    for number, (kind, item) in enumerate(zip(kinds, values, strict=True)):
        yield checked(kind, item, where, f"{field}[{number}]", error)


def _fits(kind: Any, value: Any) -> bool:
    """Return whether a value has the JSON type of a kind; what is inside it is not looked at."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in args)
    if origin is tuple:
        return isinstance(value, list) and (args[-1] is Ellipsis or len(value) == len(args))
    if origin in (list, Sequence):
        return isinstance(value, list)
    if origin in (dict, Mapping) or _is_record(kind):
        return isinstance(value, dict)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is (type(None) if kind is None else kind)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_field_defaults"))


@lru_cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the types of the fields of a dataclass or NamedTuple, and the names of those with a default."""
    if dataclasses.is_dataclass(kind):
        unset = dataclasses.MISSING
        optional = {
            f.name for f in dataclasses.fields(kind) if f.default is not unset or f.default_factory is not unset
        }
    else:
        optional = set(kind._field_defaults)
    return get_type_hints(kind), frozenset(optional)


def _words(kind: Any) -> str:
    """Return what a kind is called in messages."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(member) for member in args)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is tuple and args[-1] is not Ellipsis:
        return f"a list of {len(args)}"
    if origin in (tuple, list, Sequence):
        return "a list"
    if origin in (dict, Mapping) or _is_record(kind):
        return "an object"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "null")


def _wrong(expected: str, value: Any, where: str, field: str, error: type[PG2Error]) -> PG2Error:
    return error(f"{where}: {field}{': ' if field else ''}expected {expected}, got {shown(value)}")


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


# -- Parsing -----------------------------------------------------------------------------------------------------------


def _decoded(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is in UTF-16; save it in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8: byte {content[error.start]:#04x} at {error.start}") from error


def _check_unicode(text: str, value: Any) -> None:
    r"""Refuse half a surrogate pair, written as it is or as ``\ud800``: no file can hold such text again."""
    try:
        text.encode()
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is not Unicode") from error


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits):,} digits")
    return int(digits)


def _real(text: str) -> float:
    value = float(text)
    if not abs(value) <= LARGEST:
        raise ValueError(f"it holds the number {text[:40]}, which is too large")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"it holds {constant}, which is not a finite number")


def _parts(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their line breaks; nothing if it does not exist."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a regular file")
        with path.open("rb") as file:
            while part := file.readline(MAX_LINE_BYTES + 1):
                if len(part) > MAX_LINE_BYTES:
                    raise DataError(f"{path} has a line of more than {MAX_LINE_BYTES:,} bytes; expected JSON lines")
                yield part
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
