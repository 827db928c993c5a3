"""Configuration: frozen dataclasses and their JSON form.

A configuration is data: it can be printed, compared, hashed, and saved next to the weights that were trained with it.
Wherever the paper and the authors' released code differ there is a field. Its default is the paper's value, or the
released code's where the paper gives none.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pg2lib.errors import ConfigError
from pg2lib.json_files import LARGEST, MAX_BYTES, parse_json, read_limited, shown
from pg2lib.presets import PRESETS

DiscriminatorInput = Literal["pair", "single"]
DiscriminatorNorm = Literal["batch", "spectral"]
AdversarialLoss = Literal["paper", "released-market1501", "released-deepfashion"]
MaskSource = Literal["target", "condition"]
Decoder = Literal["released", "symmetric"]
PoseEmbedding = Literal["heatmaps", "coordinates", "heatmap-encoder"]
Networks = Literal["G1", "G1+D", "G1+G2+D"]
Turns = Literal["d-first", "g-first"]


MAX_HEIGHT, MAX_WIDTH = 4096, 4096
"""The largest height of a canvas in pixels, and the most channels of a first layer."""

DEFAULT_CHECKPOINT = "deepfashion-compact"
"""The shipped checkpoint for photos: the default of the demo, of ``generate`` and of `PG2Pipeline.from_pretrained`."""

MARKET1501_CHECKPOINT = "market1501-compact"
"""The shipped checkpoint of the paper's model, with fewer channels: the default of ``evaluate``."""

