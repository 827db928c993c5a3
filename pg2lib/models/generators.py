"""G1 and G2, the generators of stage I and stage II (sections 3.1 and 3.2; widths of the released code)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pg2lib.config import ModelConfig
from pg2lib.models.blocks import DoubleConv, conv3x3, relu, xavier_init
from pg2lib.pose import JOINTS


class G1(nn.Module):
    """Stage I: condition image and target heatmaps to the coarse result, a U-Net with a fully connected bottleneck.

    N residual blocks down and up, N = ``config.blocks``; with h the base width, encoder block i is h(i + 1) wide. The
    fully connected layers let far-apart body parts exchange what they know. No normalisation, no dropout, linear
    output.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, n = config.base_width, config.blocks
        stacked = config.pose_embedding == "heatmaps"
        self.first = conv3x3(3 + len(JOINTS) if stacked else 3, h)
        self.encoder, self.down = _encoder(config)

        self.inner = (h, config.height >> (n - 1), config.width >> (n - 1))  # (h, 8, 4 or 8)
        self.squeeze = nn.Linear(n * math.prod(self.inner), config.bottleneck)
        self.expand = nn.Linear(config.bottleneck * (1 if stacked else 2), math.prod(self.inner))

        # Decoder block i works on what comes up from below, stacked with skip n - 1 - i: at their full width (released
        # code), or merged to the encoder's (paper).
        below = [h] + [h * (n - i) for i in range(1, n)]
        stacked_widths = [below[i] + h * (n - i) for i in range(n)]
        symmetric = config.g1_decoder == "symmetric"
        widths = [h * (n - i) for i in range(n)] if symmetric else stacked_widths
        self.merge = nn.ModuleList(map(conv3x3, stacked_widths, widths)) if symmetric else None
        self.decoder = nn.ModuleList(DoubleConv(width, width, residual=True) for width in widths)
        size = 3 if symmetric else 1
        self.up = nn.ModuleList(
            nn.Conv2d(widths[i], h * (n - i - 1), kernel_size=size, padding=size // 2) for i in range(n - 1)
        )
        self.last = conv3x3(widths[-1], 3)
        embeddings = {"heatmaps": None, "coordinates": CoordinateEmbedding, "heatmap-encoder": HeatmapEmbedding}
        embedding = embeddings[config.pose_embedding]
        self.embedding = embedding(config) if embedding is not None else None
        self.heatmap_background = config.heatmap_background
        xavier_init(self)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """The coarse result. Images in [-1, 1], heatmaps in {0, 1}; the output is not clamped."""
        if self.embedding is None:
            x = torch.cat((condition_image, _with_background(target_heatmaps, self.heatmap_background)), dim=1)
        else:
            x = condition_image
        x, skips = _encode(relu(self.first(x)), self.encoder, self.down)
        x = self.squeeze(x.flatten(1))  # (batch, z)
        if self.embedding is not None:
            x = torch.cat((x, self.embedding(target_heatmaps)), dim=1)  # (batch, 2 z)
        x = self.expand(x)  # (batch, h * 8 * (4 or 8))
        x = x.unflatten(1, self.inner)  # (batch, h, 8, 4 or 8)
        for i, block in enumerate(self.decoder):
            x = torch.cat((x, skips.pop()), dim=1)
            x = block(x if self.merge is None else relu(self.merge[i](x)))
            if i < len(self.up) and self.merge is not None:
                x = relu(self.up[i](_doubled(x)))  # twice the resolution
            elif i < len(self.up):
                # The 1x1 convolution works on each pixel alone, so it can come before the pixels are doubled: the same
                # values at a quarter of the cost.
                x = _doubled(relu(self.up[i](x)))  # twice the resolution
        result: Tensor = self.last(x)
        return result


def _encoder(config: ModelConfig) -> tuple[nn.ModuleList, nn.ModuleList]:
    """G1's N residual blocks, block i h(i + 1) wide, and the N - 1 convolutions that halve the resolution."""
    h, n = config.base_width, config.blocks
    blocks = nn.ModuleList(DoubleConv(h * (i + 1), h * (i + 1), residual=True) for i in range(n))
    return blocks, nn.ModuleList(conv3x3(h * (i + 1), h * (i + 2), stride=2) for i in range(n - 1))


def _with_background(heatmaps: Tensor, background: int) -> Tensor:
    """Heatmaps of 0 and 1, or of the released code's -1 and 1."""
    return heatmaps if background == 0 else heatmaps * 2 - 1


def _doubled(x: Tensor) -> Tensor:
    """Each pixel as four."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _encode(x: Tensor, blocks: nn.ModuleList, down: nn.ModuleList) -> tuple[Tensor, list[Tensor]]:
    """The last block's output, and every block's for the skip connections."""
    skips = []
    for i, block in enumerate(blocks):
        x = block(x)
        skips.append(x)
        if i < len(down):
            x = relu(down[i](x))  # half the resolution
    return x, skips


class CoordinateEmbedding(nn.Module):
    """CE of Table 1: the 18 coordinates through two linear layers, to z features.

    A coordinate is the mean place of its heatmap's ones, as a fraction of the canvas; a missing joint is (-1, -1), as
    in the field's files.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.first = nn.Linear(2 * len(JOINTS), config.bottleneck)
        self.last = nn.Linear(config.bottleneck, config.bottleneck)

    def forward(self, heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch z"]:
        """Heatmaps in {0, 1}."""
        result: Tensor = self.last(F.relu(self.first(coordinates(heatmaps).flatten(1))))
        return result


def coordinates(heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch 18 2"]:
    """Where each heatmap has its ones: the mean (x, y) as fractions of width and height, -1 where it has none."""
    rows, columns = heatmaps.sum(dim=3), heatmaps.sum(dim=2)
    mass = rows.sum(dim=2)
    places = [
        (line * torch.arange(line.shape[2], device=line.device)).sum(dim=2) / mass.clamp_min(1) / line.shape[2]
        for line in (columns, rows)
    ]
    return torch.where(mass[..., None] > 0, torch.stack(places, dim=2), -1.0)


class HeatmapEmbedding(nn.Module):
    """HME of Table 1: the 18 heatmaps through an encoder of their own, built as G1's, to z features."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.blocks
        self.first = conv3x3(len(JOINTS), config.base_width)
        self.encoder, self.down = _encoder(config)
        pixels = (config.height >> (n - 1)) * (config.width >> (n - 1))
        self.squeeze = nn.Linear(n * config.base_width * pixels, config.bottleneck)
        self.heatmap_background = config.heatmap_background

    def forward(self, heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch z"]:
        """Heatmaps in {0, 1}."""
        heatmaps = _with_background(heatmaps, self.heatmap_background)
        x, _ = _encode(relu(self.first(heatmaps)), self.encoder, self.down)
        result: Tensor = self.squeeze(x.flatten(1))
        return result


class G2(nn.Module):
    """Stage II: condition image and coarse result to the difference map, a fully convolutional U-Net.

    N - 2 blocks down and up, without the fully connected layer so that detail survives (section 3.2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, n, residual = config.base_width, config.blocks - 2, config.g2_residual
        self.first = conv3x3(3 + 3 + (len(JOINTS) if config.g2_pose else 0), h)
        widths = [h * (i + 1) for i in range(n)]
        # A residual block keeps its width, so there the convolution between two blocks widens, as in G1.
        entering = widths if residual else [h, *widths[:-1]]
        leaving = [*widths[1:], widths[-1]] if residual else widths
        downs = n if config.g2_last_down else n - 1
        self.encoder = nn.ModuleList(DoubleConv(a, b, residual) for a, b in zip(entering, widths, strict=True))
        self.down = nn.ModuleList(conv3x3(widths[i], leaving[i], stride=2) for i in range(downs))
        skips = [width if i > 0 or config.g2_outer_skip else 0 for i, width in enumerate(widths)]
        stacked = [b + skip for b, skip in zip([widths[-1]] + [h] * (n - 1), reversed(skips), strict=True)]
        self.merge = nn.ModuleList(conv3x3(width, h) for width in stacked) if residual else None
        self.decoder = nn.ModuleList(DoubleConv(h if residual else width, h, residual) for width in stacked)
        self.last = conv3x3(h, 3)
        self.outer_skip, self.pose = config.g2_outer_skip, config.g2_pose
        self.heatmap_background = config.heatmap_background
        xavier_init(self)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        coarse: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """The difference map; the refined result is ``coarse + difference_map``.

        Args:
            target_heatmaps: looked at where ``config.g2_pose`` says so, and needed there.
        """
        seen = [condition_image, coarse]
        if self.pose:
            if target_heatmaps is None:
                raise ValueError("this G2 was configured with g2_pose, so it needs the target heatmaps too")
            seen.append(_with_background(target_heatmaps, self.heatmap_background))
        x = relu(self.first(torch.cat(seen, dim=1)))
        x, skips = _encode(x, self.encoder, self.down)
        for i, block in enumerate(self.decoder):
            skip = skips.pop()
            if x.shape[2] < skip.shape[2]:
                x = _doubled(x)  # twice the resolution
            if self.outer_skip or skips:
                x = torch.cat((x, skip), dim=1)
            x = block(x if self.merge is None else relu(self.merge[i](x)))
        result: Tensor = self.last(x)
        return result
