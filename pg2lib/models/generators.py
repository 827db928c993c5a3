"""G1 and G2, the generators of stage I and stage II (sections 3.1 and 3.2; widths of the released code).

Both are U-Nets. The lists of widths that they are built from are made by `encoder_widths`, `g1_decoder_widths` and
`g2_widths`, so that the constructors show which layers there are.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pg2lib.backdrop import person_of
from pg2lib.config import ModelConfig
from pg2lib.models.blending import RGB, with_backdrop, with_warp, without_grid
from pg2lib.models.blocks import DoubleConv, Stem, conv3x3, relu, xavier_init
from pg2lib.pose import JOINTS
from pg2lib.warp import warp_parts

WARP = RGB + 1
"""Channels of the warped image with its coverage."""

BACKDROP_LOGIT = -2.0
"""The logit of the backdrop's share before training, a share of 0.12: the colours that G1 paints learn the backdrop as
well, for places where that of the condition image is not the target's, such as borders that the data set padded."""


class G1Input(NamedTuple):
    """The arguments of `G1.forward`; None where the configuration has no such input."""

    condition_image: Tensor
    target_heatmaps: Tensor
    warped: Tensor | None = None
    coverage: Tensor | None = None
    matte: Tensor | None = None
    copying: Tensor | None = None


def g1_input(
    config: ModelConfig,
    condition_image: Float[Tensor, "batch 3 height width"],
    target_heatmaps: Float[Tensor, "batch 18 height width"],
    condition_xy: Float[Tensor, "batch 18 2"] | None = None,
    target_xy: Float[Tensor, "batch 18 2"] | None = None,
    matte: Float[Tensor, "batch 1 height width"] | None = None,
    copying: float = 0.0,
) -> G1Input:
    """Gather the inputs of the generators, with the part warp if the configuration has it.

    Args:
        config: decides which inputs there are.
        condition_image: [-1, 1].
        target_heatmaps: {0, 1}.
        condition_xy, target_xy: keypoints in pixels, x first, NaN = missing; required with ``config.part_warp``.
        matte: matte of the condition image, [0, 1]. None means all ones. Ignored without ``config.matte``.
        copying: added to the logit of the blend: above 0, more is copied from the warped image than G1 has learned to
            copy. Ignored without ``config.part_warp``.

    Raises:
        ValueError: ``config.part_warp`` is set and keypoints are missing.
    """
    if not config.matte:
        matte = None
    elif matte is None:
        matte = torch.ones_like(condition_image[:, :1])
    if not config.part_warp:
        return G1Input(condition_image, target_heatmaps, matte=matte)
    if condition_xy is None or target_xy is None:
        raise ValueError("model.part_warp is set: expected condition_xy and target_xy, got None")
    person = condition_image if matte is None else person_of(condition_image, matte)
    warped, coverage = warp_parts(person, condition_xy, target_xy, matte)
    return G1Input(condition_image, target_heatmaps, warped, coverage, matte, torch.full_like(coverage, copying))


class G1Output(NamedTuple):
    """The output of G1 by name.

    Attributes:
        coarse: (batch, 3, height, width), not clamped.
        blend: (batch, 1, height, width) in [0, 1], the share of the warped image in the coarse result; None without the
            part warp.
        matte_logits: (batch, 1, height, width), logits of the matte of the coarse result; None without mattes.
    """

    coarse: Tensor
    blend: Tensor | None
    matte_logits: Tensor | None


