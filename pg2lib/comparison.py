"""Generated images next to the images of their pairs, as in Figure 4 of Ma et al. 2017."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.data.store import PairBatch
from pg2lib.images import pil_from_tensor
from pg2lib.pose import Pose


def comparison_rows(
    batch: PairBatch, results: Mapping[str, Float[Tensor, "batch 3 height width"]]
) -> dict[str, list[Image.Image]]:
    """Return the images of pairs and the results for them by name, one picture per pair in each row.

    The rows are "condition image", "target pose", "target image" and the results. `image_grid` draws them.

    Args:
        batch: pairs.
        results: by name, images or difference maps, one per pair, in [-1, 1]. Values outside are clamped.
    """
    canvas = (batch.target_image.shape[2], batch.target_image.shape[3])
    return {
        "condition image": list(map(pil_from_tensor, batch.condition_image)),
        "target pose": [Pose(xy, canvas).draw() for xy in batch.target_xy.cpu()],
        "target image": list(map(pil_from_tensor, batch.target_image)),
        **{name: list(map(pil_from_tensor, images)) for name, images in results.items()},
    }
