"""The command line, ``python -m pg2lib COMMAND``: thin over the library's functions.

Exit codes: 0 done, 1 something a user can mend (one line says what), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from pg2lib.cli import data, pictures, training
from pg2lib.errors import PG2Error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    Args:
        arguments: by default those of the process.
    """
    options = make_parser().parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except PG2Error as error:
        print(f"pg2lib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pg2lib: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(prog="pg2lib", description="Pose Guided Person Image Generation (Ma et al. 2017).")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on the way")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, training, pictures):
        group.add_commands(commands)
    return parser
