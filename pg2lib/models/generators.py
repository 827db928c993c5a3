"""G1 and G2, the generators of stage I and stage II (sections 3.1 and 3.2; widths of the released code)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pg2lib.config import ModelConfig
from pg2lib.models.blocks import DoubleConv, Stem, conv3x3, relu, xavier_init
from pg2lib.pose import JOINTS
from pg2lib.warp import warp_parts


class G1Input(NamedTuple):
    """What G1 sees, as `G1.forward` takes it; None where the configuration does not ask for it."""

    condition_image: Tensor
    target_heatmaps: Tensor
    warped: Tensor | None = None
    coverage: Tensor | None = None
    matte: Tensor | None = None


def g1_input(
    config: ModelConfig,
    condition_image: Float[Tensor, "batch 3 height width"],
    target_heatmaps: Float[Tensor, "batch 18 height width"],
    condition_xy: Float[Tensor, "batch 18 2"] | None = None,
    target_xy: Float[Tensor, "batch 18 2"] | None = None,
    matte: Float[Tensor, "batch 1 height width"] | None = None,
) -> G1Input:
    """What the generators of a configuration see of a pair: the part warp is made here, and a matte that is missing.

    Args:
        condition_image: [-1, 1].
        target_heatmaps: {0, 1}.
        condition_xy, target_xy: keypoints in pixels, x first, NaN = missing; needed with ``config.part_warp``.
        matte: of the condition image, [0, 1]; None is all ones.

    Raises:
        ValueError: the part warp is asked for, and keypoints are missing.
    """
    if matte is None or not config.matte:
        matte = torch.ones_like(condition_image[:, :1]) if config.matte else None
    if not config.part_warp:
        return G1Input(condition_image, target_heatmaps, matte=matte)
    if condition_xy is None or target_xy is None:
        raise ValueError("the part warp needs condition_xy and target_xy, the keypoints of both poses")
    warped, coverage = warp_parts(condition_image, condition_xy, target_xy, matte)
    return G1Input(condition_image, target_heatmaps, warped, coverage, matte)


class G1Output(NamedTuple):
    """What G1 gives, taken apart.

    Attributes:
        coarse: (batch, 3, height, width), not clamped.
        blend: (batch, 1, height, width) in [0, 1], how much of the coarse result is the warped image; None without the
            part warp.
        matte_logits: (batch, 1, height, width), the logits of the result's matte; None without mattes.
    """

    coarse: Tensor
    blend: Tensor | None
    matte_logits: Tensor | None


class G1(nn.Module):
    """Stage I: condition image and target heatmaps to the coarse result, a U-Net with a fully connected bottleneck.

    N residual blocks down and up, N = ``config.blocks``; with h the base width, encoder block i is h(i + 1) wide. The
    fully connected layers let far-apart body parts exchange what they know. No normalisation, no dropout, linear
    output.

    With ``config.part_warp`` it sees the warped image and its coverage too, and blends the warped image into the
    colours that it paints, as Balakrishnan et al. (CVPR 2018) fuse moved body parts. With ``config.matte`` it sees the
    matte of the condition image and predicts the result's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, n, stem_px = config.base_width, config.blocks, config.stem_px
        stacked = config.pose_embedding == "heatmaps"
        seen = 3 + len(JOINTS) * stacked + (3 + 1) * config.part_warp + config.matte
        self.first = Stem(seen, h, stem_px)
        self.encoder, self.down = _encoder(config)

        self.inner = (h, *_bottleneck_size(config))  # (h, 8, 4 or 8)
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
        self.last = conv3x3(widths[-1], (3 + config.part_warp + config.matte) * stem_px**2)
        self.part_warp, self.matte, self.stem_px = config.part_warp, config.matte, stem_px
        embeddings = {"heatmaps": None, "coordinates": CoordinateEmbedding, "heatmap-encoder": HeatmapEmbedding}
        embedding = embeddings[config.pose_embedding]
        self.embedding = embedding(config) if embedding is not None else None
        self.heatmap_background = config.heatmap_background
        xavier_init(self)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"],
        warped: Float[Tensor, "batch 3 height width"] | None = None,
        coverage: Float[Tensor, "batch 1 height width"] | None = None,
        matte: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """The coarse result, three channels, not clamped; then the blend and the matte's logits, where it has them.

        `split` takes the channels apart.

        Args:
            condition_image: [-1, 1].
            target_heatmaps: {0, 1}.
            warped, coverage: what `pg2lib.warp_parts` gives; needed with ``config.part_warp``, otherwise not used.
            matte: of the condition image, [0, 1]; needed with ``config.matte``, otherwise not used.

        Raises:
            ValueError: something is missing that the configuration asks for.
        """
        x = self._seen(condition_image, target_heatmaps, warped, coverage, matte)
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
        result: Tensor = F.pixel_shuffle(self.last(x), self.stem_px)
        return result if not self.part_warp else _blended(result, warped, coverage)

    def _seen(
        self,
        condition_image: Tensor,
        target_heatmaps: Tensor,
        warped: Tensor | None,
        coverage: Tensor | None,
        matte: Tensor | None,
    ) -> Tensor:
        """Everything that G1 looks at, on channels."""
        seen = [condition_image]
        if self.embedding is None:
            seen.append(_with_background(target_heatmaps, self.heatmap_background))
        if self.part_warp:
            seen += _warp_channels(warped, coverage)
        if self.matte:
            if matte is None:
                raise ValueError("this G1 was configured with model.matte, so it needs the condition image's matte")
            seen.append(matte)
        # The convolutions work on this layout: turned once here, it is not turned again in the backward pass.
        return torch.cat(seen, dim=1).contiguous(memory_format=torch.channels_last)

    def split(self, output: Float[Tensor, "batch channels height width"]) -> G1Output:
        """The channels that `forward` gives, by name."""
        coarse, blend, matte_logits = torch.split(output, [3, int(self.part_warp), int(self.matte)], dim=1)
        return G1Output(coarse, blend if self.part_warp else None, matte_logits if self.matte else None)


