"""Every matplotlib figure: people, poses, heatmaps, masks, batches, results and losses, to be looked at in a notebook.

The sole home of matplotlib. Each function returns a `Chart`, which shows itself where it is the last line of a cell and
is saved with ``savefig``. Pyplot is not used: nothing is shown twice and nothing is kept alive.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pg2lib.data.people import PersonTable
from pg2lib.data.store import PairBatch
from pg2lib.errors import DataError
from pg2lib.images import load_image, pil_from_tensor
from pg2lib.pose import JOINT_COLOURS, JOINTS, Pose
from pg2lib.raster import render_heatmaps, render_pose_masks

T = TypeVar("T")

Picture = Image.Image | NDArray[np.uint8]

LOG_FIELDS = frozenset({"stage", "step", "images_per_second", "seconds"})
"""What a line of ``log.jsonl`` says besides the losses."""

DIMMED = 0.25
"""What is left of the light of pixels outside the pose mask."""


class Chart(Figure):
    """A matplotlib figure that shows itself in a notebook, whatever the backend."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, bytes]:
        return {"image/png": self._as("png")}

    def _as(self, kind: str, pil_kwargs: dict[str, int] | None = None) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format=kind, pil_kwargs=pil_kwargs)
        return buffer.getvalue()


class Gallery(Chart):
    """A chart of pictures: shown as JPEG, so that a notebook that keeps it stays small."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, bytes]:
        return {"image/jpeg": self._as("jpeg", pil_kwargs={"quality": 88})}


def show_people(table: PersonTable, rows: Sequence[int], columns: int = 8, skeletons: bool = True) -> Chart:
    """Images of a table, read from disk, each under its person.

    Args:
        table: read with paths.
        rows: which to show.
        skeletons: draw the poses over the images.
    """
    pictures: list[Picture] = []
    for row in rows:
        image = table.load(row)
        pictures.append(table.pose(row).draw(image) if skeletons else image)
    titles = [table.persons[row] for row in rows]
    return _grid(_in_rows(pictures, columns), titles=_in_rows(titles, columns))


def show_heatmaps(image: Image.Image, pose: Pose) -> Chart:
    """The 18 heatmaps of a pose over its image, a joint a panel, between the image with its skeleton and their sum.

    A missing joint has an empty heatmap; its name is grey.
    """
    heatmaps = render_heatmaps(pose.xy[None], pose.canvas)[0]
    discs = [_over(image, heatmap, colour) for heatmap, colour in zip(heatmaps, JOINT_COLOURS, strict=True)]
    total = heatmaps.sum(dim=0)
    pictures: list[Picture] = [pose.draw(image), *discs, _grey(total / total.max().clamp_min(1))]
    titles = ["pose", *(joint.replace(" ", "\n") for joint in JOINTS), "sum"]
    chart = _grid(_in_rows(pictures, 10), titles=_in_rows(titles, 10))
    for axes, seen in zip(chart.axes[1:], pose.visible.tolist(), strict=False):
        if not seen:
            axes.title.set_color("0.6")
    return chart


def show_pose_masks(images: UInt8[Tensor, "batch 3 height width"], xy: Float[Tensor, "batch 18 2"]) -> Chart:
    """A row a person: the image, its skeleton, the pose mask, and what the mask holds, the rest dimmed.

    Args:
        xy: keypoints in pixels, x first, NaN = missing.
    """
    canvas = (images.shape[2], images.shape[3])
    masks = render_pose_masks(xy, canvas)[:, 0]
    pictures = list(map(pil_from_tensor, images))
    return _grid(
        [
            pictures,
            [Pose(points, canvas).draw(picture) for points, picture in zip(xy.cpu(), pictures, strict=True)],
            [_grey(mask) for mask in masks],
            [_inside(picture, mask) for picture, mask in zip(pictures, masks, strict=True)],
        ],
        names=["image", "pose", "pose mask", "inside the mask"],
    )


def show_pair_batch(batch: PairBatch) -> Chart:
    """A column a pair: condition image, target image, target pose, and the target's pose mask over it."""
    canvas = (batch.target_image.shape[2], batch.target_image.shape[3])
    targets = list(map(pil_from_tensor, batch.target_image))
    return _grid(
        [
            list(map(pil_from_tensor, batch.condition_image)),
            targets,
            [Pose(points, canvas).draw() for points in batch.target_xy.cpu()],
            [_inside(picture, mask[0]) for picture, mask in zip(targets, batch.target_mask, strict=True)],
        ],
        names=["condition image", "target image", "target pose", "pose mask"],
    )


