"""The file names of the data sets (formats: the readme of Market-1501, the partition file of DeepFashion)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from pg2lib.errors import DataError
from pg2lib.files import IMAGE_SUFFIXES
from pg2lib.json_files import shown

MOST_BYTES = 255
"""The longest name of a file or folder, in bytes of UTF-8, that common file systems hold."""

_SUFFIX = rf"(?i:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})"
"""Data sets are published as JPEG and often kept as PNG."""

MARKET1501_NAME = re.compile(
    rf"^(?P<image>(?P<person>-1|\d{{4}})_c(?P<camera>[1-6])s\d+_\d{{6}}_\d{{2}})(?:\.jpg)*{_SUFFIX}$"
)
"""``0224_c6s1_055726_02.jpg``: person 0224, camera 6. Person -1 is junk, 0000 a distractor.

Eighteen names of the original test split end in ``.jpg.jpg``.
"""

DUKEMTMC_NAME = re.compile(rf"^(?P<image>(?P<person>\d{{4}})_c(?P<camera>[1-8])_f\d{{7}}){_SUFFIX}$")
"""``0005_c2_f0046985.jpg`` of DukeMTMC-reID, which has the folders of Market-1501: person 0005, camera 2."""

DEEPFASHION_FLAT_NAME = re.compile(
    r"^(?P<person>fas(?:h)?ion(?P<gender>MEN|WOMEN)(?P<category>[^/]+?)id_?(?P<item>\d{8})_?(?P<variant>\d{2}))"
    rf"_?(?P<number>\d)_?(?P<view>[a-z]+){_SUFFIX}$"
)
"""``fashionWOMENTees_Tanksid0000783805_7additional.jpg``; the person is everything before ``_<n><view>``.

Older lists write ``fasion`` and omit underscores: ``fasionMENTeesTanksid0000347017_3back.jpg``.
"""

DEEPFASHION_PATH = re.compile(
    r"(?:^|/)(?P<gender>MEN|WOMEN)/(?P<category>[^/]+)/id_(?P<item>\d{8})/"
    rf"(?P<variant>\d{{2}})_(?P<number>\d)_(?P<view>[a-z]+){_SUFFIX}$"
)
"""``img/WOMEN/Dresses/id_00000002/02_1_front.jpg``, with any folders before the gender."""

DEEPFASHION_VIEWS = ("front", "side", "back", "full", "additional", "flat")
"""The views of In-shop images; ``flat`` is the garment without a person."""


@dataclass(frozen=True)
class DeepFashionName:
    """The fields of the name of a DeepFashion In-shop image.

    Attributes:
        gender: MEN or WOMEN.
        category: In the spelling of the name: ``Tees_Tanks``, in older lists ``TeesTanks``.
        item: The garment, 8 digits.
        variant: The colour of the item, which makes it an outfit, 2 digits.
        number: The image of the outfit, 1 digit.
        view: One of `DEEPFASHION_VIEWS` in the original data set.
    """

    gender: str
    category: str
    item: str
    variant: str
    number: str
    view: str

    @property
    def item_key(self) -> str:
        """The item, equal for all spellings: the category has no underscores."""
        return f"fashion{self.gender}{self.category.replace('_', '')}id{self.item}"

    @property
    def outfit_key(self) -> str:
        """The outfit (item and variant), equal for all spellings."""
        return self.item_key + self.variant

    @property
    def image_key(self) -> str:
        """The image, equal for all spellings and layouts."""
        return f"{self.outfit_key}_{self.number}{self.view}.jpg"

    @property
    def flat_name(self) -> str:
        """The flattened name of the field's CSV, with the category in the spelling of this name."""
        return f"fashion{self.gender}{self.category}id{self.item}{self.variant}_{self.number}{self.view}.jpg"


