"""Synthetic people on disk, in the layouts of Market-1501 and of DeepFashion In-shop, for the readers of real data."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from pg2lib.data.keypoint_csv import CSV_HEADER, csv_row, parse_row, read_keypoints
from pg2lib.data.market1501 import NOT_A_PERSON
from pg2lib.data.names import canonical_name
from pg2lib.data.pairs import make_pairs, write_pairs
from pg2lib.data.read import SYNTHETIC
from pg2lib.data.synthetic.body import Draws
from pg2lib.data.synthetic.clothes import Identity, fabric
from pg2lib.data.synthetic.person import CANVAS, Look, Shot, render_person
from pg2lib.errors import DataError
from pg2lib.files import LineFile, atomic_write, writing
from pg2lib.json_files import checked, parse_json, read_json
from pg2lib.processes import cpu_count, start_worker

FORMAT = 1
"""Increase it when the same parameters give other images."""

IMAGES_PER_PROCESS = 150
"""Fewer images than this are drawn faster than another process starts."""

log = logging.getLogger(__name__)
Split = Literal["train", "test"]


@dataclass(frozen=True)
class _Picture:
    """One image to draw.

    Attributes:
        path: POSIX path below the folder of the data set, as the layout names images.
        split: The split that it belongs to.
        identity: Seed of the person.
        view: Seed of the pose, the background and the light.
        camera, shot, yaw_deg: As in `render_person`.
        flat: Show the garment alone, on which only `identity` has an effect.
    """

    path: str
    split: Split
    identity: int
    view: int
    camera: int | None = None
    shot: Shot | None = None
    yaw_deg: float | None = None
    flat: bool = False


@dataclass(frozen=True)
class _Layout:
    """The differences between the two layouts.

    Attributes:
        look: Of the images.
        csv: Name of the keypoint CSVs, with the placeholder {split}.
        pairs: Name of the CSV of test pairs.
        most_views: Largest number of images of a person.
        pictures: Returns the images of each person for the numbers requested.
    """

    look: Look
    csv: str
    pairs: str
    most_views: int
    pictures: Callable[[dict[str, int]], list[list[_Picture]]]


def write_market1501(
    folder: str | PathLike[str],
    people: int = 64,
    test_people: int = 16,
    views: int = 12,
    seed: int = 0,
    test_pairs: int = 1000,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write synthetic people in the layout of Market-1501: 128x64 JPEG, three image folders and the field's CSVs.

    ``bounding_box_test`` also holds junk (-1) and distractors (0000), about one for every ten images. The test people
    are not among the train people. The folder is written atomically, an interrupted run resumes, and a folder that was
    written with the same arguments is left as it is.

    Args:
        folder: The folder to make.
        people: Number of train identities.
        test_people: Number of test identities.
        views: Number of images of each identity, from the six cameras in turn.
        seed: Random seed of the identities. Cameras, poses and light do not depend on it.
        test_pairs: Largest number of rows of ``market-pairs-test.csv``.
        workers: Number of processes. By default one for each CPU, if there are enough images; 1 draws in this process.
            With more, a script that calls this at its top level needs the usual ``if __name__ == "__main__":``.
        on_progress: Called with (images done, images in all).

    Returns:
        The folder.

    Raises:
        DataError: If a number is out of range, or if the folder holds something else or cannot be made.
    """
    parameters = {"people": people, "test_people": test_people, "views": views, "seed": seed, "test_pairs": test_pairs}
    layout = _Layout("market", "market-annotation-{split}.csv", "market-pairs-test.csv", 1000, _market1501_pictures)
    return _write(Path(folder), "market1501", layout, parameters, workers, on_progress)


