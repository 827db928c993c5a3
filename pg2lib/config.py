"""Configuration: frozen dataclasses, their presets, and their JSON form.

A configuration is data: it can be printed, compared, hashed and written next to the weights it made.
Every place where the paper and the authors' released code differ is a field; the default is the paper's
value unless the paper is silent (then the released code's).
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

DiscriminatorInput = Literal["pair", "single"]
DiscriminatorNorm = Literal["batch", "spectral"]
AdversarialLoss = Literal["paper", "released-market1501", "released-deepfashion"]
MaskSource = Literal["target", "condition"]
Decoder = Literal["released", "symmetric"]
PoseEmbedding = Literal["heatmaps", "coordinates", "heatmap-encoder"]
Networks = Literal["G1", "G1+D", "G1+G2+D"]
Turns = Literal["d-first", "g-first"]


DEFAULT_CHECKPOINT = "deepfashion-compact"
"""Of the checkpoints that ship, the one for photos. The demo, ``generate`` and `PG2Pipeline.from_pretrained` load it
where no other is named."""

MARKET1501_CHECKPOINT = "market1501-compact"
"""Of the checkpoints that ship, the paper's model, narrow: ``evaluate`` scores it where no other is named."""

TABLE1_ROWS: dict[str, dict[str, Any]] = {
    "G1-CE-L1": {"networks": "G1", "stage1.pose_mask_loss": False, "model.pose_embedding": "coordinates"},
    "G1-HME-L1": {"networks": "G1", "stage1.pose_mask_loss": False, "model.pose_embedding": "heatmap-encoder"},
    "G1-L1": {"networks": "G1", "stage1.pose_mask_loss": False},
    "G1-poseMaskLoss": {"networks": "G1"},
    "G1+D": {"networks": "G1+D"},
    "G1+G2+D": {"networks": "G1+G2+D"},
}
"""The models of Table 1, as the paper names them: what each has other than the full model."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of G1, G2 and D (section 3 of the paper; widths of the released code).

    Attributes:
        height, width: canvas in pixels. The height is a power of two from 32; the width is the height or half of it.
        base_width: h, the channels of the first convolution; 128 in the paper.
        bottleneck: z, the features G1's fully connected layer passes on; 64 in the released code.
        discriminator_width: channels of D's first convolution; 64 as in DCGAN.
        discriminator_input: ``"pair"``: D sees condition and image stacked on channels (paper, Eq. 2);
            ``"single"``: D sees one image, and the condition image is one more negative (released code).
        discriminator_norm: ``"batch"``: batch norm, as in DCGAN; ``"spectral"``: spectral norm of every layer's weights
            in its place (Miyato et al. 2018), which the paper does not have.
        g2_outer_skip: whether G2 has its outermost skip connection. The paper draws shortcuts throughout; the released
            128x64 model leaves this one out, the 256x256 model has it.
        g1_decoder: ``"released"``: G1's decoder works at the full width of what it stacks, with 1x1 convolutions after
            up-sampling; ``"symmetric"``: at the widths of the encoder, with 3x3 convolutions throughout, as the paper
            has it.
        g2_last_down: whether G2 halves the resolution after its last block too, as the paper says of every block. The
            released code does not.
        g2_residual: whether G2's blocks add their input as G1's do ("a similar U-Net", says the paper). The released
            code's do not.
        g2_pose: whether G2 sees the target heatmaps too. The paper's sees the condition image and the coarse result
            alone.
        part_warp: whether the generators see the condition image with its body parts moved to the target pose
            (`pg2lib.warp_parts`), and G1 blends it into the coarse result. The paper has nothing of the kind.
        matte: whether G1 sees a matte of the person in the condition image and predicts one of its result.
        stem_px: the images enter and leave G1 as blocks of ``stem_px`` x ``stem_px`` pixels on channels (pixel
            unshuffle), so that its convolutions work at that fraction of the resolution; 1 is the paper's.
        heatmap_background: value of a heatmap away from its keypoint: 0 (paper) or -1 (released code).
        pose_embedding: how the target pose enters G1 (Table 1): ``"heatmaps"``, the paper's own, stacks them on the
            condition image; ``"coordinates"`` (CE) passes the 18 coordinates through two linear layers, and
            ``"heatmap-encoder"`` (HME) the heatmaps through an encoder of their own, to join at the bottleneck.
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
    stem_px: int = 1
    heatmap_background: int = 0
    pose_embedding: PoseEmbedding = "heatmaps"

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.height < 32 or self.height & (self.height - 1):
            raise ConfigError(f"model.height must be a power of two from 32 up, got {self.height}")
        if self.width not in (self.height, self.height // 2):
            raise ConfigError(
                f"model.width must be the height or half of it ({self.height} or {self.height // 2}), got {self.width}"
            )
        for name in ("base_width", "bottleneck", "discriminator_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.stem_px < 1 or self.stem_px & (self.stem_px - 1) or self.height // self.stem_px < 32:
            raise ConfigError(
                f"model.stem_px must be a power of two that leaves G1 at least 32 rows, got {self.stem_px} for a "
                f"height of {self.height}"
            )
        if self.heatmap_background not in (0, -1):
            raise ConfigError(
                f"model.heatmap_background must be 0 (paper) or -1 (released), got {self.heatmap_background}"
            )

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def blocks(self) -> int:
        """N, the convolution blocks of G1: 5 at 128x64, 6 at 256x256 (section 4.1), log2(height) - 2 in general.

        A stem (`stem_px`) of 2 leaves half the height, and so one block less.
        """
        return int(math.log2(self.height // self.stem_px)) - 2

    @property
    def g2_blocks(self) -> int:
        """The convolution blocks of G2, which has no stem: N - 2 with the paper's N."""
        return int(math.log2(self.height)) - 4