def parse_deepfashion(name_or_path: str) -> DeepFashionName | None:
    """Parse a DeepFashion name: a flattened name of either spelling, or a path in the original layout.

    Returns:
        None for any other name.
    """
    path = name_or_path.replace("\\", "/")
    match = DEEPFASHION_PATH.search(path) or DEEPFASHION_FLAT_NAME.match(file_name_of(path))
    if match is None:
        return None
    return DeepFashionName(*match.group("gender", "category", "item", "variant", "number", "view"))


def parse_reid(name: str) -> re.Match[str] | None:
    """Match a file name of Market-1501 or DukeMTMC-reID: groups ``image``, ``person`` and ``camera``.

    Returns:
        None for any other name.
    """
    return MARKET1501_NAME.match(name) or DUKEMTMC_NAME.match(name)


def checked_name(name: str, where: str | None = None) -> str:
    """Check that a name is a path below the image folder, and that a row of a keypoint CSV can hold it.

    All code that reads or writes names that become paths checks them here.

    Args:
        name: A POSIX path.
        where: The file and the line, or the folder, for the error message.

    Returns:
        The name.

    Raises:
        DataError: If the name leads out of the folder (it is absolute, or contains ``..``), if it is too long for a
            file system, or if a keypoint CSV would change it: it is not UTF-8, spans several lines, contains a tab, or
            has a blank at an end.
    """
    path = Path(name)
    if path.anchor or PureWindowsPath(name).drive or ".." in path.parts or not path.name or "\0" in name:
        reason = "it does not lie below the folder of the images; expected a path such as anna/beach.jpg"
    elif not is_a_line(name):
        reason = "it must be UTF-8 on one line, without a tab or a blank at its ends; rename the file"
    elif max(map(len, name.encode().split(b"/"))) > MOST_BYTES or len(name.encode()) > 4 * MOST_BYTES:
        reason = f"file systems hold names of at most {MOST_BYTES} bytes"
    else:
        return name
    place = "" if where is None else f"{where}: "
    raise DataError(f"{place}the name {shown(name)} does not fit into a keypoint CSV: {reason}")


def is_a_line(name: str) -> bool:
    """Return whether a line of a text file, up to a tab, can hold a name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name] and name.strip() == name and "\t" not in name


def posix_path(name: str) -> str:
    r"""Return a path from an annotation file with slashes: files made on Windows hold ``images\a.jpg``."""
    return name.replace("\\", "/").removeprefix("./")


def file_name_of(path: str) -> str:
    """Return the last part of a path of any system."""
    return path.replace("\\", "/").rpartition("/")[2]


def person_of(name: str) -> str | None:
    """Return the person of a file name of Market-1501, DukeMTMC-reID or flattened DeepFashion; None for others.

    Args:
        name: A file name, or a path of any system.
    """
    file_name = file_name_of(name)
    match = parse_reid(file_name) or DEEPFASHION_FLAT_NAME.match(file_name)
    return match["person"] if match else None


def canonical_name(relative: str) -> str:
    """Return the name that the field's CSV uses for an image.

    Args:
        relative: POSIX path of the image relative to a data folder.

    Returns:
        For Market-1501, DukeMTMC-reID and flattened DeepFashion the file name; for DeepFashion's original layout the
        flattened name, ``fashionWOMENDressesid0000000202_1front.jpg``; otherwise the path unchanged.
    """
    file_name = relative.rpartition("/")[2]
    if person_of(file_name) is not None:
        return file_name
    parsed = parse_deepfashion(relative)
    return parsed.flat_name if parsed else relative


def image_key(name: str) -> str:
    """Return a key that is equal for all spellings, paths and suffixes of an image of a known data set.

    Args:
        name: A file name or a path, of Windows as well.

    Returns:
        For Market-1501, DukeMTMC-reID and DeepFashion a file name that ends in ``.jpg``. Other names are their own
        keys.
    """
    parsed = parse_deepfashion(name)
    if parsed is not None:
        return parsed.image_key
    match = parse_reid(file_name_of(name))
    return f"{match['image']}.jpg" if match else name