def write_deepfashion(
    folder: str | PathLike[str],
    people: int = 48,
    test_people: int = 12,
    views: int = 5,
    seed: int = 0,
    test_pairs: int = 1000,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write synthetic people in the layout of DeepFashion In-shop.

    The images are 256x256 JPEG, ``Img/img/<gender>/<category>/id_<item>/<outfit>_<n>_<view>.jpg``; with them come
    ``Eval/list_eval_partition.txt`` and the field's CSVs with flattened names. Every fourth outfit also has a ``flat``
    image, without a person and without keypoints. Everything else is as in `write_market1501`.

    Args:
        folder: The folder to make.
        people: Number of train identities, with one outfit each.
        test_people: Number of test identities.
        views: Number of images of each identity, 2 to 5: front, side, back, full, additional, in this order.
        seed: Random seed of the identities, shots and directions. Poses and light do not depend on it.
        test_pairs: Largest number of rows of ``fashion-pairs-test.csv``.
        workers: As in `write_market1501`.
        on_progress: Called with (images done, images in all).

    Returns:
        The folder.

    Raises:
        DataError: If a number is out of range, or if the folder holds something else or cannot be made.
    """
    parameters = {"people": people, "test_people": test_people, "views": views, "seed": seed, "test_pairs": test_pairs}
    layout = _Layout(
        "studio", "fashion-annotation-{split}.csv", "fashion-pairs-test.csv", len(_STUDIO_VIEWS), _deepfashion_pictures
    )
    return _write(Path(folder), "deepfashion", layout, parameters, workers, on_progress)


def _market1501_pictures(parameters: dict[str, int]) -> list[list[_Picture]]:
    """Return the images of each person, then junk and distractors."""
    people, views = parameters["people"], parameters["views"]
    everyone = people + parameters["test_people"]
    tasks: list[list[_Picture]] = []
    for number in range(1, everyone + 1):
        split: Split = "train" if number <= people else "test"
        folder = "bounding_box_train" if split == "train" else "bounding_box_test"
        identity, first = _identity(parameters["seed"], number), number * (views + 1)
        task = [
            _Picture(f"{folder}/{_market1501_name(f'{number:04d}', view)}", split, identity, first + view, view % 6 + 1)
            for view in range(views)
        ]
        if split == "test":
            name = _market1501_name(f"{number:04d}", views)
            task.append(_Picture(f"query/{name}", split, identity, first + views, views % 6 + 1))
        tasks.append(task)
    nobody = min(1000, max(2, parameters["test_people"] * views // 10))
    stray = [
        _Picture(
            f"bounding_box_test/{_market1501_name('0000' if i % 2 else '-1', i)}",
            "test",
            _identity(parameters["seed"], 10_000 + i),
            i,
            i % 6 + 1,
            "close",
        )
        for i in range(nobody)
    ]
    return [*tasks, stray]


def _market1501_name(person: str, view: int) -> str:
    return f"{person}_c{view % 6 + 1}s{1 + view // 6 % 6}_{51 + 25 * view:06d}_01.jpg"


def _identity(seed: int, number: int) -> int:
    """Return the seed of an identity, such that data sets with other seeds have other people."""
    return seed * 100_000 + number


_STUDIO_VIEWS = ("front", "side", "back", "full", "additional")
_STUDIO_NUMBERS = {"front": 1, "side": 2, "back": 3, "full": 4, "flat": 6, "additional": 7}


def _deepfashion_pictures(parameters: dict[str, int]) -> list[list[_Picture]]:
    everyone = parameters["people"] + parameters["test_people"]
    tasks = []
    for number in range(1, everyone + 1):
        split: Split = "train" if number <= parameters["people"] else "test"
        identity = _identity(parameters["seed"], number)
        folder = f"Img/img/{_shelf(Identity.draw(identity))}/id_{number:08d}"
        draws = Draws("pg2lib studio", identity)
        task = []
        for view, kind in enumerate(_STUDIO_VIEWS[: parameters["views"]]):
            shot, yaw = _studio_shot(kind, draws)
            path = f"{folder}/01_{_STUDIO_NUMBERS[kind]}_{kind}.jpg"
            task.append(_Picture(path, split, identity, number * 10 + view, None, shot, yaw))
        if number % 4 == 0:
            task.append(_Picture(f"{folder}/01_{_STUDIO_NUMBERS['flat']}_flat.jpg", split, identity, 0, flat=True))
        tasks.append(task)
    return tasks


def _studio_shot(kind: str, draws: Draws) -> tuple[Shot, float]:
    """Draw a shot and a direction, as a shop would show an outfit."""
    shots: tuple[Shot, ...] = ("full", "half", "close")
    if kind == "full":
        return "full", draws.normal(0, 18)
    yaw = {
        "front": draws.normal(0, 12),
        "side": draws.choice((-1, 1)) * draws.uniform(55, 100),
        "back": 180 + draws.normal(0, 15),
        "additional": draws.uniform(-60, 60),
    }[kind]
    shares = (0.1, 0.5, 0.4) if kind == "additional" else (0.35, 0.5, 0.15)
    return draws.choice(shots, shares), yaw


def _shelf(person: Identity) -> str:
    """Return the gender and the category as DeepFashion names them."""
    women = person.body.femininity > 0.5
    if person.bottom == "dress":
        return "WOMEN/Dresses"
    if person.top == "jacket":
        return "WOMEN/Jackets_Coats" if women else "MEN/Jackets_Vests"
    if person.top == "long sleeves":
        return "WOMEN/Blouses_Shirts" if women else "MEN/Shirts_Polos"
    return f"{'WOMEN' if women else 'MEN'}/Tees_Tanks"


def _write(
    folder: Path,
    name: str,
    layout: _Layout,
    numbers: dict[str, int],
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> Path:
    """Draw the missing images in a hidden folder beside `folder`, then rename it."""
    _check(numbers, layout.most_views)
    parameters = {"format": FORMAT, "layout": name, **numbers}
    try:
        if _is_there(folder, parameters):
            log.info("%s is there already", folder)
            return folder
        unfinished = folder.with_name(f".{folder.name}.part")
        _start(unfinished, parameters)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror or error}): name another folder") from error
    tasks = layout.pictures(numbers)
    try:
        with writing(folder):
            rows = _draw_all(unfinished, tasks, layout.look, workers, on_progress)
            _write_tables(unfinished, tasks, rows, layout, numbers)
            (unfinished / _JOURNAL).unlink()
            unfinished.rename(folder)
    except OSError:
        if not _is_there(folder, parameters):
            raise
        shutil.rmtree(unfinished, ignore_errors=True)  # another process finished the same folder first
    return folder


_JOURNAL = "journal.jsonl"


def _check(numbers: dict[str, int], most_views: int) -> None:
    bounds = {
        "people": (1, 4999),
        "test_people": (1, 4999),
        "views": (2, most_views),
        "seed": (0, 2**31),
        "test_pairs": (1, 10**9),
    }
    for name, (low, high) in bounds.items():
        if not low <= numbers[name] <= high:
            raise DataError(f"{name} must be {low:,} to {high:,}, got {numbers[name]!r}")


def _is_there(folder: Path, parameters: dict[str, Any]) -> bool:
    """Return whether `folder` holds what would be written. An empty folder is removed.

    Raises:
        DataError: If it holds something else, or is empty and the current folder.
        OSError: If it is empty and cannot be removed, such as a link or a mount point.
    """
    if not folder.exists():
        return False
    if folder.is_dir() and not any(folder.iterdir()):
        if folder.samefile(Path.cwd()):
            raise DataError(f"{folder} is the current folder, which cannot be replaced: name a new folder")
        folder.rmdir()
        return False
    found = _parameters_of(folder)
    if found is None:
        raise DataError(f"{folder} exists and holds no synthetic people: name another folder")
    different = sorted(key for key in found.keys() | parameters.keys() if found.get(key) != parameters.get(key))
    if different:
        values = ", ".join(f"{key} {found.get(key)!r} instead of {parameters.get(key)!r}" for key in different)
        raise DataError(f"{folder} holds other synthetic people ({values}): delete it, or name another folder")
    return True


def _parameters_of(folder: Path) -> dict[str, Any] | None:
    try:
        parameters = read_json(folder / SYNTHETIC)
    except (DataError, FileNotFoundError):
        return None
    return parameters if isinstance(parameters, dict) else None


def _start(unfinished: Path, parameters: dict[str, Any]) -> None:
    """Make the folder of unfinished work, unless an interrupted run with the same parameters left it."""
    # A run that was killed before it wrote its parameters left nothing but hidden files.
    begun = unfinished.exists() and any(not path.name.startswith(".") for path in unfinished.iterdir())
    if begun and _parameters_of(unfinished) != parameters:
        raise DataError(
            f"{unfinished} belongs to a run with other parameters ({_parameters_of(unfinished)}), interrupted or still "
            f"in progress: finish that run, delete the folder, or name another one"
        )
    unfinished.mkdir(parents=True, exist_ok=True)
    with atomic_write(unfinished / SYNTHETIC) as file:
        json.dump(parameters, file, indent=2)


def _draw_all(
    folder: Path,
    tasks: list[list[_Picture]],
    look: Look,
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    """Draw the images that the journal does not have.

    Returns:
        The CSV row of each path; "" where there is no person.
    """
    journal = folder / _JOURNAL
    rows = dict(_read_journal(journal))
    total = sum(len(task) for task in tasks)
    left = [task for task in tasks if any(picture.path not in rows for picture in task)]
    done = total - sum(len(task) for task in left)
    if on_progress is not None and done:
        on_progress(done, total)
    with LineFile(journal) as file:
        if journal.stat().st_size:
            file.add("")  # ends a line that a kill cut short
        for result in _results(folder, left, look, workers):
            rows.update(result)
            file.add(json.dumps(result))
            done += len(result)
            if on_progress is not None:
                on_progress(done, total)
    return rows


def _read_journal(journal: Path) -> Iterator[tuple[str, str]]:
    if not journal.exists():
        return
    for number, line in enumerate(journal.read_bytes().split(b"\n"), start=1):
        where = f"{journal}:{number}"
        try:
            rows = checked(dict[str, str], parse_json(line, where), where)
            for row in filter(None, rows.values()):
                parse_row(row, where)
            yield from rows.items()
        except DataError:
            continue  # a line that a kill cut short, a damaged one, or an empty one: its images are drawn again


def _results(folder: Path, tasks: list[list[_Picture]], look: Look, workers: int | None) -> Iterator[dict[str, str]]:
    images = sum(len(task) for task in tasks)
    processes = workers or max(1, min(cpu_count(), images // IMAGES_PER_PROCESS))
    if min(processes, len(tasks)) <= 1:
        yield from (_draw_task(str(folder), task, look) for task in tasks)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), spawn, start_worker) as pool:
        futures = [pool.submit(_draw_task, str(folder), task, look) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _draw_task(folder: str, task: Sequence[_Picture], look: Look) -> dict[str, str]:
    """Draw and save the images of one person.

    Returns:
        The CSV row of each path; "" where there is no person.
    """
    rows = {}
    for picture in task:
        name = canonical_name(picture.path)
        if picture.flat:
            image, row = _flat_image(picture.identity), ""
        else:
            person = render_person(
                picture.identity, picture.view, look,
                camera=picture.camera, shot=picture.shot, yaw_deg=picture.yaw_deg,
            )  # fmt: skip
            image, row = person.image, csv_row(name, person.pose)
        path = Path(folder) / picture.path
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "JPEG", quality=95, subsampling=0)  # a file is complete once the journal has it
        rows[picture.path] = row
    return rows


def _flat_image(identity: int) -> Image.Image:
    """Draw a garment alone: a folded square of its cloth."""
    person = Identity.draw(identity)
    height, width = CANVAS["studio"]
    pixels = np.full((height, width, 3), 0.95)
    row, column = np.mgrid[0:150, 0:130].astype(np.float64)
    rest = np.stack((column / 130 * 0.16 - 0.08, 0.79 - row / 150 * 0.2, np.full(row.shape, 0.05)), axis=-1)
    cloth = fabric(person.top_fabric, rest.reshape(-1, 3)).reshape(150, 130, 3)
    fold = 1 - 0.25 * (np.abs(column - 65) < 1.5) - 0.12 * (column > 65)
    pixels[58:208, 68:198] = 0.80
    pixels[53:203, 63:193] = cloth * fold[..., None]
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def _write_tables(
    folder: Path, tasks: list[list[_Picture]], rows: dict[str, str], layout: _Layout, numbers: dict[str, int]
) -> None:
    """Write the keypoints of both splits, the test pairs, and the partition file if the layout has one."""
    pictures = sorted((picture for task in tasks for picture in task), key=lambda picture: picture.path)
    for split in ("train", "test"):
        with atomic_write(folder / layout.csv.format(split=split)) as file:
            file.write(CSV_HEADER + "\n")
            with_keypoints = (p for p in pictures if p.split == split and not p.path.startswith("query/"))
            file.writelines(rows[p.path] + "\n" for p in with_keypoints if rows[p.path])
    table = read_keypoints(folder / layout.csv.format(split="test"), CANVAS[layout.look])
    pairs = make_pairs(table.select([row for row, who in enumerate(table.persons) if who not in NOT_A_PERSON]))
    write_pairs(folder / layout.pairs, pairs.sample(min(numbers["test_pairs"], len(pairs)), numbers["seed"]))
    if layout.look == "studio":
        _write_partition(folder, pictures)


def _write_partition(folder: Path, pictures: Sequence[_Picture]) -> None:
    """Write DeepFashion's list of train, query and gallery images."""
    seen: set[str] = set()
    with atomic_write(folder / "Eval" / "list_eval_partition.txt") as file:
        file.write(f"{len(pictures)}\nimage_name item_id evaluation_status\n")
        for picture in pictures:
            item = picture.path.split("/")[-2]
            status = "train" if picture.split == "train" else "gallery" if item in seen else "query"
            seen.add(item)
            file.write(f"{picture.path.removeprefix('Img/')} {item} {status}\n")