def show_results(batch: PairBatch, results: Mapping[str, Float[Tensor, "batch 3 height width"]]) -> Chart:
    """A column a pair: condition image, target pose and target image, and below them what models made of it (Figure 4).

    Args:
        results: images by name, [-1, 1], one a pair; what lies outside is clamped. 0 is grey.
    """
    canvas = (batch.target_image.shape[2], batch.target_image.shape[3])
    rows: dict[str, list[Image.Image]] = {
        "condition image": list(map(pil_from_tensor, batch.condition_image)),
        "target pose": [Pose(points, canvas).draw() for points in batch.target_xy.cpu()],
        "target image": list(map(pil_from_tensor, batch.target_image)),
        **{name: list(map(pil_from_tensor, images)) for name, images in results.items()},
    }
    return _grid(list(rows.values()), names=list(rows))


def plot_missing_joints(table: PersonTable) -> Chart:
    """The share of a table's images in which each joint is missing."""
    missing = table.xy.isnan().any(dim=-1).float().mean(dim=0)
    chart, axes = _plot(9, 3.2)
    axes.bar(range(len(JOINTS)), missing.tolist(), color="tab:blue")
    axes.set_xticks(range(len(JOINTS)), JOINTS, rotation=45, ha="right")
    axes.set(ylabel="missing", title=f"{len(table):,} images")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return chart


