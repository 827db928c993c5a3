"""A study on disk: images, protocol, raters' sessions, and every answer in one transaction of its own.

    study.json        title, data, protocol, which image is real or whose, and what it was made with
    images/           00000.png and so on, in an order that tells nothing
    answers.sqlite3   sessions and answers

Any number of processes and threads may work on one study at once, on a local disk. Whoever rates is a random name and
nothing else: no address, no browser, no person.
"""

from __future__ import annotations

import hashlib
import json
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
from typing import Any

from pg2lib.errors import ConfigError, DataError

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


@dataclass(frozen=True)
class Protocol:
    """What a rater goes through in one session, which is about one model. By default the paper's (section 4.4).

    The paper leaves to chance how many of the practice images are real. Here half of them are, so that every rater
    knows both kinds and has as many scored images of each. Nobody is told whether an answer was right, nor in practice.

    Attributes:
        real, generated: images of each kind in a session, practice included.
        practice: how many images at the start are not scored; even.
        exposure_s: how long an image is seen, in seconds.
        seed: of every rater's order.
    """

    real: int = 55
    generated: int = 55
    practice: int = 10
    exposure_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.practice < 0 or self.practice % 2:
            raise ConfigError(f"practice must be even and not negative, half real and half not; got {self.practice}")
        for name in ("real", "generated"):
            if getattr(self, name) <= self.practice // 2:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, {self.practice // 2} of them practice: none is left to score"
                )
        if not (math.isfinite(self.exposure_s) and self.exposure_s > 0):
            raise ConfigError(f"exposure_s must be a number of seconds above 0, got {self.exposure_s}")

    @property
    def images(self) -> int:
        """In a session."""
        return self.real + self.generated