@dataclass(frozen=True)
class AugmentConfig:
    """How training pairs are varied, beside the flip. All of it is off in the paper.

    Shares are probabilities per pair, in [0, 1].

    Attributes:
        recolour: share of pairs whose two images are turned about the grey axis by one random angle, their saturation
            times 0.5 to 1.5: colours cannot be guessed, so they have to be copied.
        backdrop: share of pairs whose backdrop, outside the mattes, is replaced by one random plain colour.
        shift: share of pairs whose condition image is scaled by 0.8 to 1.2 and shifted by up to 8 %, as photos are
            never framed exactly alike.
        matte_missing: share of pairs whose condition image comes with a matte of all ones, so that none is needed.
        matte_error: share of pairs whose condition matte is grown or shrunk by a few pixels.
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
    """What both stages share: Adam's settings and the schedule (section 4.1).

    Attributes:
        steps: optimisation steps.
        batch_size: pairs a step, over all processes together.
        lr: Adam's learning rate, constant unless ``lr_decay_steps`` is set.
        lr_decay_steps: steps at the end over which the rate falls linearly to zero; 0 keeps it constant, as the
            released code does in effect.
        ema_decay: decay of an exponential moving average of the generator's weights; 0 keeps none.
        seed: seeds the initial weights, the order of the pairs and the flips.
        flip: left-right flip, one coin a pair.
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
    def pairs_a_step(self) -> int:
        """Pairs that one step learns from."""
        return self.batch_size


