"""A user study on disk: its images, its protocol, the sessions of its raters and their answers.

::

    study.json        title, data, protocol, which images are real and which model generated the others
    images/           00000.png and so on, real and generated ones in random order
    answers.sqlite3   sessions and answers; every answer is a transaction of its own

Any number of processes and threads may use a study at the same time, if it lies on a local disk. Of a rater only a
random name is stored: no address, no browser and nothing about the person.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any, get_type_hints

from pg2lib.errors import ConfigError, DataError
from pg2lib.json_files import checked_fields, read_json

FORMAT = "pg2lib user study 1"
STUDY_NAME, IMAGES_NAME, ANSWERS_NAME = "study.json", "images", "answers.sqlite3"

RATER = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")

SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    rater TEXT NOT NULL,
    number INTEGER NOT NULL,  -- 1 for a rater's first session
    model TEXT NOT NULL,
    started TEXT NOT NULL,  -- UTC, ISO 8601
    PRIMARY KEY (rater, model),
    UNIQUE (rater, number)
);
CREATE TABLE IF NOT EXISTS answers (
    rater TEXT NOT NULL,
    model TEXT NOT NULL,
    position INTEGER NOT NULL,  -- 0 for the first image of a session
    image TEXT NOT NULL,
    says_real INTEGER NOT NULL CHECK (says_real IN (0, 1)),
    exposure_ms REAL NOT NULL,
    response_ms REAL NOT NULL,
    showings INTEGER NOT NULL,
    answered TEXT NOT NULL,  -- UTC, ISO 8601
    PRIMARY KEY (rater, model, position),
    FOREIGN KEY (rater, model) REFERENCES sessions (rater, model)
);
"""

MAX_MS, MAX_SHOWINGS = 10**12, 10**6
"""The longest time in milliseconds and the most showings of an image that an answer may tell."""

SOUND = (
    "SELECT 'it has a ' || type || ' ' || name FROM sqlite_master WHERE type NOT IN ('table', 'index')",
    "SELECT 'a session is of another form' FROM sessions WHERE typeof(rater) <> 'text' OR typeof(model) <> 'text' "
    "OR typeof(number) <> 'integer' OR number < 1",
    "SELECT 'an answer is of another form' FROM answers WHERE typeof(rater) <> 'text' OR typeof(model) <> 'text' "
    "OR typeof(position) <> 'integer' OR typeof(image) <> 'text' OR typeof(says_real) <> 'integer' "
    "OR typeof(showings) <> 'integer' OR typeof(exposure_ms) <> 'real' OR typeof(response_ms) <> 'real' "
    f"OR NOT exposure_ms BETWEEN 0 AND {MAX_MS} OR NOT response_ms BETWEEN 0 AND {MAX_MS} "
    f"OR NOT showings BETWEEN 1 AND {MAX_SHOWINGS}",
    "SELECT 'answers of a session are missing' FROM answers GROUP BY rater, model "
    "HAVING MIN(position) <> 0 OR MAX(position) <> COUNT(*) - 1",
)
"""Queries that return nothing for a database that this module wrote."""


@dataclass(frozen=True)
class Protocol:
    """The course of a session, in which one rater judges images of one model. By default that of the paper.

    The paper does not say how many of the practice images are real. Here half of them are, so that every rater sees
    both kinds during practice and scores the same number of each. Raters are never told whether an answer was right,
    not even during practice.

    Attributes:
        real: number of real images in a session, including those for practice.
        generated: number of generated images in a session, including those for practice.
        practice: number of images at the start that are not scored; even.
        exposure_s: time for which an image is shown, in seconds.
        seed: random seed of the order of the images, which is different for every rater.

    Raises:
        ConfigError: a number is out of range.

    References:
        Ma et al. 2017, section 4.4.
    """

    real: int = 55
    generated: int = 55
    practice: int = 10
    exposure_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.practice < 0 or self.practice % 2:
            raise ConfigError(
                f"practice must be even and not negative, since half of these images are real; got {self.practice}"
            )
        for name in ("real", "generated"):
            if getattr(self, name) <= self.practice // 2:
                raise ConfigError(
                    f"{name} must be more than {self.practice // 2}, the number of these images that are practice; got "
                    f"{getattr(self, name)}"
                )
        if not (math.isfinite(self.exposure_s) and self.exposure_s > 0):
            raise ConfigError(f"exposure_s must be a positive number of seconds, got {self.exposure_s}")

    @property
    def images(self) -> int:
        """Number of images in a session."""
        return self.real + self.generated


