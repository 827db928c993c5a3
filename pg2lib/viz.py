"""Figures for notebooks: people, poses, heatmaps, masks, pairs, results and losses.

The only module that uses matplotlib. Pictures are returned as a `Gallery` and plots as a `Chart`; a notebook shows
either if it is the last expression of a cell. Pyplot is not used, so that no figure is shown twice or kept in memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pg2lib.comparison import comparison_rows
from pg2lib.data.people import PersonTable
from pg2lib.data.store import PairBatch
from pg2lib.errors import DataError
from pg2lib.images import image_grid, load_image, pil_from_tensor
from pg2lib.pose import JOINT_COLOURS, JOINTS, Pose
from pg2lib.raster import render_heatmaps, render_pose_masks
from pg2lib.training.log import LOG_FIELDS, read_log

"""What a line of ``log.jsonl`` says besides the losses."""

DIMMED = 0.25
"""Brightness that is left of pixels outside the pose mask."""

HEIGHT_PX = 256
"""Smaller pictures are enlarged, by the largest whole factor that does not exceed this height."""

SAMPLES_HEIGHT_PX = 900
"""Grids of samples that are higher than this are reduced."""

CAPTION_PX = 20
"""Height of the caption above a picture."""


class Chart(Figure):
    """A matplotlib figure that a notebook shows as PNG, whatever the backend."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, bytes]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return {"image/png": buffer.getvalue()}


@dataclass(frozen=True)
class Gallery:
    """A picture that a notebook shows as JPEG, so that the notebook's file stays small.

    Attributes:
        picture: the picture, RGB.
    """

    picture: Image.Image

    def __repr__(self) -> str:
        return f"Gallery({self.picture.width}x{self.picture.height} pixels)"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, bytes]:
        buffer = io.BytesIO()
        self.picture.save(buffer, "JPEG", quality=88)
        return {"image/jpeg": buffer.getvalue()}


def show_people(table: PersonTable, rows: Sequence[int], columns: int = 8, skeletons: bool = True) -> Gallery:
    """Show images of a table, each with the name of its person.

    Args:
        table: people, with the paths of their images.
        rows: rows of the table.
        columns: number of pictures side by side.
        skeletons: whether to draw the poses over the images.
    """
    pictures = []
    for row in rows:
        image = table.load(row)
        picture = table.pose(row).draw(image) if skeletons else image
        pictures.append(_captioned(picture, table.persons[row]))
    return _in_columns(pictures, columns)


def show_heatmaps(image: Image.Image, pose: Pose) -> Gallery:
    """Show the pose, its 18 heatmaps over the dimmed image, and the sum of the heatmaps.

    The heatmap of a missing joint is empty, and its name is grey.
    """
    heatmaps = render_heatmaps(pose.xy[None], pose.canvas)[0]
    total = heatmaps.sum(dim=0)
    pictures = [_captioned(pose.draw(image), "pose")]
    for joint, heatmap, colour, visible in zip(JOINTS, heatmaps, JOINT_COLOURS, pose.visible.tolist(), strict=True):
        pictures.append(_captioned(_over(image, heatmap, colour), joint, "black" if visible else "darkgrey"))
    pictures.append(_captioned(_grey(total / total.max().clamp_min(1)), "sum"))
    return _in_columns(pictures, 10)


def show_pose_masks(images: UInt8[Tensor, "batch 3 height width"], xy: Float[Tensor, "batch 18 2"]) -> Gallery:
    """Show one person per column: the image, the pose, the pose mask, and the image dimmed outside the mask.

    Args:
        images: uint8 images.
        xy: keypoints in pixels, x first; NaN for missing ones.
    """
    canvas = (images.shape[2], images.shape[3])
    masks = render_pose_masks(xy, canvas)[:, 0]
    pictures = list(map(pil_from_tensor, images))
    return _named_rows(
        {
            "image": pictures,
            "pose": [Pose(points, canvas).draw(picture) for points, picture in zip(xy.cpu(), pictures, strict=True)],
            "pose mask": list(map(_grey, masks)),
            "inside the mask": list(map(_inside, pictures, masks)),
        }
    )


def show_pair_batch(batch: PairBatch) -> Gallery:
    """Show one pair per column: condition image, target pose, target image, and the latter dimmed outside its mask."""
    rows = comparison_rows(batch, {})
    masked = list(map(_inside, rows["target image"], batch.target_mask[:, 0]))
    return _named_rows({**rows, "pose mask": masked})


def show_results(batch: PairBatch, results: Mapping[str, Float[Tensor, "batch 3 height width"]]) -> Gallery:
    """Show one pair per column: condition image, target pose, target image, and the results of models (Figure 4).

    Args:
        batch: pairs.
        results: images by the name of the model, or difference maps, one per pair, in [-1, 1]. Values outside are
            clamped; 0 is grey.
    """
    return _named_rows(comparison_rows(batch, results))


def plot_missing_joints(table: PersonTable) -> Chart:
    """Plot, for every joint, the share of images of a table in which it is missing."""
    missing = table.xy.isnan().any(dim=-1).float().mean(dim=0)
    chart = Chart(figsize=(9, 3.2), dpi=100, layout="constrained")
    axes = chart.subplots()
    axes.bar(range(len(JOINTS)), missing.tolist(), color="tab:blue")
    axes.set_xticks(range(len(JOINTS)), JOINTS, rotation=45, ha="right")
    axes.set(ylabel="missing", title=f"{len(table):,} images")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return chart


