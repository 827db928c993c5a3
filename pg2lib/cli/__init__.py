"""The command line, ``python -m pg2lib COMMAND``: a thin layer over the functions of the library.

Exit codes: 0 for success, 1 for an error that the user can fix, 2 for wrong usage, 130 when interrupted. ``doctor``
also exits with 1 if it finds a problem.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from pg2lib.cli import data, pictures, scoring, training
from pg2lib.cli.options import closing_bars
from pg2lib.errors import PG2Error, way_out

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: command-line arguments; by default those of the process.
    """
    options = make_parser().parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with closing_bars():
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
    except OSError as error:  # of a file or a system library that the command itself says nothing about
        log.info("", exc_info=True)
        about = "" if error.filename is None else f"{error.filename}: "
        print(f"pg2lib: {about}{error.strerror or error}. {way_out(error)}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pg2lib",
        description="Pose Guided Person Image Generation (Ma et al., NIPS 2017): generate images of a person in a new "
        "pose, and train and evaluate the models that do so.",
        epilog="python -m pg2lib COMMAND --help describes a command.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show progress messages")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, training, scoring, pictures):
        group.add_commands(commands)
    return parser