def _warp_channels(warped: Tensor | None, coverage: Tensor | None) -> list[Tensor]:
    """The warped image where something covers it, and the coverage."""
    if warped is None or coverage is None:
        raise ValueError("this generator was configured with model.part_warp, so it needs warped image and coverage")
    return [warped * coverage, coverage]


def _blended(result: Tensor, warped: Tensor | None, coverage: Tensor | None) -> Tensor:
    """Warped image and colour, mixed by the blend a = sigmoid(blend logit) * coverage; then a, then what follows it.

    In float32: bfloat16 has no more than some 128 steps from 0.5 to 1.
    """
    assert warped is not None and coverage is not None
    painted, blend_logit, matte_logits = torch.split(result.float(), [3, 1, result.shape[1] - 4], dim=1)
    blend = blend_logit.sigmoid() * coverage
    return torch.cat((torch.lerp(painted, warped, blend), blend, matte_logits), dim=1)


def _bottleneck_size(config: ModelConfig) -> tuple[int, int]:
    """(height, width) where G1's encoder ends."""
    down = config.stem_px << (config.blocks - 1)
    return config.height // down, config.width // down


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


class StagesOutput(NamedTuple):
    """What both stages make of a batch.

    Attributes:
        coarse: [-1, 1].
        difference_map: not clamped; zero where there is no G2.
        refined: coarse + difference map, [-1, 1].
        matte: of the result, [0, 1]; None where G1 predicts none.
    """

    coarse: Tensor
    difference_map: Tensor
    refined: Tensor
    matte: Tensor | None


def both_stages(g1: G1, g2: G2 | None, seen: G1Input) -> StagesOutput:
    """Stage I and stage II. The two results are clamped to [-1, 1], here and nowhere else."""
    coarse, _, matte_logits = g1.split(g1(*seen))
    difference_map = torch.zeros_like(coarse)
    if g2 is not None:
        difference_map = g2(seen.condition_image, coarse, seen.target_heatmaps, seen.warped, seen.coverage)
    matte = None if matte_logits is None else matte_logits.sigmoid()
    return StagesOutput(coarse.clamp(-1, 1), difference_map, (coarse + difference_map).clamp(-1, 1), matte)


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
        self.first = Stem(len(JOINTS), config.base_width, config.stem_px)
        self.encoder, self.down = _encoder(config)
        pixels = math.prod(_bottleneck_size(config))
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

    N - 2 blocks down and up, without the fully connected layer so that detail survives (section 3.2). With
    ``config.part_warp`` it sees the warped image and its coverage too.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        h, n, residual = config.base_width, config.g2_blocks, config.g2_residual
        self.first = conv3x3(3 + 3 + len(JOINTS) * config.g2_pose + (3 + 1) * config.part_warp, h)
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
        self.outer_skip, self.pose, self.part_warp = config.g2_outer_skip, config.g2_pose, config.part_warp
        self.heatmap_background = config.heatmap_background
        xavier_init(self)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        coarse: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"] | None = None,
        warped: Float[Tensor, "batch 3 height width"] | None = None,
        coverage: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """The difference map; the refined result is ``coarse + difference_map``.

        Args:
            target_heatmaps: looked at where ``config.g2_pose`` says so, and needed there.
            warped, coverage: likewise with ``config.part_warp``.

        Raises:
            ValueError: something is missing that the configuration asks for.
        """
        seen = [condition_image, coarse]
        if self.pose:
            if target_heatmaps is None:
                raise ValueError("this G2 was configured with g2_pose, so it needs the target heatmaps too")
            seen.append(_with_background(target_heatmaps, self.heatmap_background))
        if self.part_warp:
            seen += _warp_channels(warped, coverage)
        x = relu(self.first(torch.cat(seen, dim=1).contiguous(memory_format=torch.channels_last)))
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