@dataclass(frozen=True)
class Study:
    """A study to hold sessions of, and to read answers from; see `create_study`.

    Attributes:
        folder: where it is.
        title: what raters read above it.
        data: what the images show, say "DeepFashion".
        protocol: of every session.
        canvas: (height, width) of every image.
        real: file names of the real images.
        generated: file names of the generated images, by model.
        made_with: code version, commit and hardware.
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
            f"Study({self.title!r}, {self.data}: {len(self.real):,} real images, generated ones of "
            f"{', '.join(self.generated)}; raters so far: {len(self.raters())}; in {self.folder})"
        )

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> Study:
        """Opens a study that `create_study` made.

        Raises:
            DataError: no such folder, no study in it, one of another format, fewer images than a session shows, images
                missing from it, or a name or a link that leads out of it.
        """
        path = Path(folder) / STUDY_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{folder} holds no study: it has no {STUDY_NAME}; make one with create_study") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not of the format {FORMAT!r}; was it made by another version?")
        try:
            study = cls(
                folder=Path(folder),
                title=values["title"],
                data=values["data"],
                protocol=Protocol(**values["protocol"]),
                canvas=(values["canvas"][0], values["canvas"][1]),
                real=tuple(values["real"]),
                generated={model: tuple(names) for model, names in values["generated"].items()},
                made_with=values["made_with"],
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(f"{path} does not describe a study: {error!r}") from error
        study._check_images(path)
        with study.database() as database:
            database.executescript(SCHEMA)
        return study

    @property
    def models(self) -> tuple[str, ...]:
        """The models under study, in the order they were given."""
        return tuple(self.generated)

    def image_path(self, name: str) -> Path:
        """Where an image of the study lies.

        Raises:
            DataError: the name or a link leads out of the folder of the images.
        """
        return self._inside(IMAGES_NAME, name)

    def is_real(self, name: str) -> bool:
        """What an image of the study truly is."""
        return name in self.real

    def raters(self) -> tuple[str, ...]:
        """Everybody who has begun, in that order."""
        with self.database() as database:
            rows = database.execute("SELECT rater FROM sessions WHERE number = 1 ORDER BY started, rowid").fetchall()
        return tuple(row["rater"] for row in rows)

    @staticmethod
    def new_rater() -> str:
        """A random name for somebody new."""
        return secrets.token_hex(8)

    def session(self, rater: str, model: str) -> Session:
        """A rater's session about one model; begun, or gone on with.

        Raises:
            DataError: a name that no rater can have, or a model that is not in the study.
        """
        if model not in self.generated:
            raise DataError(f"the study has no model {model!r}; it has {', '.join(self.models)}")
        with self.database() as database:
            database.execute("BEGIN IMMEDIATE")  # so that no other process gives the same number
            return self._begin(database, check_rater(rater), model)

    def sessions_of(self, rater: str) -> list[Session]:
        """The sessions a rater has begun, in that order; none for a rater that nobody knows.

        Raises:
            DataError: a name that no rater can have.
        """
        with self.database() as database:
            return self._sessions(database, check_rater(rater))

    def next_session(self, rater: str) -> Session | None:
        """What a rater should do next: the session that is not finished, else one about another model.

        Of the models the rater has not judged, it is the one that the fewest have begun with. None: nothing is left.

        Raises:
            DataError: a name that no rater can have.
        """
        with self.database() as database:
            database.execute("BEGIN IMMEDIATE")
            sessions = self._sessions(database, check_rater(rater))
            for session in sessions:
                if session._answered(database) < len(session):
                    return session
            begun = dict.fromkeys(self.models, 0)
            begun.update(database.execute("SELECT model, COUNT(*) FROM sessions GROUP BY model").fetchall())
            left = [model for model in self.models if model not in {session.model for session in sessions}]
            return self._begin(database, rater, min(left, key=begun.__getitem__)) if left else None

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, which commits at the end and rolls back on an error.

        What is committed is on the disk, not merely with the operating system.
        """
        with closing(sqlite3.connect(self._inside(ANSWERS_NAME), timeout=60)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            with connection:
                yield connection

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
        """The images of a rater's session, practice first: a function of the seed, the rater and the model alone.

        A rater sees other real images with every model as far as the study has enough of them.
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
        """A path in the folder of the study, which may come from anybody: its names and links must not lead out."""
        *folders, name = parts
        if FILE_NAME.fullmatch(name):
            path = self.folder.joinpath(*parts)
            # On a circle of links Python raises before 3.13, and later returns the path as it is.
            with suppress(RuntimeError):
                if path.resolve().parent == self.folder.resolve().joinpath(*folders):
                    return path
        place = "/".join(("the folder of the study", *folders))
        raise DataError(f"{name[:80]!r} is not the name of a file that itself lies in {place}")

    def _check_images(self, path: Path) -> None:
        """Refuses what ``study.json``, at `path`, says of images that are not those of the study or too few."""
        protocol = self.protocol
        lists = [("real", protocol.real, self.real)]
        lists += [(f"generated, {model}", protocol.generated, names) for model, names in self.generated.items()]
        for field, needed, names in lists:
            if len(names) < needed:
                raise DataError(f"{path}: {field}: a session shows {needed} images, and {len(names)} are listed")
            for name in names:
                if not isinstance(name, str):
                    raise DataError(f"{path}: {field}: an image is given by the name of its file, got {name!r}")
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
    """One rater and one model: which image comes at which position, and the answers so far.

    Attributes:
        study: where the answers go.
        rater: who rates.
        number: 1 for the rater's first session.
        model: whose images are among the real ones.
        images: file names, in the order they are shown; the first `Protocol.practice` are not scored.
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
        """How many answers are stored; also the position of the first image without one."""
        with self.study.database() as database:
            return self._answered(database)

    @property
    def finished(self) -> bool:
        """Whether every image is answered."""
        return self.answered == len(self)

    def image_path(self, position: int) -> Path:
        """Where the image at a position lies.

        Raises:
            DataError: the session has no such position.
        """
        return self.study.image_path(self.images[self._check(position)])

    def answer(self, position: int, says_real: bool, exposure_ms: float, response_ms: float, showings: int = 1) -> int:
        """Stores what the rater says of the image at a position. When this returns, the answer is on the disk.

        The same answer given again changes nothing, so that whoever gets no confirmation can send it once more.

        Args:
            position: the first one without an answer, or one whose answer is given again.
            says_real: the rater's opinion.
            exposure_ms: how long the image was seen, as measured where it was shown.
            response_ms: from the image's end to the answer.
            showings: how often the image has been shown; more than once if the rater broke off while looking at it.

        Returns:
            How many answers of the session are stored.

        Raises:
            DataError: no such position, one before it is not answered, another answer is stored for it, or a time is
                negative or no number.
        """
        for name, value in (("exposure_ms", exposure_ms), ("response_ms", response_ms)):
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"{name} must be a number of milliseconds, not negative; got {value}")
        if showings < 1:
            raise DataError(f"showings must be 1 or more, got {showings}")
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
        stored = tuple(database.execute(query, (self.rater, self.model, position)).fetchone())
        if stored != given:
            raise DataError(
                f"position {position} already has another answer, which stays; is the session open in two windows?"
            )

    def _check(self, position: int) -> int:
        if not 0 <= position < len(self):
            raise DataError(f"the session has positions 0 to {len(self) - 1}, got {position}")
        return position


def check_rater(rater: str) -> str:
    """The name of a rater, as it is.

    Raises:
        DataError: a name that no rater can have.
    """
    if not RATER.fullmatch(rater):
        raise DataError(f"a rater's name is 1 to 64 letters, digits, '-' and '_', got {rater[:80]!r}")
    return rater


def shuffled(items: Sequence[Any], key: str) -> list[Any]:
    """An order that depends on the key and the items alone, for ever and on every machine."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{key}/{item}".encode()).digest())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