class G1(nn.Module):
    """Stage I: a U-Net from condition image and target heatmaps to the coarse result.

    It has N = ``config.blocks`` residual blocks down, a fully connected bottleneck, and N residual blocks up. The
    bottleneck lets distant body parts exchange information. There is no normalisation, no dropout, and no activation at
    the output.

    With ``config.part_warp`` it also sees the warped image and its coverage, and blends the warped image with the
    colours that it paints, as Balakrishnan et al. (CVPR 2018) fuse moved body parts. With ``config.matte`` it also sees
    the matte of the condition image and predicts that of the result. With ``config.backdrop`` it blends in the backdrop
    of the condition image, the person's place filled.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.first = Stem(g1_channels_in(config), config.base_width, config.stem_px)
        self.encoder, self.down = _residual_encoder(config)

        self.inner = config.base_width, *_bottleneck_size(config)  # (h, 8, 4 or 8)
        self.squeeze = nn.Linear(_encoder_features(config), config.bottleneck)
        # A pose that is embedded, instead of stacked as heatmaps, joins here with z more features.
        self.expand = nn.Linear(config.bottleneck * (1 + (config.pose_embedding != "heatmaps")), math.prod(self.inner))

        stacked, widths = g1_decoder_widths(config)
        symmetric = config.g1_decoder == "symmetric"
        self.merge = nn.ModuleList(map(conv3x3, stacked, widths)) if symmetric else None
        self.decoder = nn.ModuleList(DoubleConv(width, width, residual=True) for width in widths)
        size = 3 if symmetric else 1
        self.up = nn.ModuleList(
            nn.Conv2d(width, above, kernel_size=size, padding=size // 2)
            for width, above in zip(widths, encoder_widths(config)[-2::-1], strict=False)
        )
        painted = RGB + config.part_warp + config.matte + config.backdrop
        self.last = conv3x3(widths[-1], painted * config.stem_px**2)
        self.embedding = _pose_embedding(config)
        xavier_init(self)
        if config.backdrop:
            assert self.last.bias is not None
            nn.init.constant_(self.last.bias[-(config.stem_px**2) :], BACKDROP_LOGIT)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"],
        warped: Float[Tensor, "batch 3 height width"] | None = None,
        coverage: Float[Tensor, "batch 1 height width"] | None = None,
        matte: Float[Tensor, "batch 1 height width"] | None = None,
        copying: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Compute the coarse result, not clamped, followed by the blend and the logits of the matte if there are any.

        `split` takes these channels apart.

        Args:
            condition_image: [-1, 1].
            target_heatmaps: {0, 1}.
            warped, coverage: output of `pg2lib.warp_parts`; required with ``config.part_warp``, otherwise ignored.
            matte: matte of the condition image, [0, 1]; required with ``config.matte``, otherwise ignored.
            copying: added to the logit of the blend; None means 0.

        Raises:
            ValueError: an input that the configuration requires is missing.
        """
        x = self._stack(condition_image, target_heatmaps, warped, coverage, matte)
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
                # A 1x1 convolution works on each pixel alone, so it can run before the pixels are doubled: the result
                # is the same at a quarter of the cost.
                x = _doubled(relu(self.up[i](x)))  # twice the resolution
        result: Tensor = self.last(x)
        if self.config.stem_px > 1:
            result = without_grid(F.pixel_shuffle(result, self.config.stem_px))
        # In float32, as bfloat16 has only some 128 steps from 0.5 to 1.
        if self.config.part_warp:
            result = with_warp(result.float(), warped, coverage, copying)
        if self.config.backdrop:
            result = with_backdrop(result.float(), condition_image, matte, self.config)
        return result

    def _stack(
        self,
        condition_image: Tensor,
        target_heatmaps: Tensor,
        warped: Tensor | None,
        coverage: Tensor | None,
        matte: Tensor | None,
    ) -> Tensor:
        """Stack the inputs on channels."""
        inputs = [condition_image]
        if self.embedding is None:
            inputs.append(_with_background(target_heatmaps, self.config))
        if self.config.part_warp:
            inputs += _warp_channels(warped, coverage)
        if self.config.matte:
            if matte is None:
                raise ValueError("model.matte is set: G1 expected the matte of the condition image, got None")
            inputs.append(matte)
        # Converted once here, the layout that the convolutions use need not be converted in the backward pass.
        return torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)

    def split(self, output: Float[Tensor, "batch channels height width"]) -> G1Output:
        """Take the channels of `forward`'s output apart."""
        part_warp, matte = self.config.part_warp, self.config.matte
        coarse, blend, matte_logits = torch.split(output, [RGB, int(part_warp), int(matte)], dim=1)
        return G1Output(coarse, blend if part_warp else None, matte_logits if matte else None)


class G2(nn.Module):
    """Stage II: a fully convolutional U-Net, from condition image and coarse result to the difference map.

    It has N - 2 blocks down and up, and no fully connected layer, so that detail survives (section 3.2). With
    ``config.g2_pose`` it also sees the target heatmaps, and with ``config.part_warp`` the warped image and its
    coverage.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        h, residual = config.base_width, config.g2_residual
        widths = g2_widths(config)
        self.first = conv3x3(g2_channels_in(config), h)
        self.encoder = nn.ModuleList(
            DoubleConv(entering, width, residual)
            for entering, width in zip(widths.entering, widths.encoder, strict=True)
        )
        self.down = nn.ModuleList(
            conv3x3(width, leaving, stride=2) for width, leaving in zip(widths.encoder, widths.leaving, strict=False)
        )
        # A residual block keeps its width, so a convolution before it merges the skip connection.
        self.merge = nn.ModuleList(conv3x3(width, h) for width in widths.stacked) if residual else None
        self.decoder = nn.ModuleList(DoubleConv(h if residual else width, h, residual) for width in widths.stacked)
        self.last = conv3x3(h, RGB)
        xavier_init(self)

    def forward(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        coarse: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"] | None = None,
        warped: Float[Tensor, "batch 3 height width"] | None = None,
        coverage: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Compute the difference map; the refined result is ``coarse + difference_map``.

        Args:
            condition_image: [-1, 1].
            coarse: the coarse result, not clamped.
            target_heatmaps: {0, 1}; required with ``config.g2_pose``, otherwise ignored.
            warped, coverage: output of `pg2lib.warp_parts`; required with ``config.part_warp``, otherwise ignored.

        Raises:
            ValueError: an input that the configuration requires is missing.
        """
        inputs = [condition_image, coarse]
        if self.config.g2_pose:
            if target_heatmaps is None:
                raise ValueError("model.g2_pose is set: G2 expected the target heatmaps, got None")
            inputs.append(_with_background(target_heatmaps, self.config))
        if self.config.part_warp:
            inputs += _warp_channels(warped, coverage)
        x = relu(self.first(torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)))
        x, skips = _encode(x, self.encoder, self.down)
        for i, block in enumerate(self.decoder):
            skip = skips.pop()
            if x.shape[2] < skip.shape[2]:
                x = _doubled(x)  # twice the resolution
            if skips or self.config.g2_outer_skip:
                x = torch.cat((x, skip), dim=1)
            x = block(x if self.merge is None else relu(self.merge[i](x)))
        result: Tensor = self.last(x)
        return result


