"""What the file names of the data sets say (formats: Market-1501's readme, DeepFashion's partition file)."""

from __future__ import annotations

import re

MARKET1501_NAME = re.compile(r"^(?P<person>-1|\d{4})_c(?P<camera>[1-6])s\d+_\d{6}_\d{2}(?:\.jpg)+$")
"""``0224_c6s1_055726_02.jpg``: person 0224, camera 6. Person -1 is junk, 0000 a distractor.

Eighteen names of the original test split end in ``.jpg.jpg``.
"""

DEEPFASHION_FLAT_NAME = re.compile(r"^(?P<person>fas(?:h)?ion(?:MEN|WOMEN).+?id\d{8}\d{2})_\d(?P<view>[a-z]+)\.jpg$")
"""``fashionWOMENTees_Tanksid0000783805_7additional.jpg``; the person is everything before ``_<n><view>``."""


def person_of(name: str) -> str | None:
    """The person a Market-1501 or flattened DeepFashion file name speaks of; None for any other name."""
    match = MARKET1501_NAME.match(name) or DEEPFASHION_FLAT_NAME.match(name)
    return match["person"] if match else None
