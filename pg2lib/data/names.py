"""What the file names of the data sets say (formats: Market-1501's readme, DeepFashion's partition file)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from pg2lib.errors import DataError

MARKET1501_NAME = re.compile(r"^(?P<person>-1|\d{4})_c(?P<camera>[1-6])s\d+_\d{6}_\d{2}(?:\.jpg)+$")
"""``0224_c6s1_055726_02.jpg``: person 0224, camera 6. Person -1 is junk, 0000 a distractor.

Eighteen names of the original test split end in ``.jpg.jpg``.
"""

DEEPFASHION_FLAT_NAME = re.compile(
    r"^(?P<person>fas(?:h)?ion(?P<gender>MEN|WOMEN)(?P<category>[^/]+?)id_?(?P<item>\d{8})_?(?P<variant>\d{2}))"
    r"_?(?P<number>\d)_?(?P<view>[a-z]+)\.jpg$"
)
"""``fashionWOMENTees_Tanksid0000783805_7additional.jpg``; the person is everything before ``_<n><view>``.

Older lists write ``fasion`` and leave out underscores: ``fasionMENTeesTanksid0000347017_3back.jpg``.
"""

DEEPFASHION_PATH = re.compile(
    r"(?:^|/)(?P<gender>MEN|WOMEN)/(?P<category>[^/]+)/id_(?P<item>\d{8})/"
    r"(?P<variant>\d{2})_(?P<number>\d)_(?P<view>[a-z]+)\.jpg$"
)
"""``img/WOMEN/Dresses/id_00000002/02_1_front.jpg``, whatever comes before the gender."""

DEEPFASHION_VIEWS = ("front", "side", "back", "full", "additional", "flat")
"""What an In-shop image shows; ``flat`` is the garment without a person."""


@dataclass(frozen=True)
class DeepFashionName:
    """What the name of a DeepFashion In-shop image says, flattened or a path.

    Attributes:
        gender: MEN or WOMEN.
        category: as it is spelt: ``Tees_Tanks``, in older lists ``TeesTanks``.
        item: 8 digits, the garment.
        variant: 2 digits: the item's colour, and so the outfit.
        number: 1 digit: the outfit's image.
        view: one of DEEPFASHION_VIEWS, unless the name is odd.
    """

    gender: str
    category: str
    item: str
    variant: str
    number: str
    view: str

    @property
    def item_key(self) -> str:
        """The item, the same for every spelling: the category without underscores."""
        return f"fashion{self.gender}{self.category.replace('_', '')}id{self.item}"

    @property
    def outfit_key(self) -> str:
        """The outfit (item and variant), the same for every spelling."""
        return self.item_key + self.variant

    @property
    def image_key(self) -> str:
        """The image, the same for every spelling and layout."""
        return f"{self.outfit_key}_{self.number}{self.view}.jpg"

    @property
    def flat_name(self) -> str:
        """The flattened name as the field's CSV has it, with the category as it is spelt here."""
        return f"fashion{self.gender}{self.category}id{self.item}{self.variant}_{self.number}{self.view}.jpg"


def parse_deepfashion(name_or_path: str) -> DeepFashionName | None:
    """What a DeepFashion name says: a flattened name of either spelling, or a path in the original layout (posix).

    Returns:
        None for any other name.
    """
    match = DEEPFASHION_PATH.search(name_or_path) or DEEPFASHION_FLAT_NAME.match(name_or_path.rpartition("/")[2])
    if match is None:
        return None
    return DeepFashionName(*match.group("gender", "category", "item", "variant", "number", "view"))


def checked_name(name: str, where: str | None = None) -> str:
    """The name of an image in a table, as it is: a path below the folder of the images, which a row can hold.

    Whoever reads or writes names that become paths checks them here.

    Args:
        name: posix.
        where: the file and line, or the folder, for the error.

    Raises:
        DataError: the name leads out of that folder (absolute, or with ``..``), or does not come out of a keypoint CSV
            as it went in: it is no UTF-8, is not on one line, has a tab, or a blank at an end.
    """
    path = Path(name)
    if path.anchor or PureWindowsPath(name).drive or ".." in path.parts or not path.name or "\0" in name:
        reason = "it does not lie below the folder of the images; expected a path such as anna/beach.jpg"
    elif not _is_a_line(name):
        reason = "it must be UTF-8 on one line, without a tab or a blank at its ends; rename the file"
    else:
        return name
    place = "" if where is None else f"{where}: "
    raise DataError(f"{place}the name {name!r} cannot stand in a keypoint CSV: {reason}")


def _is_a_line(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name] and name.strip() == name and "\t" not in name


def posix_path(name: str) -> str:
    r"""Return a path from an annotation file with slashes: files made on Windows hold ``images\a.jpg``."""
    return name.replace("\\", "/").removeprefix("./")


def person_of(name: str) -> str | None:
    """The person a Market-1501 or flattened DeepFashion file name speaks of; None for any other name."""
    match = MARKET1501_NAME.match(name) or DEEPFASHION_FLAT_NAME.match(name)
    return match["person"] if match else None


def canonical_name(relative: str) -> str:
    """The name that the field's CSV uses for an image.

    Args:
        relative: the image's path relative to a data folder, posix.

    Returns:
        Market-1501 and flattened DeepFashion: the file name. DeepFashion's original layout: the flattened name,
        ``fashionWOMENDressesid0000000202_1front.jpg``. Anything else: the path unchanged.
    """
    file_name = relative.rpartition("/")[2]
    if MARKET1501_NAME.match(file_name) or DEEPFASHION_FLAT_NAME.match(file_name):
        return file_name
    parsed = parse_deepfashion(relative)
    return parsed.flat_name if parsed else relative


def image_key(name: str) -> str:
    """What two names of one image have in common: DeepFashion's spellings and paths become one; other names stay."""
    parsed = parse_deepfashion(name)
    return parsed.image_key if parsed else name