class StagesOutput(NamedTuple):
    """The results of both stages.

    Attributes:
        coarse: [-1, 1].
        difference_map: not clamped; zero without G2.
        refined: coarse + difference map, [-1, 1].
        matte: matte of the result, [0, 1]; None if G1 predicts none.
    """

    coarse: Tensor
    difference_map: Tensor
    refined: Tensor
    matte: Tensor | None


def both_stages(g1: G1, g2: G2 | None, inputs: G1Input) -> StagesOutput:
    """Run stage I and stage II. The two results are clamped to [-1, 1] here and nowhere else.

    Args:
        g1, g2: trained generators; without G2 the difference map is zero.
        inputs: the output of `g1_input`.
    """
    coarse, _, matte_logits = g1.split(g1(*inputs))
    difference_map = torch.zeros_like(coarse)
    if g2 is not None:
        difference_map = g2(inputs.condition_image, coarse, inputs.target_heatmaps, inputs.warped, inputs.coverage)
    matte = None if matte_logits is None else matte_logits.sigmoid()
    return StagesOutput(coarse.clamp(-1, 1), difference_map, (coarse + difference_map).clamp(-1, 1), matte)


# -- Widths ------------------------------------------------------------------------------------------------------------


def g1_channels_in(config: ModelConfig) -> int:
    """Return the channels that G1 sees: condition image, heatmaps, part warp and matte, as configured."""
    heatmaps = len(JOINTS) * (config.pose_embedding == "heatmaps")
    return RGB + heatmaps + WARP * config.part_warp + config.matte


def g2_channels_in(config: ModelConfig) -> int:
    """Return the channels that G2 sees: condition image, coarse result, heatmaps and part warp, as configured."""
    return RGB + RGB + len(JOINTS) * config.g2_pose + WARP * config.part_warp


def encoder_widths(config: ModelConfig) -> list[int]:
    """Return the widths of G1's encoder blocks: h, 2h, ..., Nh, with h = ``base_width`` and N = ``blocks``."""
    return [config.base_width * (i + 1) for i in range(config.blocks)]


def g1_decoder_widths(config: ModelConfig) -> tuple[list[int], list[int]]:
    """Return the widths of G1's decoder, lowest block first.

    Returns:
        The channels at the entrance of each block, where the features from below are stacked with a skip connection;
        and the width that the block works at: the same (released code), or that of the encoder (paper).
    """
    skips = encoder_widths(config)[::-1]
    below = [config.base_width, *skips[1:]]  # the bottleneck, then the convolutions that follow each doubling
    stacked = [width + skip for width, skip in zip(below, skips, strict=True)]
    return stacked, skips if config.g1_decoder == "symmetric" else stacked


class G2Widths(NamedTuple):
    """Widths of G2, in the order in which its layers run.

    Attributes:
        entering: channels at the entrance of each encoder block.
        encoder: width of each encoder block: h, 2h, ..., and so of its skip connection.
        leaving: output channels of each convolution that halves the resolution.
        stacked: channels at the entrance of each decoder block: features from below and skip connection.
    """

    entering: list[int]
    encoder: list[int]
    leaving: list[int]
    stacked: list[int]


