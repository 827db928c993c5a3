"""The mutants: faults to put into the code, and the tests that should notice each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        name: what is wrong with the mutant.
        file: path from the root of the repository.
        sound: the text to replace, which occurs exactly once in the file.
        broken: what stands there instead.
        tests: arguments of pytest that select the tests which should notice.
    """

    name: str
    file: str
    sound: str
    broken: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """The file's text with the fault in it.

        Raises:
            ValueError: the text to replace does not occur exactly once.
        """
        if (count := text.count(self.sound)) != 1:
            raise ValueError(f"{self.name}: {self.sound!r} occurs {count} times in {self.file}; it must occur once")
        return text.replace(self.sound, self.broken)


MUTANTS: tuple[Mutant, ...] = ()