@dataclass(frozen=True)
class Study:
    """A user study. `create_study` makes one, and `Study.open` opens it.

    Attributes:
        folder: folder of the study.
        title: heading that raters see.
        data: name of the data set, such as "DeepFashion".
        protocol: course of every session.
        canvas: (height, width) of every image in pixels.
        real: file names of the real images.
        generated: file names of the generated images by the name of their model.
        made_with: version, commit and hardware with which the study was made.
    """

    folder: Path
    title: str
    data: str
    protocol: Protocol
    canvas: tuple[int, int]
    real: tuple[str, ...]
    generated: Mapping[str, tuple[str, ...]]
    made_with: Mapping[str, Any]

    def __repr__(self) -> str:
        return (
            f"Study({self.title!r}, {self.data}, {len(self.real):,} real images, models: {', '.join(self.generated)}, "
            f"{len(self.raters())} raters so far, in {self.folder})"
        )

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Study:
        """Open the study in a folder.

        Raises:
            DataError: the folder holds no study or one of another format, an image is missing, there are fewer images
                than a session shows, or a name or link leads out of the folder.
        """
        path = Path(folder) / STUDY_NAME
        try:
            values = read_json(path)
        except FileNotFoundError as error:
            raise DataError(f"{folder} holds no study: it has no {STUDY_NAME}; make one with create_study") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not of the format {FORMAT!r}; was it made by another version of pg2lib?")
        kinds = {name: kind for name, kind in get_type_hints(cls).items() if name != "folder"}
        study = cls(folder=Path(folder), **checked_fields(kinds, values, f"{path} does not describe a study"))
        study._check_images(path)
        with study.database() as database:
            database.executescript(SCHEMA)
            study._check_answers(database)
        return study

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order in which they were given."""
        return tuple(self.generated)

    def image_path(self, name: str) -> Path:
        """Return the path of an image of the study.

        Raises:
            DataError: the name or a link leads out of the folder of the images.
        """
        return self._inside(IMAGES_NAME, name)

    def is_real(self, name: str) -> bool:
        """Return whether an image of the study is real."""
        return name in self.real

    def raters(self) -> tuple[str, ...]:
        """Return the names of all raters who have begun a session, in the order in which they began."""
        with self.database() as database:
            rows = database.execute("SELECT rater FROM sessions WHERE number = 1 ORDER BY started, rowid").fetchall()
        return tuple(row["rater"] for row in rows)

    @staticmethod
    def new_rater() -> str:
        """Return a random name for a new rater."""
        return secrets.token_hex(8)

    def session(self, rater: str, model: str) -> Session:
        """Begin a rater's session about one model, or return the one that was begun before.

        Raises:
            DataError: the rater's name is invalid, or the study has no such model.
        """
        if model not in self.generated:
            raise DataError(f"the study has no model {model!r}; it has {', '.join(self.models)}")
        with self.database() as database:
            database.execute("BEGIN IMMEDIATE")  # so that no other process gives the same number
            return self._begin(database, _check_rater(rater), model)

    def sessions_of(self, rater: str) -> list[Session]:
        """Return the sessions that a rater has begun, in that order; an unknown rater has none.

        Raises:
            DataError: the rater's name is invalid.
        """
        with self.database() as database:
            return self._sessions(database, _check_rater(rater))

    def next_session(self, rater: str) -> Session | None:
        """Return the rater's unfinished session, or else begin one about another model.

        Of the models that the rater has not judged yet, the one with the fewest sessions is chosen.

        Returns:
            The session; None if the rater has judged all models.

        Raises:
            DataError: the rater's name is invalid.
        """
        with self.database() as database:
            database.execute("BEGIN IMMEDIATE")
            sessions = self._sessions(database, _check_rater(rater))
            for session in sessions:
                if session._answered(database) < len(session):
                    return session
            begun = dict.fromkeys(self.models, 0)
            begun.update(database.execute("SELECT model, COUNT(*) FROM sessions GROUP BY model").fetchall())
            left = [model for model in self.models if model not in {session.model for session in sessions}]
            return self._begin(database, rater, min(left, key=begun.__getitem__)) if left else None

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Open a new connection to the database, which commits at the end and rolls back after an error.

        Committed data are on the disk, not only in the cache of the operating system.

        Raises:
            DataError: the database is damaged, is locked for a minute, or cannot be read or written, for example as
                the disk is full or the folder read-only.
        """
        path = self._inside(ANSWERS_NAME)
        try:
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                with connection:
                    yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug of ours
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite may quote damaged names in its messages
            raise DataError(
                f"the answers in {path} cannot be read or written: {error}. Free some space on its disk or make its "
                f"folder writable, then try again; every answer that was confirmed is kept. If the file is damaged, "
                f"restore it from a backup"
            ) from error

    def _begin(self, database: sqlite3.Connection, rater: str, model: str) -> Session:
        sessions = self._sessions(database, rater)
        for session in sessions:
            if session.model == model:
                return session
        number = len(sessions) + 1
        database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (rater, number, model, _now()))
        return Session(self, rater, number, model, self.order(rater, model))

    def _sessions(self, database: sqlite3.Connection, rater: str) -> list[Session]:
        query = "SELECT number, model FROM sessions WHERE rater = ? ORDER BY number"
        rows = database.execute(query, (rater,)).fetchall()
        return [Session(self, rater, row["number"], row["model"], self.order(rater, row["model"])) for row in rows]

    def order(self, rater: str, model: str) -> tuple[str, ...]:
        """Return the file names of a rater's session in the order in which they are shown, practice first.

        The order depends on the protocol's seed, the rater and the model only. If there are enough real images, a rater
        sees different ones with every model.
        """
        protocol = self.protocol
        start = self.models.index(model) * protocol.real
        of_rater = shuffled(self.real, f"{protocol.seed}/{rater}")
        real = [of_rater[(start + place) % len(of_rater)] for place in range(protocol.real)]
        generated = shuffled(self.generated[model], f"{protocol.seed}/{rater}/{model}")[: protocol.generated]
        half = protocol.practice // 2
        key = f"{protocol.seed}/{rater}/{model}/order"
        return (*shuffled(real[:half] + generated[:half], key), *shuffled(real[half:] + generated[half:], key))

    def _inside(self, *parts: str) -> Path:
        """Return a path in the folder of the study, whose names and links must not lead out of it.

        The folder may come from anybody.
        """
        *folders, name = parts
        if FILE_NAME.fullmatch(name):
            path = self.folder.joinpath(*parts)
            # For a loop of links Python raises before 3.13, and returns the path unchanged since.
            with suppress(RuntimeError):
                if path.resolve().parent == self.folder.resolve().joinpath(*folders):
                    return path
        place = "/".join(("the folder of the study", *folders))
        raise DataError(f"{name[:80]!r} is not the name of a file that itself lies in {place}")

    def _check_answers(self, database: sqlite3.Connection) -> None:
        """Check that the database is sound and holds nothing but what this module writes."""
        (sound,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        wrong = None if sound == "ok" else sound
        for problem in SOUND:
            row = database.execute(problem).fetchone() if wrong is None else None
            wrong = wrong if row is None else f"{row[0]}"
        models = {row[0] for row in database.execute("SELECT model FROM sessions UNION SELECT model FROM answers")}
        if wrong is None and models - {*self.models}:
            wrong = f"{STUDY_NAME} has no model {min(models - {*self.models})[:80]!r}"
        if wrong is not None:
            raise DataError(f"{self.folder / ANSWERS_NAME} is damaged: {wrong}; restore it from a backup")

    def _check_images(self, path: Path) -> None:
        """Check that ``study.json``, at `path`, lists enough images, and that they are files of the study."""
        protocol = self.protocol
        lists = [("real", protocol.real, self.real)]
        lists += [(f"generated, {model}", protocol.generated, names) for model, names in self.generated.items()]
        for field, needed, names in lists:
            if len(names) < needed:
                raise DataError(f"{path}: {field}: a session shows {needed} images, but {len(names)} are listed")
            for name in names:
                try:
                    self.image_path(name)
                except DataError as error:
                    raise DataError(f"{path}: {field}: {error}") from error
        every = sorted(set(self.real).union(*self.generated.values()))
        missing = [name for name in every if not self.image_path(name).is_file()]
        if missing:
            raise DataError(f"{self.folder / IMAGES_NAME} lacks {len(missing)} images of the study: {missing[:5]}")


@dataclass(frozen=True)
class Session:
    """The session of one rater about one model.

    Attributes:
        study: the study.
        rater: name of the rater.
        number: 1 for the rater's first session.
        model: model whose images are shown among real ones.
        images: file names in the order in which they are shown; the first `Protocol.practice` are not scored.
    """

    study: Study
    rater: str
    number: int
    model: str
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Session({self.rater}, {self.model}: {self.answered} of {len(self)} images answered)"

    @property
    def answered(self) -> int:
        """Number of stored answers, which is also the position of the first image without one."""
        with self.study.database() as database:
            return self._answered(database)

    @property
    def finished(self) -> bool:
        """Whether every image has an answer."""
        return self.answered == len(self)

    def image_path(self, position: int) -> Path:
        """Return the path of the image at a position.

        Raises:
            DataError: the session has no such position.
        """
        return self.study.image_path(self.images[self._check(position)])

    def answer(self, position: int, says_real: bool, exposure_ms: float, response_ms: float, showings: int = 1) -> int:
        """Store the rater's answer for the image at a position.

        The answer is on the disk when this returns. Storing the same answer again changes nothing, so that an answer
        may be sent again if its confirmation got lost.

        Args:
            position: first position without an answer, or that of an answer sent again.
            says_real: whether the rater takes the image for real.
            exposure_ms: time for which the image was visible in milliseconds, measured where it was shown.
            response_ms: time from the end of the exposure to the answer in milliseconds.
            showings: how many times the image was shown; more than once if the rater was interrupted while it was
                visible.

        Returns:
            The number of stored answers of the session.

        Raises:
            DataError: the session has no such position, an earlier position has no answer, another answer is stored for
                the position, or a number is out of range.
        """
        for name, value in (("exposure_ms", exposure_ms), ("response_ms", response_ms)):
            if not 0 <= value <= MAX_MS:
                raise DataError(f"{name} must be a number of milliseconds from 0 to {MAX_MS:,}, got {value}")
        if not 1 <= showings <= MAX_SHOWINGS:
            raise DataError(f"showings must be from 1 to {MAX_SHOWINGS:,}, got {showings}")
        image = self.images[self._check(position)]
        given = (image, int(says_real), float(exposure_ms), float(response_ms), int(showings))
        with self.study.database() as database:
            database.execute("BEGIN IMMEDIATE")
            answered = self._answered(database)
            if position > answered:
                raise DataError(f"position {position} cannot be answered before position {answered}")
            if position < answered:
                self._refuse_another(database, position, given)
                return answered
            database.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.rater, self.model, position, *given, _now()),
            )
        return answered + 1

    def _answered(self, database: sqlite3.Connection) -> int:
        query = "SELECT COUNT(*) FROM answers WHERE rater = ? AND model = ?"
        return int(database.execute(query, (self.rater, self.model)).fetchone()[0])

    def _refuse_another(self, database: sqlite3.Connection, position: int, given: tuple[object, ...]) -> None:
        query = (
            "SELECT image, says_real, exposure_ms, response_ms, showings FROM answers "
            "WHERE rater = ? AND model = ? AND position = ?"
        )
        stored = tuple(database.execute(query, (self.rater, self.model, position)).fetchone() or ())
        if stored != given:
            raise DataError(
                f"position {position} already has another answer, which is kept; is the session open in two windows?"
            )

    def _check(self, position: int) -> int:
        if not 0 <= position < len(self):
            raise DataError(f"the session has positions 0 to {len(self) - 1}, got {position}")
        return position


def shuffled(items: Sequence[Any], key: str) -> list[Any]:
    """Return the items in an order that depends on them and on the key only, on every machine and in every version."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{key}/{item}".encode()).digest())


def _check_rater(rater: str) -> str:
    if not RATER.fullmatch(rater):
        raise DataError(
            f"invalid rater name {rater[:80]!r}: expected 1 to 64 characters, each an ASCII letter, a digit, '-' or '_'"
        )
    return rater


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