TABLE1_ROWS: dict[str, dict[str, Any]] = {
    "G1-CE-L1": {"networks": "G1", "stage1.pose_mask_loss": False, "model.pose_embedding": "coordinates"},
    "G1-HME-L1": {"networks": "G1", "stage1.pose_mask_loss": False, "model.pose_embedding": "heatmap-encoder"},
    "G1-L1": {"networks": "G1", "stage1.pose_mask_loss": False},
    "G1-poseMaskLoss": {"networks": "G1"},
    "G1+D": {"networks": "G1+D"},
    "G1+G2+D": {"networks": "G1+G2+D"},
}
"""The models of Table 1, by their names in the paper: the settings in which each differs from the full model."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of G1, G2 and D (section 3 of the paper; widths of the released code).

    Attributes:
        height, width: Canvas in pixels. The height is a power of two from 32 up; the width is the height or half of it.
        base_width: h, the channels of the first convolution; 128 in the paper.
        bottleneck: z, the outputs of G1's first fully connected layer; 64 in the released code.
        discriminator_width: Channels of D's first convolution; 64 as in DCGAN.
        discriminator_input: ``"pair"``: D sees the condition image and another image stacked on channels (paper,
            Eq. 2). ``"single"``: D sees one image, and the condition image is one more negative (released code).
        discriminator_norm: ``"batch"``: batch norm, as in DCGAN. ``"spectral"``: spectral norm of the weights of every
            layer instead (Miyato et al. 2018), which the paper does not use.
        g2_outer_skip: Whether G2 has its outermost skip connection. The paper draws all skip connections; the released
            128x64 model lacks this one, and the 256x256 model has it.
        g1_decoder: ``"released"``: the blocks of G1's decoder have the full width of their concatenated input, and 1x1
            convolutions follow the up-sampling. ``"symmetric"``: the widths of the encoder, with 3x3 convolutions
            throughout, as in the paper.
        g2_last_down: Whether G2 halves the resolution after its last block too, as the paper says of every block. The
            released code does not.
        g2_residual: Whether the blocks of G2 are residual, as those of G1 are ("a similar U-Net", says the paper). In
            the released code they are not.
        g2_pose: Whether G2 sees the target heatmaps too. The paper's G2 sees only the condition image and the coarse
            result.
        part_warp: Whether the generators see the condition image with its body parts moved to the target pose
            (`pg2lib.warp_parts`), and G1 blends that warped image into the coarse result. Not in the paper.
        matte: Whether G1 sees a matte of the person in the condition image, and predicts the matte of its result. Not
            in the paper.
        backdrop: Whether G1 blends the backdrop of the condition image, with the person's place filled from its
            surroundings, into the coarse result. Needs ``matte``. Not in the paper.
        stem_px: Images enter and leave G1 as blocks of ``stem_px`` x ``stem_px`` pixels on channels (pixel unshuffle),
            so that its convolutions work at a fraction of the resolution. What it paints is smoothed afterwards, as the
            blocks would show. 1, the paper's, leaves the pixels in place.
        heatmap_background: Value of a heatmap away from its keypoint: 0 (paper) or -1 (released code).
        pose_embedding: How the target pose enters G1 (Table 1). ``"heatmaps"``, the paper's choice, stacks the heatmaps
            on the condition image. ``"coordinates"`` (CE) passes the 18 coordinates through two linear layers, and
            ``"heatmap-encoder"`` (HME) the heatmaps through their own encoder; both join at the bottleneck.
    """

    height: int = 128
    width: int = 64
    base_width: int = 128
    bottleneck: int = 64
    discriminator_width: int = 64
    discriminator_input: DiscriminatorInput = "pair"
    discriminator_norm: DiscriminatorNorm = "batch"
    g2_outer_skip: bool = False
    g1_decoder: Decoder = "released"
    g2_last_down: bool = False
    g2_residual: bool = False
    g2_pose: bool = False
    part_warp: bool = False
    matte: bool = False
    backdrop: bool = False
    stem_px: int = 1
    heatmap_background: int = 0
    pose_embedding: PoseEmbedding = "heatmaps"

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.height < 32 or self.height & (self.height - 1):
            raise ConfigError(f"model.height must be a power of two from 32 up, got {self.height}")
        if self.height > MAX_HEIGHT:
            raise ConfigError(f"model.height must be at most {MAX_HEIGHT:,}, got {self.height}")
        if self.width not in (self.height, self.height // 2):
            raise ConfigError(
                f"model.width must be the height or half of it ({self.height} or {self.height // 2}), got {self.width}"
            )
        for name in ("base_width", "bottleneck", "discriminator_width"):
            if not 1 <= getattr(self, name) <= MAX_WIDTH:
                raise ConfigError(
                    f"model.{name} must be at least 1 and at most {MAX_WIDTH:,}, got {getattr(self, name)}"
                )
        if self.stem_px < 1 or self.stem_px & (self.stem_px - 1) or self.height // self.stem_px < 32:
            raise ConfigError(
                f"model.stem_px must be a power of two that leaves G1 at least 32 rows, got {self.stem_px} for a "
                f"height of {self.height}"
            )
        if self.backdrop and not self.matte:
            raise ConfigError("model.backdrop needs model.matte = true, which tells the backdrop from the person")
        if self.heatmap_background not in (0, -1):
            raise ConfigError(
                f"model.heatmap_background must be 0 (paper) or -1 (released), got {self.heatmap_background}"
            )

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width

    @property
    def blocks(self) -> int:
        """The number N of convolution blocks of G1: 5 at 128x64, 6 at 256x256 (section 4.1), and log2(height) - 2
        in general; one block fewer with a stem (`stem_px`) of 2, which halves the height.
        """
        return int(math.log2(self.height // self.stem_px)) - 2

    @property
    def g2_blocks(self) -> int:
        """The number of convolution blocks of G2, which has no stem: N - 2 with the paper's N."""
        return int(math.log2(self.height)) - 4


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training pairs, besides the flip. The paper has none of it.

    All values are probabilities per pair, in [0, 1].

    Attributes:
        recolour: That the colours of both images are rotated about the grey axis by the same random angle, and their
            saturation is multiplied by 0.5 to 1.5. As colours cannot be guessed, the model learns to copy them.
        backdrop: That the background of both images, outside their mattes, is replaced by the same random colour.
        shift: That the condition image is scaled by 0.8 to 1.2 and shifted by up to 8 % of the canvas, as photos are
            never framed exactly alike.
        matte_missing: That the matte of the condition image is all ones, so that the model works without a matte too.
        matte_error: That the matte of the condition image is grown or shrunk by a few pixels.
    """

    recolour: float = 0.0
    backdrop: float = 0.0
    shift: float = 0.0
    matte_missing: float = 0.0
    matte_error: float = 0.0

    def __post_init__(self) -> None:
        _check_fields(self)
        for entry in dataclasses.fields(self):
            if not 0 <= getattr(self, entry.name) <= 1:
                raise ConfigError(f"augment.{entry.name} must lie in [0, 1], got {getattr(self, entry.name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings that both stages have: Adam and the schedule (section 4.1).

    Attributes:
        steps: Optimisation steps.
        batch_size: Pairs per step, over all processes together.
        lr: Adam's learning rate, constant unless ``lr_decay_steps`` is set.
        beta1, beta2: Adam's decay rates of the moments.
        lr_decay_steps: Steps at the end over which the learning rate falls linearly to zero. 0 keeps it constant, as
            the released code does in effect.
        ema_decay: Decay of an exponential moving average of the generator's weights; 0 keeps none.
        seed: Seed of the initial weights, the order of the pairs, the flips and the augmentation.
        flip: Whether half of the pairs, drawn at random, are flipped left to right.
    """

    steps: int = 22_000
    batch_size: int = 16
    lr: float = 2e-5
    beta1: float = 0.5
    beta2: float = 0.999
    lr_decay_steps: int = 0
    ema_decay: float = 0.0
    seed: int = 0
    flip: bool = True

    def __post_init__(self) -> None:
        _check_fields(self)
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ConfigError(f"lr must be positive, got {self.lr}")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.lr_decay_steps <= self.steps:
            raise ConfigError(f"lr_decay_steps must lie in [0, steps = {self.steps}], got {self.lr_decay_steps}")

    @property
    def pairs_per_step(self) -> int:
        """The pairs that one step learns from."""
        return self.batch_size


@dataclass(frozen=True)
class Stage1Config(TrainingConfig):
    """Settings of stage I: G1 alone, Eq. 1.

    Attributes:
        pose_mask_loss: Whether the body counts twice (Eq. 1); False is plain L1, the row G1-L1 of Table 1.
        matte_weight: Weight of the binary cross-entropy of the matte, with ``model.matte``.
        blend_weight: Weight of a prior towards copying, the mean of (1 - blend) * coverage, with ``model.part_warp``.
    """

    pose_mask_loss: bool = True
    matte_weight: float = 0.2
    blend_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("matte_weight", "blend_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Stage2Config(TrainingConfig):
    """Settings of stage II: G2 against D, Eq. 2 to 4, with G1 frozen.

    Attributes:
        steps: Optimisation steps, each one step of D and one of G2.
        l1_weight: lambda of Eq. 4, on the mean over pixels and channels: 10 at 128x64 and 50 at 256x256 in the released
            code; the paper's body gives no value.
        adversarial_loss: Eq. 2 and 3 as in the paper, or as in either released script (see `pg2lib.losses`).
        d_lr: Adam's learning rate for D (two time scales, Heusel et al. 2017); 0 takes that of the generator, as in the
            paper.
        turns: Who learns first in a step. ``"d-first"``: D and then G2, on the same batch (the paper's "in turn").
            ``"g-first"``: G2 and then D, each on its own batch (released code).
    """

    steps: int = 14_000
    l1_weight: float = 10.0
    adversarial_loss: AdversarialLoss = "paper"
    d_lr: float = 0.0
    turns: Turns = "d-first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1_weight < 0:
            raise ConfigError(f"l1_weight must not be negative, got {self.l1_weight}")
        if self.d_lr < 0:
            raise ConfigError(f"d_lr must not be negative, got {self.d_lr}")

    @property
    def pairs_per_step(self) -> int:
        """The pairs that one step learns from: one batch, or two where G2 and D have their own."""
        return self.batch_size * (2 if self.turns == "g-first" else 1)


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the evaluation.

    Attributes:
        mask_from: Whose pose mask mask-SSIM uses: that of the target image (paper), or that of the condition image, as
            the released scoring script does.
        pairs: How many test pairs Table 1 scores at most: 12,800 (section 4.1); 400 of DeepFashion in the released
            code.
    """

    mask_from: MaskSource = "target"
    pairs: int = 12_800

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.pairs < 1:
            raise ConfigError(f"evaluation.pairs must be at least 1, got {self.pairs}")


@dataclass(frozen=True)
class PG2Config:
    """All settings of a training run and of its evaluation.

    Attributes:
        networks: What is trained (Table 1). ``"G1+G2+D"``: the paper's model, in two stages. ``"G1"``: stage I alone,
            whose coarse result is the result. ``"G1+D"``: one stage, in which G1 learns against D (see `one_stage`).

    >>> PG2Config.preset("market1501").model.blocks
    5
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    stage1: Stage1Config = field(default_factory=Stage1Config)
    stage2: Stage2Config = field(default_factory=Stage2Config)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    networks: Networks = "G1+G2+D"

    def __post_init__(self) -> None:
        _check_fields(self)
        pairs = self.model.discriminator_input == "pair"
        if pairs != (self.stage2.adversarial_loss == "paper"):
            raise ConfigError(
                f"model.discriminator_input = {self.model.discriminator_input!r} does not go with "
                f"stage2.adversarial_loss = {self.stage2.adversarial_loss!r}: the paper's loss judges pairs, "
                f"the released losses judge single images"
            )
        needs_matte = self.augment.backdrop or self.augment.matte_missing or self.augment.matte_error
        if needs_matte and not self.model.matte:
            raise ConfigError("augment.backdrop, augment.matte_missing and augment.matte_error need model.matte = true")

    @property
    def one_stage(self) -> Stage2Config:
        """The settings with which G1+D is trained: those of stage II, for as many steps as both stages together.

        So no row of Table 1 is trained for longer. The paper does not say how long its one-stage model was trained.
        """
        return dataclasses.replace(self.stage2, steps=self.stage1.steps + self.stage2.steps)

    def stage(self, number: int) -> TrainingConfig:
        """Return the settings of stage I (1), of stage II (2), or of the one-stage model (0)."""
        return (self.one_stage, self.stage1, self.stage2)[number]

    @classmethod
    def preset(cls, name: str) -> PG2Config:
        """Return a named configuration; `pg2lib.presets` describes them.

        Raises:
            ConfigError: There is no such preset; the message lists them.
        """
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}{_nearest(name, PRESETS)}; presets: {', '.join(PRESETS)}")
        return cls().override(PRESETS[name])

    def row(self, name: str) -> PG2Config:
        """Return this configuration changed into a row of Table 1, such as ``"G1-L1"`` (see `TABLE1_ROWS`).

        Raises:
            ConfigError: There is no such row; the message lists them.
        """
        if name not in TABLE1_ROWS:
            raise ConfigError(
                f"Table 1 has no row {name!r}{_nearest(name, TABLE1_ROWS)}; rows: {', '.join(TABLE1_ROWS)}"
            )
        return self.override(TABLE1_ROWS[name])

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values; the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PG2Config:
        """Build a configuration from nested plain values. Absent keys take their defaults.

        Raises:
            ConfigError: A key is unknown (the message names the nearest valid one), or a value is wrong.
        """
        config: PG2Config = _from_dict(cls, values, where="")
        return config

    def to_json(self) -> str:
        """Return the configuration as indented JSON; the inverse of `from_json`."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> PG2Config:
        """Build a configuration from JSON.

        Raises:
            ConfigError: The text is not a JSON object, a key is unknown, or a value is wrong.
        """
        values = parse_json(text, "the configuration", error=ConfigError)
        if not isinstance(values, dict):
            raise ConfigError(f"the configuration must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def load(cls, name_or_file: str | Path) -> PG2Config:
        """Return a preset by its name, or read a JSON file.

        Raises:
            ConfigError: There is neither a preset nor a file of that name, or the file is not a configuration.
        """
        name, path = str(name_or_file), Path(name_or_file)
        if name in PRESETS:
            return cls.preset(name)
        if not path.is_file():
            raise ConfigError(
                f"{name!r} is neither a preset nor a file{_nearest(name, PRESETS)}; presets: {', '.join(PRESETS)}"
            )
        try:
            return cls.from_json(read_limited(path, MAX_BYTES, ConfigError))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def override(self, assignments: Mapping[str, Any]) -> PG2Config:
        """Return a copy with other values of fields, given by dotted name.

        Raises:
            ConfigError: A field does not exist (the message names the nearest valid one), or a value is wrong.

        >>> PG2Config.preset("fast").override({"stage1.steps": 3}).stage1.steps
        3
        """
        values = self.to_dict()
        for dotted, value in assignments.items():
            section, _, key = dotted.rpartition(".")
            if section and not isinstance(values.get(section), dict):
                raise ConfigError(f"no configuration section {section!r} in {dotted!r}{_nearest(section, values)}")
            (values[section] if section else values)[key] = value
        return self.from_dict(values)


def all_presets() -> dict[str, PG2Config]:
    """Return all presets by name; see `pg2lib.presets`."""
    return {name: PG2Config.preset(name) for name in PRESETS}


def _nearest(name: str, valid: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_fields(config: Any) -> None:
    """Refuse values that are not of the annotated type, as JSON and the command line may give them."""
    hints = get_type_hints(type(config))
    for entry in dataclasses.fields(config):
        value, hint = getattr(config, entry.name), hints[entry.name]
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                choices = ", ".join(map(repr, get_args(hint)))
                raise ConfigError(f"{entry.name} must be one of {choices}, got {shown(value)}")
        elif hint is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
                raise ConfigError(f"{entry.name} must be a finite number, got {shown(value)}")
        elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
            raise ConfigError(f"{entry.name} must be of type {hint.__name__}, got {shown(value)}")
        elif hint is int and not -(2**63) <= value < 2**63:
            raise ConfigError(f"{entry.name} must be a whole number of at most 64 bits, got {shown(value)}")


def _from_dict(cls: Any, values: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"unknown configuration key {shown(where + key)}{_nearest(key, hints)}")
        if dataclasses.is_dataclass(hints[key]) and not isinstance(value, Mapping):
            raise ConfigError(f"{where + key} must be an object of settings, got {shown(value)}")
    parts = {
        key: _from_dict(hints[key], value, f"{where}{key}.") if dataclasses.is_dataclass(hints[key]) else value
        for key, value in values.items()
    }
    try:
        return cls(**parts)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith(where) else where + message) from None
