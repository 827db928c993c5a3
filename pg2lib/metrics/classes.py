"""The metrics as `torchmetrics.Metric` classes, whose state covers many batches and is synchronised over processes.

Use them alone or in a `torchmetrics.MetricCollection`, which passes each metric the arguments that it takes::

    from pg2lib.metrics import SSIM, FeatureExtractor, FrechetInceptionDistance, MaskSSIM

    collection = MetricCollection({"ssim": SSIM(), "mask_ssim": MaskSSIM()})
    for generated, target, mask in batches:
        collection.update(generated=generated, target=target, mask=mask)
    collection.compute()  # {"mask_ssim": tensor(0.8089), "ssim": tensor(0.2553)}

FID and KID are torchmetrics' own classes, with the network of your choice::

    fid = FrechetInceptionDistance(feature=FeatureExtractor(network, "features"))
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from pg2lib.metrics.inception import SPLITS, inception_scores
from pg2lib.metrics.perceptual import PerceptualNetwork
from pg2lib.metrics.pixel import l1, masked_l1, psnr
from pg2lib.metrics.pose import PoseScores, pose_accuracy
from pg2lib.metrics.sharpness import masked_sharpness, sharpness
from pg2lib.metrics.ssim import Dialect, check_dialect, mask_ssim, ssim

PSNR_CEILING_DB = 100.0
"""The PSNR of two equal images in `PSNR`, instead of infinity, so that the mean stays finite."""

Images = UInt8[Tensor, "batch 3 height width"]


class ImageMetric(Metric):
    """Base class of the metrics that score every pair of images. The value is the mean over the pairs.

    Pairs without a score (NaN), such as those with an empty mask in `MaskedL1`, do not count. The state holds one score
    per pair; synchronisation concatenates the scores of all processes.

    Args:
        variant: tells apart metrics of the same class with different settings.
        kwargs: settings of `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, variant: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A MetricCollection merges metrics for good if their states have the same names and, after the first batch, the
        # same values. The scores of two metrics can coincide on one batch, so the name of the state tells them apart.
        self._state = f"{type(self).__name__}{variant}_scores"
        self.add_state(self._state, [], dist_reduce_fx="cat")

    @property
    def scores(self) -> Float[Tensor, "pairs"]:
        """The score of every pair so far, in order; NaN where a pair has none."""
        return dim_zero_cat(getattr(self, self._state))

    def append(self, scores: Float[Tensor, "batch"]) -> None:
        """Add the scores of a batch to the state."""
        getattr(self, self._state).append(scores)

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean over the pairs that have a score; NaN if none has."""
        return self.scores.nanmean()


class _InDialect(ImageMetric):
    """A mean of scores that a dialect defines."""

    higher_is_better = True

    def __init__(self, dialect: Dialect = "released", **kwargs: Any) -> None:
        check_dialect(dialect)
        super().__init__(dialect, **kwargs)
        self.dialect = dialect


class SSIM(_InDialect):
    """Mean structural similarity (`pg2lib.metrics.ssim.ssim`).

    Args:
        dialect: see `pg2lib.metrics.ssim`.
        kwargs: settings of `torchmetrics.Metric`.
    """

    def update(self, generated: Images, target: Images) -> None:
        """Score a batch of uint8 images (batch, 3, height, width)."""
        self.append(ssim(generated, target, self.dialect))


class MaskSSIM(_InDialect):
    """Mean SSIM of the images multiplied by the pose mask (`pg2lib.metrics.ssim.mask_ssim`).

    Args:
        dialect: see `pg2lib.metrics.ssim`.
        kwargs: settings of `torchmetrics.Metric`.
    """

    def update(self, generated: Images, target: Images, mask: Tensor) -> None:
        """Score a batch of uint8 images (batch, 3, height, width) with masks {0, 1} (batch, 1, height, width)."""
        self.append(mask_ssim(generated, target, mask, self.dialect))


class L1(ImageMetric):
    """Mean absolute difference in grey levels (`pg2lib.metrics.pixel.l1`)."""

    higher_is_better = False

    def update(self, generated: Images, target: Images) -> None:
        """Score a batch of uint8 images (batch, 3, height, width)."""
        self.append(l1(generated, target))


class MaskedL1(ImageMetric):
    """Mean absolute difference inside the pose mask, in grey levels (`pg2lib.metrics.pixel.masked_l1`)."""

    higher_is_better = False

    def update(self, generated: Images, target: Images, mask: Tensor) -> None:
        """Score a batch of uint8 images (batch, 3, height, width) with masks {0, 1} (batch, 1, height, width)."""
        self.append(masked_l1(generated, target, mask))


class PSNR(ImageMetric):
    """Mean peak signal-to-noise ratio of the pairs, in dB (`pg2lib.metrics.pixel.psnr`).

    This is the mean of the ratios, one per pair. `torchmetrics.image.PeakSignalNoiseRatio` returns one ratio of the
    error over all pixels by default.

    Args:
        data_range: largest difference between two pixels: 255 for uint8.
        ceiling_db: upper bound for the score of a pair, which is infinite for equal images.
        kwargs: settings of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, data_range: float, ceiling_db: float = PSNR_CEILING_DB, **kwargs: Any) -> None:
        super().__init__(f"{data_range}_{ceiling_db}", **kwargs)
        self.data_range, self.ceiling_db = data_range, ceiling_db

    def update(self, generated: Images, target: Images) -> None:
        """Score a batch of uint8 images (batch, 3, height, width)."""
        self.append(psnr(generated, target, self.data_range).clamp_max(self.ceiling_db))


class Sharpness(ImageMetric):
    """Mean gradient energy relative to the target image (`pg2lib.metrics.sharpness.sharpness`)."""

    def update(self, generated: Images, target: Images) -> None:
        """Score a batch of uint8 images (batch, 3, height, width)."""
        self.append(sharpness(generated, target))


class MaskedSharpness(ImageMetric):
    """Mean gradient energy inside the pose mask, relative to the target image (`masked_sharpness`)."""

    def update(self, generated: Images, target: Images, mask: Tensor) -> None:
        """Score a batch of uint8 images (batch, 3, height, width) with masks {0, 1} (batch, 1, height, width)."""
        self.append(masked_sharpness(generated, target, mask))


class LPIPS(ImageMetric):
    """Mean perceptual distance, from a network of your choice.

    torchmetrics' `LearnedPerceptualImagePatchSimilarity` builds its network itself, from torchvision.

    Args:
        network: from `pg2lib.metrics.perceptual.load_lpips`, or your own.
        kwargs: settings of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, network: PerceptualNetwork, **kwargs: Any) -> None:
        super().__init__(network.name, **kwargs)
        self.network = network

    def update(self, generated: Images, target: Images) -> None:
        """Score a batch of uint8 images (batch, 3, height, width)."""
        self.append(self.network(generated, target))


def pair_metrics(dialect: Dialect = "released", lpips: PerceptualNetwork | None = None) -> MetricCollection:
    """Return the per-pair metrics of an evaluation report, by their names there.

    Update the collection with the keyword arguments ``generated``, ``target`` and ``mask``.

    Args:
        dialect: of SSIM and mask-SSIM.
        lpips: network for LPIPS, which is left out without one.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "ssim": SSIM(dialect),
        "mask_ssim": MaskSSIM(dialect),
        "l1": L1(),
        "masked_l1": MaskedL1(),
        "psnr": PSNR(data_range=255),
        "sharpness": Sharpness(),
        "masked_sharpness": MaskedSharpness(),
    }
    if lpips is not None:
        metrics["lpips"] = LPIPS(lpips)
    return MetricCollection(metrics)


class PoseAccuracy(Metric):
    """How well images show the target poses, as a pose detector sees it (`pg2lib.metrics.pose.pose_accuracy`).

    The state holds the keypoints of every image.

    Args:
        height: height of the images in pixels.
        kwargs: settings of `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    found_xy: list[Tensor]
    target_xy: list[Tensor]

    def __init__(self, height: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height
        self.add_state("found_xy", [], dist_reduce_fx="cat")
        self.add_state("target_xy", [], dist_reduce_fx="cat")

    def update(self, found_xy: Float[Tensor, "batch 18 2"], target_xy: Float[Tensor, "batch 18 2"]) -> None:
        """Add the detected and the target keypoints of a batch, in pixels, x first; NaN = missing."""
        self.found_xy.append(found_xy)
        self.target_xy.append(target_xy)

    @property
    def scores(self) -> PoseScores:
        """The figures of all images so far, with the numbers of images behind them."""
        return pose_accuracy(dim_zero_cat(self.found_xy), dim_zero_cat(self.target_xy), self.height)

    def compute(self) -> dict[str, Tensor]:
        """Return ``pckh``, ``mean_error``, ``joints_missing`` and ``not_found``; NaN if a figure is undefined."""
        shares = {name: value for name, value in asdict(self.scores).items() if not name.startswith("images")}
        return {name: torch.tensor(math.nan if share is None else share) for name, share in shares.items()}


class InceptionScore(Metric):
    """Inception Score with its splits in the order of the images (`pg2lib.metrics.inception.inception_scores`).

    `torchmetrics.image.inception.InceptionScore` shuffles the images before it splits them, so its value depends on the
    random state, and returns the sample standard deviation. This class keeps the order of the images and returns the
    population standard deviation, as the code of Salimans et al. does. The images of several processes follow one
    another, process by process.

    Args:
        feature: module that takes images and returns logits (batch, classes), such as
            ``FeatureExtractor(network, "logits")``. With ``nn.Identity()``, update the metric with logits.
        splits: number of parts that the images are divided into.
        kwargs: settings of `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    probabilities: list[Tensor]

    def __init__(self, feature: nn.Module, splits: int = SPLITS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feature = feature
        self.splits = splits
        self.add_state("probabilities", [], dist_reduce_fx="cat")

    def update(self, generated: Tensor) -> None:
        """Classify a batch of images."""
        logits: Tensor = self.feature(generated)
        self.probabilities.append(logits.float().softmax(dim=1))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over the splits.

        Raises:
            DataError: There are fewer images than splits.
        """
        scores = inception_scores(dim_zero_cat(self.probabilities), self.splits)
        return scores.mean(), scores.std(correction=0)
