"""What `PG2Pipeline` gives: one picture with all that went into it, or a batch of tensors."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.cutout import composed
from pg2lib.images import Crop, image_grid, pil_from_tensor
from pg2lib.pose import Pose


@dataclass(frozen=True, eq=False)
class PG2Batch:
    """What both stages make of a batch of tensors.

    Attributes:
        condition_image: what the model saw, [-1, 1].
        coarse: stage I's result, [-1, 1].
        difference_map: what G2 adds, not clamped.
        refined: coarse + difference map, [-1, 1].
        warped, coverage: what `pg2lib.warp_parts` makes of the condition image; None without the part warp.
        matte: of the result, [0, 1]; None where the model predicts none.
        seconds: wall time of the networks.
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
        """One picture of the batch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")

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
        """The pictures of the batch."""
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class PG2Output:
    """One picture that the pipeline made, and of what.

    Attributes:
        coarse: stage I's result, [-1, 1].
        difference_map: what G2 adds, not clamped.
        refined: coarse + difference map, [-1, 1].
        condition_image: what the model saw, [-1, 1].
        warped: the body parts of the condition image moved to the target pose, [-1, 1]; None without the part warp.
        coverage: where they lie, [0, 1]; None without the part warp.
        matte: of the refined result, [0, 1]; None where the model predicts none.
        background: what `to_pil` sets the person into, [-1, 1]; None leaves the backdrop that the model painted.
        target_pose: the pose asked for, on the model's canvas; None from `PG2Pipeline.generate`.
        condition_pose: the pose found in the photo or given, on the model's canvas; None where there is none.
        crop: the part of the photo that the model saw; None where the image came as a model canvas.
        seconds: wall time of the networks.
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
    seconds: float = math.nan

    def __repr__(self) -> str:
        height, width = self.refined.shape[-2:]
        pose = "" if self.target_pose is None else f", {int(self.target_pose.visible.sum())} joints asked for"
        return f"PG2Output({width}x{height} pixels{pose}, made in {self.seconds * 1000:.0f} ms)"

    def to_pil(self) -> Image.Image:
        """The refined result as a picture, set into the background where there is one."""
        if self.background is None or self.matte is None:
            return pil_from_tensor(self.refined)
        return pil_from_tensor(composed(self.refined, self.matte, self.background))

    def difference_to_pil(self, amplified: float = 1.0) -> Image.Image:
        """The difference map as a picture: grey where G2 changes nothing.

        Args:
            amplified: factor on the difference.
        """
        return pil_from_tensor((self.difference_map * amplified).clamp(-1, 1))

    def to_grid(self, scale: int = 1) -> Image.Image:
        """Condition image, target pose, warped image (where known), coarse, difference map and result side by side."""
        return output_grid([self], scale)

    def _pictures(self) -> dict[str, Image.Image]:
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
        buffer = io.BytesIO()
        self.to_grid(scale=max(1, 256 // self.refined.shape[-2])).save(buffer, "PNG")
        return buffer.getvalue()


def output_grid(outputs: Sequence[PG2Output], scale: int = 1) -> Image.Image:
    """A grid with one row per output, its columns as in `PG2Output.to_grid`.

    Raises:
        DataError: there is no output, or they do not show the same pictures.
    """
    rows = [output._pictures() for output in outputs]
    return image_grid([list(row.values()) for row in rows], titles=list(rows[0]) if rows else (), scale=scale)
