"""Damage to files of text and structure: bytes, lines, JSON values, and rows of SQLite databases."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

RAW = {
    "@deep": "[" * 5_000 + "]" * 5_000,
    "@objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "@open": "[" * 100_000,
    "@digits": "7" * 5_000,
    "@1e400int": "1" + "0" * 400,
    "@inf": "1e400",
    "@overflow": "1e39",
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@half": '"\\ud800"',
    "@word": "nope",
}
"""Tokens that `json.dumps` does not write, by the strings that stand for them until it has written the rest."""

VALUES = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e-300, 1e9, 1e38, 10**6, 2**31, 2**63, 10**19, 10**30,
    "", "1", "1x", "a", "a\0b", "../../x", "é", "\u2028", "x" * 5_000,
    [], [1], [[]], [None], {}, {"a": 1}, {"refined": 1}, [1, 2], ["a", "b"], *RAW,
)  # fmt: skip
"""What a value of a sample is replaced by."""

PIECES = (
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b"\x0c", b"\xe2\x80\xa8", b"\x85",
    b",", b":", b'"', b"'", b"[", b"]", b"{", b"}", b"NaN", b"1e400", b"1e39", b"-1", b"1e6", b"null", b"true",
    b"7" * 5_000, b"[" * 5_000,
    b"\\ud800", b"\xc3(", b"nan", b"inf", b"0" * 400, b"\t", b"../", b"/", b"\\", b"%s", b" " * 100, b"#", b"-", b"e",
)  # fmt: skip
"""What is inserted into bytes."""


def damaged(samples: list[bytes], draw: random.Random) -> bytes:
    """Return one of the samples, mostly changed once or a few times."""
    content = draw.choice(samples)
    for _ in range(draw.choice((0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4))):
        change = draw.choices((_bytes, _lines, _json, _json_lines, _encoded), (6, 4, 12, 4, 1))[0]
        content = change(content, samples, draw)
    return content


def _bytes(content: bytes, samples: list[bytes], draw: random.Random) -> bytes:
    at, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    match draw.randrange(7):
        case 0:  # flipped bits
            flipped = bytearray(content)
            for _ in range(draw.choice((1, 1, 3, 20))):
                if flipped:
                    flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
            return bytes(flipped)
        case 1:  # cut off
            return content[:at]
        case 2:  # spliced with another sample
            other = draw.choice(samples)
            return content[:at] + other[draw.randrange(len(other) + 1) :]
        case 3:  # a part is missing
            return content[:at] + content[end:]
        case 4:  # a part comes twice
            return content[:end] + content[at : at + 2_000] + content[end:]
        case 5:  # zeros, as after a loss of power
            return content[:at] + bytes(end - at) + content[end:]
        case _:
            return content[:at] + draw.choice(PIECES) + content[at + draw.choice((0, 0, 1, 4)) :]


def _encoded(content: bytes, samples: list[bytes], draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(draw.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")), "replace")


def _lines(content: bytes, samples: list[bytes], draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            cells = lines[at].split(b",")
            cells[draw.randrange(len(cells))] = draw.choice(PIECES)
            lines[at] = b",".join(cells)
        case _:
            lines[at] = _bytes(lines[at], samples, draw)
    return b"\n".join(lines)


def _json(content: bytes, samples: list[bytes], draw: random.Random) -> bytes:
    """Change one value in JSON, or in the JSON lists of a row of the field's CSV."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _json_lines(content, samples, draw)
    if _nested(value) > 50:
        return content
    return dumped(changed(value, draw))


def _json_lines(content: bytes, samples: list[bytes], draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    parts = lines[at].split(b": ") if b": [" in lines[at] else [lines[at]]
    part = draw.randrange(len(parts))
    try:
        value = json.loads(parts[part])
    except (ValueError, RecursionError):
        return _bytes(content, samples, draw)
    if _nested(value) > 50:
        return content
    parts[part] = dumped(changed(value, draw))
    lines[at] = b": ".join(parts)
    return b"\n".join(lines)


def _nested(value: Any) -> int:
    level, depth = [value], 0
    while level := [
        inner for outer in level if isinstance(outer, list | dict)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:  # fmt: skip
        depth += 1
    return depth


def dumped(value: Any) -> bytes:
    """Return JSON with the tokens of `RAW` in their places."""
    text = json.dumps(value)
    for name, token in RAW.items():
        text = text.replace(f'"{name}"', token)
    return text.encode()


def changed(value: Any, draw: random.Random) -> Any:
    """Return a JSON value with one place in it changed."""
    places = list(_places(value))
    if not places:
        return draw.choice(VALUES)
    holder, key = draw.choice(places)
    match draw.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(("", "x", "format", "canvas", "keypoints", "refined", key + "s", key[:-1]))] = holder[
                key
            ]
        case 1:
            holder.insert(key, holder[key])
        case 2:
            holder[key] = [holder[key]]
        case 3:
            holder[key] = {"a": holder[key]}
        case 4:
            other, name = draw.choice(places)
            copied = json.loads(json.dumps(other[name]))
            holder[key] = copied
        case _:
            holder[key] = draw.choice(VALUES)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a JSON value: the list or object, and the number or key in it."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inner)


def damage_database(path: Path, draw: random.Random) -> None:
    """Change rows, tables or bytes of a SQLite database."""
    if draw.random() < 0.5:
        path.write_bytes(_bytes(path.read_bytes(), [path.read_bytes()], draw))
        return
    columns = {
        "sessions": ("rater", "number", "model", "started"),
        "answers": ("rater", "model", "position", "image", "says_real", "exposure_ms", "response_ms", "showings"),
    }
    values = (None, -1, 0, 1, 10**6, 2**62, 1e300, float("inf"), "", "a", "two", b"\xff", b"", "a\0b", "x" * 5_000)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        table = draw.choice(tuple(columns))
        column = draw.choice(columns[table])
        statements: tuple[tuple[str, tuple[Any, ...]], ...] = (
            (f"UPDATE {table} SET {column} = ? WHERE rowid % ? = 0", (draw.choice(values), draw.choice((1, 2, 3)))),
            (f"DELETE FROM {table} WHERE rowid % ? = 0", (draw.choice((1, 2, 3)),)),
            (f"DROP TABLE {table}", ()),
            (f"ALTER TABLE {table} RENAME COLUMN {column} TO other", ()),
            (f"ALTER TABLE {table} RENAME TO other", ()),
            (f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END", ()),
            ("PRAGMA user_version = 7", ()),
        )
        for statement, arguments in draw.choices(statements, (6, 2, 1, 1, 1, 1, 1), k=draw.choice((1, 1, 2))):
            with suppress(sqlite3.Error, OverflowError):
                database.execute(statement, arguments)