def plot_losses(logs: Mapping[str, str | PathLike[str]], window: int | None = None) -> Chart:
    """The losses of training runs, a panel a loss: every step pale, the mean of the last `window` steps on top.

    Args:
        logs: ``log.jsonl`` files by the name of the run.
        window: steps; by default a twentieth of the run.

    Raises:
        DataError: a log is missing or empty.
    """
    runs = {name: read_log(path) for name, path in logs.items()}
    losses = list(dict.fromkeys(loss for run in runs.values() for loss in run if loss != "step"))
    chart = Chart(figsize=(max(6.0, 4.5 * len(losses)), 3.2), dpi=100, layout="constrained")
    panels = chart.subplots(1, len(losses), squeeze=False)[0]
    for axes, loss in zip(panels, losses, strict=True):
        for index, (name, run) in enumerate(runs.items()):
            if loss in run:
                steps, values, colour = run["step"], run[loss], f"C{index}"
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
                axes.plot(steps, _running_mean(values, window or max(1, len(values) // 20)), color=colour, label=name)
        axes.set(title=loss, xlabel="step", ylabel="loss")
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return chart


def read_log(path: str | PathLike[str]) -> dict[str, NDArray[np.float64]]:
    """The columns of a ``log.jsonl``: "step", and every loss by its name.

    Raises:
        DataError: no such file, or no complete line in it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"no training log {path}; a run writes it as it goes") from error
    records = [json.loads(line) for line in lines if line.endswith("}")]  # a line that a kill cut short lacks its brace
    if not records:
        raise DataError(f"the training log {path} is empty: no step has been done yet")
    losses = [name for name in records[0] if name not in LOG_FIELDS]
    return {name: np.array([record[name] for record in records], dtype=np.float64) for name in ("step", *losses)}


def show_samples(folder: str | PathLike[str], columns: int, count: int = 5) -> Chart:
    """How a run's samples changed: the first picture grid whole, then the last column of later ones, up to the newest.

    The steps between them grow, as a run changes fastest at its start.

    Args:
        folder: the run's ``samples``.
        columns: of each grid; 4 in stage I (condition, pose, target, coarse), 5 in stage II.
        count: how many grids to show at most.

    Raises:
        DataError: no sample has been written yet.
    """
    paths = sorted(Path(folder).glob("step-*.png"))
    if not paths:
        raise DataError(f"{folder} holds no samples; a run writes them as it goes")
    chosen = sorted({round(place) - 1 for place in np.geomspace(1, len(paths), count)})
    grids = [load_image(paths[index]) for index in chosen]
    # The last column of a grid is as wide as any other, with the gap before it.
    cut = [grids[0], *(grid.crop((grid.width - grid.width // columns, 0, *grid.size)) for grid in grids[1:])]
    height = min(9.0, cut[0].height / 100)
    widths = [picture.width / picture.height for picture in cut]
    chart = Gallery(figsize=(height * sum(widths) + 0.1 * len(cut), height + 0.4), dpi=100, layout="constrained")
    panels = chart.subplots(1, len(cut), squeeze=False, width_ratios=widths)[0]
    for axes, picture, index in zip(panels, cut, chosen, strict=True):
        axes.imshow(np.asarray(picture))
        axes.set_title(f"step {int(paths[index].stem.removeprefix('step-')):,}", fontsize=9)
        axes.set_axis_off()
    return chart


def _grid(
    rows: Sequence[Sequence[Picture]],
    names: Sequence[str] = (),
    titles: Sequence[Sequence[str]] = (),
    height: float = 1.92,
) -> Chart:
    """Pictures of one size in rows, a panel each.

    Args:
        names: of the rows, written before them.
        titles: of the pictures, written above them.
        height: of a picture, in inches.
    """
    first = np.asarray(rows[0][0])
    columns = len(rows[0])
    width = height * first.shape[1] / first.shape[0]
    head = 0.45 if titles else 0.05
    margin = 0.2 + 0.07 * max(map(len, names)) if names else 0.0
    chart = Gallery(figsize=(columns * (width + 0.05) + margin, len(rows) * (height + head)), dpi=100)
    panels = chart.subplots(len(rows), columns, squeeze=False)
    total = chart.get_size_inches()
    chart.subplots_adjust(
        left=margin / total[0], right=1, bottom=0, top=1 - (head - 0.05) / total[1],
        wspace=0.05 / width, hspace=head / height,
    )  # fmt: skip
    for i, row in enumerate(rows):
        for j, axes in enumerate(panels[i]):
            axes.set_axis_off()
            if j < len(row):
                axes.imshow(np.asarray(row[j]), aspect="auto")
                if titles:
                    axes.set_title(titles[i][j], fontsize=8, pad=3)
        if names:
            frame = panels[i][0].transAxes
            panels[i][0].text(-0.1, 0.5, names[i], transform=frame, ha="right", va="center", fontsize=9)
    return chart


def _plot(width: float, height: float) -> tuple[Chart, Axes]:
    chart = Chart(figsize=(width, height), dpi=100, layout="constrained")
    return chart, chart.subplots()


def _in_rows(items: Sequence[T], columns: int) -> list[Sequence[T]]:
    return [items[start : start + columns] for start in range(0, len(items), columns)]


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Of each value and up to `window - 1` before it."""
    sums = np.concatenate(([0.0], values.cumsum()))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _grey(mask: Tensor) -> NDArray[np.uint8]:
    """A [0, 1] map as a grey picture (height, width, 3)."""
    levels = (mask * 255).byte().cpu().numpy()
    return np.repeat(levels[..., None], 3, axis=-1)


def _inside(picture: Image.Image, mask: Tensor) -> NDArray[np.uint8]:
    """The picture, dimmed where the {0, 1} mask is 0."""
    pixels = np.array(picture)
    outside = mask.cpu().numpy() == 0
    pixels[outside] = (pixels[outside] * DIMMED).astype(np.uint8)
    return pixels


def _over(picture: Image.Image, heatmap: Tensor, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The picture, dimmed, with the pixels of a heatmap in one colour."""
    dimmed = (np.asarray(picture) * DIMMED).astype(np.uint8)
    dimmed[heatmap.cpu().numpy() > 0] = colour
    return dimmed