def g2_widths(config: ModelConfig) -> G2Widths:
    """Return the widths of G2."""
    h, n = config.base_width, config.g2_blocks
    encoder = [h * (i + 1) for i in range(n)]
    if config.g2_residual:  # A residual block keeps its width, so the convolution between two blocks widens.
        entering, leaving = encoder, [*encoder[1:], encoder[-1]]
    else:
        entering, leaving = [h, *encoder[:-1]], encoder
    if not config.g2_last_down:
        leaving = leaving[:-1]
    skips = [encoder[0] if config.g2_outer_skip else 0, *encoder[1:]]
    below = [encoder[-1]] + [h] * (n - 1)
    stacked = [width + skip for width, skip in zip(below, skips[::-1], strict=True)]
    return G2Widths(entering, encoder, leaving, stacked)


def _bottleneck_size(config: ModelConfig) -> tuple[int, int]:
    """Return (height, width) at the end of G1's encoder."""
    down = config.stem_px << (config.blocks - 1)
    return config.height // down, config.width // down


def _encoder_features(config: ModelConfig) -> int:
    """Return how many values G1's encoder ends in."""
    return encoder_widths(config)[-1] * math.prod(_bottleneck_size(config))


# -- Layers ------------------------------------------------------------------------------------------------------------


def _residual_encoder(config: ModelConfig) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Build the N residual blocks of G1's encoder, and the N - 1 convolutions that halve the resolution."""
    widths = encoder_widths(config)
    blocks = nn.ModuleList(DoubleConv(width, width, residual=True) for width in widths)
    return blocks, nn.ModuleList(conv3x3(width, below, stride=2) for width, below in pairwise(widths))


def _encode(x: Tensor, blocks: nn.ModuleList, down: nn.ModuleList) -> tuple[Tensor, list[Tensor]]:
    """Run an encoder; return its output, and the output of every block for the skip connections."""
    skips = []
    for i, block in enumerate(blocks):
        x = block(x)
        skips.append(x)
        if i < len(down):
            x = relu(down[i](x))  # half the resolution
    return x, skips


def _doubled(x: Tensor) -> Tensor:
    """Double the resolution by repeating each pixel."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _with_background(heatmaps: Tensor, config: ModelConfig) -> Tensor:
    """Turn heatmaps of 0 and 1 into those of the released code, -1 and 1, if the configuration says so."""
    return heatmaps if config.heatmap_background == 0 else heatmaps * 2 - 1


def _warp_channels(warped: Tensor | None, coverage: Tensor | None) -> list[Tensor]:
    """Return the warped image, zero where nothing covers it, and the coverage."""
    if warped is None or coverage is None:
        raise ValueError("model.part_warp is set: expected the warped image and coverage, got None")
    return [warped * coverage, coverage]


# -- Other embeddings of the target pose (Table 1) ---------------------------------------------------------------------


def _pose_embedding(config: ModelConfig) -> CoordinateEmbedding | HeatmapEmbedding | None:
    """Build what embeds the target pose into the bottleneck; None if G1 sees the heatmaps themselves."""
    match config.pose_embedding:
        case "coordinates":
            return CoordinateEmbedding(config)
        case "heatmap-encoder":
            return HeatmapEmbedding(config)
        case "heatmaps":
            return None


class CoordinateEmbedding(nn.Module):
    """CE of Table 1: two linear layers from the 18 coordinates to z features."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.first = nn.Linear(2 * len(JOINTS), config.bottleneck)
        self.last = nn.Linear(config.bottleneck, config.bottleneck)

    def forward(self, heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch z"]:
        """Embed heatmaps in {0, 1}."""
        result: Tensor = self.last(F.relu(self.first(coordinates(heatmaps).flatten(1))))
        return result


def coordinates(heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch 18 2"]:
    """Return the mean (x, y) of the ones of each heatmap, as fractions of width and height.

    A heatmap without ones gives (-1, -1), the mark of a missing joint in the field's files.
    """
    rows, columns = heatmaps.sum(dim=3), heatmaps.sum(dim=2)
    mass = rows.sum(dim=2)
    places = [
        (line * torch.arange(line.shape[2], device=line.device)).sum(dim=2) / mass.clamp_min(1) / line.shape[2]
        for line in (columns, rows)
    ]
    return torch.where(mass[..., None] > 0, torch.stack(places, dim=2), -1.0)


class HeatmapEmbedding(nn.Module):
    """HME of Table 1: an encoder of its own, built like G1's, from the 18 heatmaps to z features."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.first = Stem(len(JOINTS), config.base_width, config.stem_px)
        self.encoder, self.down = _residual_encoder(config)
        self.squeeze = nn.Linear(_encoder_features(config), config.bottleneck)

    def forward(self, heatmaps: Float[Tensor, "batch 18 height width"]) -> Float[Tensor, "batch z"]:
        """Embed heatmaps in {0, 1}."""
        x, _ = _encode(relu(self.first(_with_background(heatmaps, self.config))), self.encoder, self.down)
        result: Tensor = self.squeeze(x.flatten(1))
        return result
