"""The results of `PG2Pipeline`: one picture with everything that went into it, or a batch of tensors."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.cutout import composed
from pg2lib.errors import DataError
from pg2lib.files import atomic_path
from pg2lib.images import Crop, image_grid, pil_from_tensor
from pg2lib.pose import Pose
from pg2lib.recipe import Recipe


@dataclass(frozen=True, eq=False)
class PG2Batch:
    """The results for a batch of tensors; indexing gives each of them as a `PG2Output`.

    Attributes:
        condition_image: input of the networks, [-1, 1].
        coarse: result of stage I, [-1, 1].
        difference_map: output of G2, not clamped; zero without G2.
        refined: coarse + difference map, [-1, 1].
        warped: body parts of the condition image moved to the target pose, [-1, 1]; None without the part warp.
        coverage: where body parts lie in `warped`, [0, 1]; None without the part warp.
        matte: matte of the refined result, [0, 1]; None if the model predicts none.
        seconds: wall-clock time of the networks.
    """

    condition_image: Float[Tensor, "batch 3 height width"]
    coarse: Float[Tensor, "batch 3 height width"]
    difference_map: Float[Tensor, "batch 3 height width"]
    refined: Float[Tensor, "batch 3 height width"]
    warped: Float[Tensor, "batch 3 height width"] | None = None
    coverage: Float[Tensor, "batch 1 height width"] | None = None
    matte: Float[Tensor, "batch 1 height width"] | None = None
    seconds: float = math.nan

    def __len__(self) -> int:
        return len(self.refined)

    def __getitem__(self, index: int) -> PG2Output:
        """Return one picture of the batch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index of one of {len(self)} pictures, got {index}")

        def one(images: Tensor | None) -> Tensor | None:
            return None if images is None else images[index]

        return PG2Output(
            self.coarse[index],
            self.difference_map[index],
            self.refined[index],
            self.condition_image[index],
            one(self.warped),
            one(self.coverage),
            one(self.matte),
            seconds=self.seconds / len(self),
        )

    def __iter__(self) -> Iterator[PG2Output]:
        """Iterate over the pictures of the batch."""
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class PG2Output:
    """One picture that the pipeline made, with everything that went into it.

    Attributes:
        coarse: result of stage I, [-1, 1].
        difference_map: output of G2, not clamped; zero without G2.
        refined: coarse + difference map, [-1, 1].
        condition_image: input of the networks, [-1, 1].
        warped: body parts of the condition image moved to the target pose, [-1, 1]; None without the part warp.
        coverage: where body parts lie in `warped`, [0, 1]; None without the part warp.
        matte: matte of the refined result, [0, 1]; None if the model predicts none.
        background: what `to_pil` sets the person into, [-1, 1]; None keeps the backdrop that the model painted.
        target_pose: on the model's canvas; None from `PG2Pipeline.generate`.
        condition_pose: the pose that was found in the photo or given, on the model's canvas; None if there is none.
        crop: the part of the photo that the model saw; None if the image came as a model canvas.
        recipe: how to make the picture again, see `PG2Pipeline.replay`; None if that takes more than the photo and a
            pipeline folder: a matte was given, or the pipeline was not loaded from a folder.
        seconds: wall-clock time of the networks.
    """

    coarse: Float[Tensor, "3 height width"]
    difference_map: Float[Tensor, "3 height width"]
    refined: Float[Tensor, "3 height width"]
    condition_image: Float[Tensor, "3 height width"]
    warped: Float[Tensor, "3 height width"] | None = None
    coverage: Float[Tensor, "1 height width"] | None = None
    matte: Float[Tensor, "1 height width"] | None = None
    background: Float[Tensor, "3 height width"] | None = None
    target_pose: Pose | None = None
    condition_pose: Pose | None = None
    crop: Crop | None = None
    recipe: Recipe | None = None
    seconds: float = math.nan

    def __repr__(self) -> str:
        height, width = self.refined.shape[-2:]
        pose = "" if self.target_pose is None else f", target pose of {int(self.target_pose.visible.sum())} joints"
        return f"PG2Output({width}x{height} pixels{pose}, made in {self.seconds * 1000:.0f} ms)"

    def to_pil(self) -> Image.Image:
        """Return the refined result as a picture, set into the background if there is one."""
        if self.background is None or self.matte is None:
            return pil_from_tensor(self.refined)
        return pil_from_tensor(composed(self.refined, self.matte, self.background))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture that `to_pil` returns. A PNG carries `recipe`, which `pg2lib.read_recipe` reads.

        Raises:
            DataError: the suffix stands for no format that Pillow writes.
        """
        save_picture(self.to_pil(), path, self.recipe)

    def difference_to_pil(self) -> Image.Image:
        """Return the difference map as a picture, grey where G2 changes nothing."""
        return pil_from_tensor(self.difference_map.clamp(-1, 1))

    def to_grid(self, scale: int = 1) -> Image.Image:
        """Return condition image, target pose, warped image, coarse result, difference map and result side by side.

        Target pose and warped image are left out if there are none.

        Args:
            scale: factor by which the pictures are enlarged.
        """
        return output_grid([self], scale)

    def _pictures(self) -> dict[str, Image.Image]:
        """Return the pictures of a row of the grid, by title."""
        pictures = {"condition": pil_from_tensor(self.condition_image)}
        if self.target_pose is not None:
            pictures["target pose"] = self.target_pose.draw()
        if self.warped is not None and self.coverage is not None:
            pictures["warped"] = pil_from_tensor(self.warped * self.coverage)
        return pictures | {
            "coarse": pil_from_tensor(self.coarse),
            "difference": self.difference_to_pil(),
            "refined": self.to_pil(),
        }

    def _repr_png_(self) -> bytes:
        """Show the output in a notebook."""
        buffer = io.BytesIO()
        self.to_grid(scale=max(1, 256 // self.refined.shape[-2])).save(buffer, "PNG")
        return buffer.getvalue()


def output_grid(outputs: Sequence[PG2Output], scale: int = 1) -> Image.Image:
    """Return a grid with one row per output; the columns are those of `PG2Output.to_grid`.

    Raises:
        DataError: there is no output, or the outputs have different columns.
    """
    rows = [output._pictures() for output in outputs]
    return image_grid([list(row.values()) for row in rows], titles=list(rows[0]) if rows else (), scale=scale)


def save_picture(picture: Image.Image, path: str | PathLike[str], recipe: Recipe | None = None) -> None:
    """Write a picture in the format of the path's suffix.

    Args:
        picture: the picture.
        path: appears, or is replaced, when the picture is complete.
        recipe: how the picture was made, written into a PNG and left out of other formats.

    Raises:
        DataError: the suffix stands for no format that Pillow writes.
    """
    kind = picture_format(path)
    options = {} if recipe is None or kind != "PNG" else {"pnginfo": recipe.png_info()}
    with atomic_path(path) as temporary:
        picture.save(temporary, kind, **options)


def picture_format(path: str | PathLike[str]) -> str:
    """Return Pillow's name of the format that the suffix of a file stands for.

    Raises:
        DataError: Pillow writes no such format.
    """
    suffix = Path(path).suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise DataError(f"{path}: expected a file name that ends in .png or .jpg, got {suffix or 'no suffix'}")
    return kind


def batch_of(count: int, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a batch of `count`, repeating a batch of one.

    Raises:
        DataError: the tensor has another shape or batch size.
    """
    expected = ", ".join(map(str, shape))
    if tensor.ndim != len(shape) + 1 or tensor.shape[1:] != shape:
        raise DataError(f"{name}: expected the shape (batch, {expected}), got {tuple(tensor.shape)}")
    if not count or len(tensor) not in (1, count):
        raise DataError(f"{name}: expected one for all target poses or one for each, got {len(tensor)} for {count}")
    return tensor.expand(count, *shape)
