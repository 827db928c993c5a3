from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from pg2lib import DataError, mask_ssim, ssim
from pg2lib.images import tensor_from_pil


def reference(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    return [
        structural_similarity(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), channel_axis=2)
        for a, b in zip(x, y, strict=True)
    ]


def noise(seed: int, shape: tuple[int, ...] = (4, 3, 128, 64)) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["noise", "flat", "near", "extreme"])
def test_same_figures_as_scikit_image(kind: str) -> None:
    x, y = noise(0), noise(1)
    if kind == "flat":
        x, y = torch.full_like(x, 250), torch.full_like(y, 5)
    if kind == "near":
        y = (x.int() + noise(2) % 3).clamp(0, 255).to(torch.uint8)
    if kind == "extreme":
        x, y = (x > 127).to(torch.uint8) * 255, (y > 127).to(torch.uint8) * 255
    assert np.allclose(ssim(x, y).numpy(), reference(x, y), atol=1e-4)


def test_same_figures_as_scikit_image_on_real_pairs(market1501_root) -> None:
    names = [line.split(",") for line in (market1501_root / "market-pairs-test.csv").read_text().splitlines()[1::600]]
    folder = next(market1501_root.rglob("bounding_box_test"))
    x, y = (torch.stack([tensor_from_pil(Image.open(folder / pair[i])) for pair in names]) for i in (0, 1))
    assert np.allclose(ssim(x, y).numpy(), reference(x, y), atol=1e-4)
    mask = torch.zeros(len(x), 1, 128, 64)
    mask[:, :, 20:100, 10:50] = 1
    masked = [image * mask.to(torch.uint8) for image in (x, y)]
    assert np.allclose(mask_ssim(x, y, mask).numpy(), reference(*masked), atol=1e-4)


def test_neighbours_in_a_batch_and_the_memory_format_have_no_say() -> None:
    x, y = noise(0, (20, 3, 128, 64)), noise(1, (20, 3, 128, 64))
    mask = (noise(2, (20, 1, 128, 64)) > 99).float()
    alone = torch.cat([ssim(a[None], b[None]) for a, b in zip(x, y, strict=True)])
    channels_last = [image.contiguous(memory_format=torch.channels_last) for image in (x, y)]
    for images in ((x, y), channels_last, (x, channels_last[1])):
        assert torch.allclose(ssim(*images), alone, rtol=0, atol=1e-7)
        assert torch.equal(mask_ssim(*images, mask), mask_ssim(x, y, mask))


def test_the_mean_over_many_windows_is_not_rounded_away() -> None:
    """Of 187,500 windows that are nearly the same, a sum in float32 can lose the sixth decimal."""
    x = noise(0, (2, 3, 256, 256)) // 16 + 200
    assert np.allclose(ssim(x, x + 10).numpy(), reference(x, x + 10), rtol=0, atol=5e-7)


def test_an_image_is_like_itself_and_the_order_does_not_matter() -> None:
    x, y = noise(0), noise(1)
    assert torch.allclose(ssim(x, x), torch.ones(4))
    assert torch.allclose(ssim(x, y), ssim(y, x), atol=1e-6)


def test_mask_ssim_sees_the_body_only_and_counts_the_whole_frame() -> None:
    x, y = noise(0), noise(1)
    mask = torch.zeros(4, 1, 128, 64)
    assert torch.allclose(mask_ssim(x, y, mask), torch.ones(4))
    assert torch.allclose(mask_ssim(x, y, mask + 1), ssim(x, y))
    mask[:, :, :64] = 1
    other = torch.where(mask.bool(), y, noise(2))
    assert torch.equal(mask_ssim(x, y, mask), mask_ssim(x, other, mask))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (noise(0).float(), noise(1), "generated must be uint8"),
        (noise(0), noise(1).float(), "target must be uint8"),
        (noise(0), noise(1)[:2], "same shape"),
        (noise(0)[0], noise(1)[0], "must have shape"),
        (noise(0, (1, 3, 6, 64)), noise(1, (1, 3, 6, 64)), "at least 7 pixels"),
    ],
)
def test_what_cannot_be_scored_is_refused(x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ssim(x, y)


def test_masks_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="mask must have shape"):
        mask_ssim(noise(0), noise(1), torch.zeros(4, 128, 64))
    with pytest.raises(DataError, match="only 0 and 1"):
        mask_ssim(noise(0), noise(1), torch.full((4, 1, 128, 64), 0.5))