def plot_losses(logs: Mapping[str, str | PathLike[str]], window: int | None = None) -> Chart:
    """Plot the losses of training runs, one panel per loss: the values of all steps, pale, and their running mean.

    Args:
        logs: ``log.jsonl`` files by the name of the run.
        window: number of steps in the running mean, which ends at the step it is drawn at; by default a twentieth of
            the run.

    Raises:
        DataError: a log is missing, empty or damaged.
    """
    runs = {name: read_log(path) for name, path in logs.items()}
    losses = [name for name in dict.fromkeys(name for run in runs.values() for name in run) if name not in LOG_FIELDS]
    chart = Chart(figsize=(max(6.0, 4.5 * len(losses)), 3.2), dpi=100, layout="constrained")
    panels = chart.subplots(1, len(losses), squeeze=False)[0]
    for axes, loss in zip(panels, losses, strict=True):
        for index, (name, run) in enumerate(runs.items()):
            if loss in run:
                mean = run[loss].rolling(window or max(1, len(run) // 20), min_periods=1).mean()
                axes.plot(run["step"], run[loss], color=f"C{index}", alpha=0.25, linewidth=1)
                axes.plot(run["step"], mean, color=f"C{index}", label=name)
        axes.set(title=loss, xlabel="step", ylabel="loss")
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    return chart


def show_samples(folder: str | PathLike[str], columns: int, count: int = 5) -> Gallery:
    """Show how the samples of a run changed: the first grid, then the last column of later ones, up to the newest.

    The steps between the samples grow, because a run changes most at its start.

    Args:
        folder: the run's folder ``samples``.
        columns: number of columns of each grid: 4 in stage I (condition, pose, target, coarse) and 5 in stage II.
        count: maximum number of samples to show.

    Raises:
        DataError: the folder holds no samples.
    """
    paths = sorted(Path(folder).glob("step-*.png"))
    if not paths:
        raise DataError(f"{folder} holds no samples; a run writes the first one at its start")
    chosen = sorted({round(place) - 1 for place in np.geomspace(1, len(paths), count)})
    pictures: list[Image.Image] = []
    for index in chosen:
        grid = load_image(paths[index])
        if pictures:  # the last column, as wide as any other, with the gap to its left
            grid = grid.crop((grid.width - grid.width // columns, 0, *grid.size))
        grid.thumbnail((grid.width, SAMPLES_HEIGHT_PX), Image.Resampling.LANCZOS)
        pictures.append(_with_caption(grid, f"step {int(paths[index].stem.removeprefix('step-')):,}"))
    strip = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width
    return Gallery(strip)


def _named_rows(rows: Mapping[str, Sequence[Image.Image]]) -> Gallery:
    """Return a gallery with one row of pictures per name."""
    height = next(iter(rows.values()))[0].height
    return Gallery(image_grid(list(rows.values()), names=list(rows), scale=max(1, HEIGHT_PX // height)))


def _in_columns(pictures: Sequence[Image.Image], columns: int) -> Gallery:
    """Return a gallery with so many pictures per row; the last row is filled up with white."""
    columns = min(columns, len(pictures))
    blank = Image.new("RGB", pictures[0].size, "white")
    filled = [*pictures, *[blank] * (-len(pictures) % columns)]
    return Gallery(image_grid([filled[start : start + columns] for start in range(0, len(filled), columns)]))


def _captioned(picture: Image.Image, text: str, colour: str = "black") -> Image.Image:
    """Return the picture, enlarged, below a line of text."""
    factor = max(1, HEIGHT_PX // picture.height)
    size = (picture.width * factor, picture.height * factor)
    return _with_caption(picture.resize(size, Image.Resampling.NEAREST), text, colour)


def _with_caption(picture: Image.Image, text: str, colour: str = "black") -> Image.Image:
    captioned = Image.new("RGB", (picture.width, picture.height + CAPTION_PX), "white")
    captioned.paste(picture, (0, CAPTION_PX))
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(captioned).text((picture.width / 2, CAPTION_PX / 2), text, fill=colour, font=font, anchor="mm")
    return captioned


def _grey(mask: Tensor) -> Image.Image:
    """Return a [0, 1] map of shape (height, width) as a grey picture."""
    return Image.fromarray((mask * 255).byte().cpu().numpy()).convert("RGB")


def _inside(picture: Image.Image, mask: Tensor) -> Image.Image:
    """Return the picture, dimmed where the {0, 1} mask is 0."""
    pixels = np.array(picture)
    outside = mask.cpu().numpy() == 0
    pixels[outside] = (pixels[outside] * DIMMED).astype(np.uint8)
    return Image.fromarray(pixels)


def _over(picture: Image.Image, heatmap: Tensor, colour: tuple[int, int, int]) -> Image.Image:
    """Return the picture, dimmed, with the pixels of a heatmap in one colour."""
    dimmed = (np.asarray(picture) * DIMMED).astype(np.uint8)
    dimmed[heatmap.cpu().numpy() > 0] = colour
    return Image.fromarray(dimmed)