@dataclass(frozen=True)
class Stage1Config(TrainingConfig):
    """Stage I: G1 alone, Eq. 1.

    Attributes:
        pose_mask_loss: weight the body twice (Eq. 1); False is plain L1, the G1-L1 row of Table 1.
        matte_weight: weight of the matte's binary cross-entropy, where ``model.matte`` asks for a matte.
        blend_weight: weight of a prior towards copying, the mean of (1 - blend) times coverage, where
            ``model.part_warp`` is on.
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
    """Stage II: G2 against D, Eq. 2 to 4, G1 frozen.

    Attributes:
        steps: optimisation steps, each one step of D and one of G2.
        l1_weight: lambda of Eq. 4, on the mean over pixels and channels: 10 at 128x64 and 50 at 256x256 in the released
            code; the paper's body gives no value.
        adversarial_loss: Eq. 2 and 3 as in the paper, or as either released script has them (see pg2lib.losses).
        d_lr: Adam's learning rate for D, two time scales (Heusel et al. 2017); 0 is the generator's, as in the paper.
        turns: who learns first in a step: ``"d-first"``, D and then G2 on one batch (the paper's "in turn"); or
            ``"g-first"``, G2 and then D, each on a batch of its own (released code).
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
    def pairs_a_step(self) -> int:
        """Pairs that one step learns from: a batch, or one each for G2 and D where they have their own."""
        return self.batch_size * (2 if self.turns == "g-first" else 1)


@dataclass(frozen=True)
class EvaluationConfig:
    """How results are scored.

    Attributes:
        mask_from: the pose mask of mask-SSIM: the target's (paper) or, as the released scoring script reads it, the
            condition image's.
        pairs: test pairs that Table 1 scores, where there are so many: 12,800 (section 4.1), 400 of DeepFashion in the
            released code.
    """

    mask_from: MaskSource = "target"
    pairs: int = 12_800

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.pairs < 1:
            raise ConfigError(f"evaluation.pairs must be at least 1, got {self.pairs}")


@dataclass(frozen=True)
class PG2Config:
    """Everything that decides what a training run makes.

    Attributes:
        networks: what is trained (Table 1): ``"G1+G2+D"``, the paper's model in two stages; ``"G1"``, stage I alone,
            whose coarse result is the result; ``"G1+D"``, one stage, in which G1 learns against D (see `one_stage`).

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
        """How G1+D is trained: as stage II, for as many steps as both stages have, so that no row of Table 1 has more.

        The paper does not say how long its one-stage model was trained.
        """
        return dataclasses.replace(self.stage2, steps=self.stage1.steps + self.stage2.steps)

    def stage(self, number: int) -> TrainingConfig:
        """Return the settings of stage I (1), of stage II (2), or of the one-stage model (0)."""
        return (self.one_stage, self.stage1, self.stage2)[number]

    @classmethod
    def preset(cls, name: str) -> PG2Config:
        """A named configuration.

        ``market1501`` and ``deepfashion`` are the paper's (section 4.1); with ``-released`` the authors' code as
        shipped, and with ``-plus`` the paper's networks with the part warp and mattes in front of them, spectral norm
        in D, and augmentation, whose figures are still to be taken. ``compact`` (128x64) is the paper's model, narrow;
        ``deepfashion-compact`` (256x256) is the narrow model for photos, with part warp, mattes and a half-resolution
        stem. Both ship and run on laptops. ``fast`` is for tests and first looks.

        Raises:
            ConfigError: no such preset; the message lists them.
        """
        presets = all_presets()
        if name not in presets:
            raise ConfigError(f"no preset {name!r}{_nearest(name, presets)}; presets: {', '.join(presets)}")
        return presets[name]

    def row(self, name: str) -> PG2Config:
        """This configuration as a row of Table 1 has it, such as ``"G1-L1"`` (see TABLE1_ROWS).

        Raises:
            ConfigError: no such row; the message lists them.
        """
        if name not in TABLE1_ROWS:
            raise ConfigError(
                f"no row {name!r}{_nearest(name, TABLE1_ROWS)} in Table 1; rows: {', '.join(TABLE1_ROWS)}"
            )
        return self.override(TABLE1_ROWS[name])

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PG2Config:
        """Builds a configuration from nested plain values. Absent keys take their defaults.

        Raises:
            ConfigError: an unknown key (the nearest valid one is named) or a value of the wrong type.
        """
        config: PG2Config = _from_dict(cls, values, where="")
        return config

    def to_json(self) -> str:
        """The configuration as indented JSON, stable under a round trip."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PG2Config:
        """The inverse of `to_json`.

        Raises:
            ConfigError: not JSON, an unknown key, or a wrong value.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the configuration is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"the configuration must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def load(cls, name_or_file: str | Path) -> PG2Config:
        """A preset by name, or a JSON file by path."""
        if str(name_or_file) in all_presets():
            return cls.preset(str(name_or_file))
        path = Path(name_or_file)
        if not path.is_file():
            raise ConfigError(
                f"{str(name_or_file)!r} is neither a preset nor a file{_nearest(str(name_or_file), all_presets())}; "
                f"presets: {', '.join(all_presets())}"
            )
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def override(self, assignments: Mapping[str, Any]) -> PG2Config:
        """A copy with fields replaced by dotted name.

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
    """All presets by name: the paper's (section 4.1), the authors' (``-released``), today's (``-plus``), and narrow."""
    deepfashion_model = ModelConfig(height=256, width=256, g2_outer_skip=True)
    plus_model: dict[str, Any] = {
        "discriminator_norm": "spectral", "g2_pose": True, "part_warp": True, "matte": True,
    }  # fmt: skip
    augment = AugmentConfig(recolour=0.6, backdrop=0.2, shift=0.3, matte_missing=0.1, matte_error=0.2)
    market1501 = PG2Config()
    deepfashion = PG2Config(
        model=deepfashion_model,
        stage1=Stage1Config(steps=30_000, batch_size=8),
        stage2=Stage2Config(steps=20_000, batch_size=8, l1_weight=50.0),
    )
    return {
        "market1501": market1501,
        "deepfashion": deepfashion,
        "market1501-released": PG2Config(
            model=ModelConfig(discriminator_input="single", heatmap_background=-1),
            stage1=Stage1Config(steps=22_000),
            stage2=Stage2Config(steps=38_000, adversarial_loss="released-market1501", turns="g-first"),
            evaluation=EvaluationConfig(mask_from="condition"),
        ),
        "deepfashion-released": PG2Config(
            model=dataclasses.replace(deepfashion_model, discriminator_input="single", heatmap_background=-1),
            stage1=Stage1Config(steps=22_000, batch_size=1),
            stage2=Stage2Config(
                steps=58_000, batch_size=1, l1_weight=50.0, adversarial_loss="released-deepfashion", turns="g-first"
            ),
            evaluation=EvaluationConfig(mask_from="condition", pairs=400),
        ),
        "market1501-plus": PG2Config(
            model=dataclasses.replace(market1501.model, **plus_model),
            augment=augment,
            stage1=Stage1Config(
                steps=22_000, batch_size=32, lr=1e-4, lr_decay_steps=11_000, ema_decay=0.999, blend_weight=0.05
            ),
            stage2=Stage2Config(
                steps=14_000, batch_size=32, lr=1e-4, lr_decay_steps=7_000, ema_decay=0.999, l1_weight=50.0
            ),
        ),
        "deepfashion-plus": PG2Config(
            model=dataclasses.replace(deepfashion_model, **plus_model),
            augment=augment,
            stage1=Stage1Config(
                steps=30_000, batch_size=16, lr=1e-4, lr_decay_steps=15_000, ema_decay=0.999, blend_weight=0.05
            ),
            stage2=Stage2Config(
                steps=20_000, batch_size=16, lr=1e-4, lr_decay_steps=10_000, ema_decay=0.999, l1_weight=250.0
            ),
        ),
        "compact": PG2Config(
            model=ModelConfig(base_width=24, discriminator_width=32),
            stage1=Stage1Config(steps=4_000, lr=4e-4, lr_decay_steps=1_500, ema_decay=0.999),
            stage2=Stage2Config(steps=400, lr=1e-4, lr_decay_steps=100, ema_decay=0.995, l1_weight=100.0),
        ),
        "deepfashion-compact": PG2Config(
            model=dataclasses.replace(
                deepfashion_model, base_width=32, stem_px=2, discriminator_width=32, **plus_model
            ),
            augment=augment,
            stage1=Stage1Config(
                steps=37_500, batch_size=8, lr=4e-4, lr_decay_steps=15_000, ema_decay=0.999, blend_weight=0.05
            ),
            stage2=Stage2Config(
                steps=4_000, batch_size=8, lr=1e-4, lr_decay_steps=1_500, ema_decay=0.998, l1_weight=100.0
            ),
        ),
        "fast": PG2Config(
            model=ModelConfig(base_width=8, bottleneck=16, discriminator_width=8),
            stage1=Stage1Config(steps=60, batch_size=8, lr=1e-3),
            stage2=Stage2Config(steps=30, batch_size=8, lr=1e-3),
        ),
    }


def _nearest(name: str, valid: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check_fields(config: Any) -> None:
    """Refuses values whose type is not the annotated one; JSON and the command line bring in anything."""
    hints = get_type_hints(type(config))
    for entry in dataclasses.fields(config):
        value, hint = getattr(config, entry.name), hints[entry.name]
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                choices = ", ".join(map(repr, get_args(hint)))
                raise ConfigError(f"{entry.name} must be one of {choices}, got {value!r}")
        elif hint is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"{entry.name} must be a finite number, got {value!r}")
        elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
            raise ConfigError(f"{entry.name} must be of type {hint.__name__}, got {value!r}")


def _from_dict(cls: Any, values: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(f"unknown configuration key {where + key!r}{_nearest(key, hints)}")
        if dataclasses.is_dataclass(hints[key]) and not isinstance(value, Mapping):
            raise ConfigError(f"{where + key} must be an object of settings, got {value!r}")
    parts = {
        key: _from_dict(hints[key], value, f"{where}{key}.") if dataclasses.is_dataclass(hints[key]) else value
        for key, value in values.items()
    }
    try:
        return cls(**parts)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith(where) else where + message) from None
