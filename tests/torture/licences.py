"""List the licences of the packages that pg2lib and its extras bring, as the metadata of this environment name them.

    python tests/torture/licences.py                # every extra
    python tests/torture/licences.py --extras pose  # the core and what finds people in photos

Packages whose licence asks something of whoever passes them on (GPL, LGPL, MPL and the like) are marked, as are those
that name none. pg2lib itself passes none of them on: pip installs them. Metadata speak of a package's own code. The
wheels of av, pillow-heif and opencv also contain FFmpeg, libheif and codecs, some under the LGPL or GPL.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from versions import direct_dependencies

RECIPROCAL = re.compile(r"\b(A?GPL|LGPL|GNU|MPL|Mozilla|EPL|CDDL|EUPL|CC-BY-SA)", re.IGNORECASE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="demo,dev,heif,notebooks,onnx,pose,video", help="(default: %(default)s)")
    extras = parser.parse_args(arguments).extras.split(",")
    rows = []
    for name in sorted(installed_for(direct_dependencies(extras))):
        licence = licence_of(name)
        note = "reciprocal" if RECIPROCAL.search(licence) else "" if licence else "none named"
        rows.append((name, metadata.version(name), licence, note))
    print("| package | version | licence | note |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    marked = [row[0] for row in rows if row[3]]
    print(f"\n{len(rows)} packages, {len(marked)} marked: {', '.join(marked)}")
    return 0


def installed_for(requirements: Sequence[Requirement]) -> set[str]:
    """Return the installed packages that are required, directly or not, by their normalised names."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system or Python
        found.add(name)
        waiting.extend(
            each
            for each in map(Requirement, lines)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        )
    return found


def licence_of(name: str) -> str:
    """Return what the metadata of a package say: the expression, else the classifiers, else the text's first line."""
    fields = metadata.metadata(name)
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [each.rpartition(" :: ")[2] for each in fields.get_all("Classifier") or [] if each[:7] == "License"]
    if named := [each for each in classifiers if each != "OSI Approved"]:
        return ", ".join(named)
    text = str(fields.get("License") or "").strip()
    return text.splitlines()[0][:60] if text else ""


if __name__ == "__main__":
    sys.exit(main())
