"""D, the discriminator of stage II: that of DCGAN, on pairs of condition image and image (section 3.2)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from pg2lib.config import ModelConfig
from pg2lib.models.blocks import GlobalBatchNorm2d


class Discriminator(nn.Module):
    """5x5 convolutions with stride 2 down to 8 x (4 or 8), then a linear layer to one logit.

    LeakyReLU of slope 0.2 throughout, and batch norm after all convolutions but the first. With
    ``discriminator_norm = "spectral"`` there is no batch norm, and the weights of all layers have spectral norm 1.
    Widths double from ``discriminator_width`` to eight times it and stay there: 64, 128, 256, 512 at 128x64, and once
    more 512 at 256x256.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = 6 if config.discriminator_input == "pair" else 3
        depth = int(math.log2(config.height)) - 3
        widths = [config.discriminator_width * min(2**i, 8) for i in range(depth)]
        self.convs = nn.ModuleList(
            nn.Conv2d(width_in, width, kernel_size=5, stride=2, padding=2)
            for width_in, width in zip([channels, *widths], widths, strict=False)
        )
        spectral = config.discriminator_norm == "spectral"
        self.norms = nn.ModuleList(nn.Identity() if spectral else GlobalBatchNorm2d(width) for width in widths[1:])
        self.last = nn.Linear(widths[-1] * (config.height >> depth) * (config.width >> depth), 1)
        for module in self.modules():  # DCGAN's initialisation
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if spectral:
            for layer in (*self.convs, self.last):
                spectral_norm(layer)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch"]:
        """Compute one logit per image, high for real images.

        Args:
            x: [-1, 1]; six channels for pairs, condition image first, three for single images.
        """
        for i, conv in enumerate(self.convs):
            x = conv(x)  # half the resolution
            x = F.leaky_relu(x if i == 0 else self.norms[i - 1](x), 0.2)
        logits: Tensor = self.last(x.flatten(1))  # (batch, 1)
        return logits.squeeze(1)
