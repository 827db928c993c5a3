"""PG2Pipeline: a photo and a target pose in, the picture of that person in that pose out.

A *pipeline folder* is what a finished model is shared as: ``config.json`` and ``model.safetensors``, nothing pickled.
``model.onnx`` lies beside them where onnxruntime is to run it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pg2lib.config import DEFAULT_CHECKPOINT, PG2Config
from pg2lib.cutout import inside_photo, matte_of_one, on_backdrop, without_person
from pg2lib.errors import CheckpointError, ConfigError, DataError, NoPersonError, PG2Error
from pg2lib.files import atomic_path, atomic_write, sha256_of
from pg2lib.framing import Framing
from pg2lib.images import Crop, ImageLike, from_uint8, load_photo, tensor_from_pil
from pg2lib.models import G1, G2, to_device
from pg2lib.models.generators import both_stages, g1_input
from pg2lib.output import PG2Batch, PG2Output
from pg2lib.pipeline_folder import (
    CONFIG_NAME,
    FORMAT,
    ONNX_NAME,
    WEIGHTS_NAME,
    find_folder,
    not_finite,
    read_config,
    read_weights,
    refuse_destination,
)
from pg2lib.pose import Pose
from pg2lib.raster import render_heatmaps

if TYPE_CHECKING:
    from pg2lib.data.store import PairBatch
    from pg2lib.detect import PoseDetector
    from pg2lib.models.onnx import OnnxStages

log = logging.getLogger(__name__)

Backend = Literal["torch", "onnxruntime"]
Background = Literal["photo", "plain"]


class PG2Pipeline:
    """G1 and G2 with all that a photo needs before and after them.

    The models of Table 1 that have no G2 are pipelines too: their difference map is zero, and the refined result is the
    coarse one.

    >>> pipe = PG2Pipeline.from_pretrained()                      # doctest: +SKIP
    >>> pipe("me.jpg", "somebody_walking.jpg").to_pil().save("me_walking.png")  # doctest: +SKIP

    Attributes:
        onnx: what runs both stages in place of `g1` and `g2`, loaded with ``backend="onnxruntime"``; None: torch does.
    """

    def __init__(
        self,
        g1: G1,
        g2: G2 | None,
        config: PG2Config,
        framing: Framing,
        training: Mapping[str, Any] | None = None,
        detector: PoseDetector | None = None,
    ) -> None:
        """Puts a pipeline together from its parts.

        Args:
            g1, g2: trained generators of that configuration; no G2 where ``config.networks`` has none.
            framing: how people stand in the images they were trained on.
            training: what they were trained on and how, as plain JSON values; it travels with the weights.
            detector: finds poses in photos; by default MediaPipe, loaded when first needed.
        """
        self.g1 = to_device(g1.eval().requires_grad_(False))
        self.g2 = to_device(g2.eval().requires_grad_(False)) if g2 is not None else None
        self.config, self.framing, self.detector = config, framing, detector
        self.training = dict(training or {})
        self.name = "unnamed"
        self.onnx: OnnxStages | None = None

    def __repr__(self) -> str:
        model = self.config.model
        place = f"{self.device}" if self.onnx is None else f"{self.device} by onnxruntime"
        return f"PG2Pipeline({self.name}: {model.height}x{model.width}, base width {model.base_width}, on {place})"

    @property
    def generators(self) -> dict[str, G1 | G2]:
        """G1, and G2 where there is one, by name."""
        return {"g1": self.g1} if self.g2 is None else {"g1": self.g1, "g2": self.g2}

    @property
    def device(self) -> torch.device:
        """Where the generators are."""
        return self.g1.first.weight.device

    def to(self, device: torch.device | str) -> PG2Pipeline:
        """Moves the generators; returns the pipeline itself.

        Raises:
            ConfigError: no such device here; or onnxruntime runs the pipeline, which it does on the CPU alone.
        """
        try:
            if self.onnx is not None and torch.device(device).type != "cpu":
                raise ConfigError(
                    f"onnxruntime runs this pipeline on the CPU; for {device} load it with backend='torch'"
                )
            place = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:  # torch's answer where it was built without the device
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"there is no device {str(device)!r} here; try 'cpu', or None ({reason})") from error
        for generator in self.generators.values():
            generator.to(place)
        return self

    @torch.inference_mode()
    def generate(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"],
        condition_xy: Float[Tensor, "batch 18 2"] | None = None,
        target_xy: Float[Tensor, "batch 18 2"] | None = None,
        matte: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> PG2Batch:
        """Both stages on tensors.

        Args:
            condition_image: [-1, 1], of the model's canvas; a batch of one serves all target poses.
            target_heatmaps: {0, 1}, as `pg2lib.render_heatmaps` makes them.
            condition_xy, target_xy: keypoints in pixels of the canvas, x first, NaN = missing; a model with the part
                warp needs them, others do not look at them. A `condition_xy` of one serves all target poses.
            matte: of the condition image, [0, 1], where the model has mattes; None is all ones. A batch of one serves
                all target poses.

        Returns:
            A batch, one picture per target pose; images clamped to [-1, 1].

        Raises:
            DataError: shapes that do not fit the model, or no keypoints where it needs them.
        """
        height, width = self.config.model.canvas
        poses = len(target_heatmaps)
        condition = _fitting("condition_image", condition_image, (3, height, width), poses)
        heatmaps = _fitting("target_heatmaps", target_heatmaps, (18, height, width), poses)
        if self.config.model.part_warp and (condition_xy is None or target_xy is None):
            raise DataError("this model has the part warp: it needs condition_xy and target_xy, (batch, 18, 2), too")
        start = time.perf_counter()
        # Each backend in the layout it is fast in; after a change of layout, torch's threads are in onnxruntime's way.
        layout = torch.channels_last if self.onnx is None else torch.contiguous_format
        condition = condition.to(self.device, torch.float32, memory_format=layout)
        seen = g1_input(
            self.config.model,
            condition,
            heatmaps.to(self.device, torch.float32, memory_format=layout),
            None if condition_xy is None else _fitting("condition_xy", condition_xy, (18, 2), poses).to(self.device),
            None if target_xy is None else _fitting("target_xy", target_xy, (18, 2), poses).to(self.device),
            None if matte is None else _fitting("matte", matte, (1, height, width), poses).to(self.device),
        )
        made = both_stages(self.g1, self.g2, seen) if self.onnx is None else self.onnx(seen)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        return PG2Batch(
            condition, made.coarse, made.difference_map, made.refined, seen.warped, seen.coverage, made.matte, seconds
        )

    def generate_pairs(self, batch: PairBatch) -> PG2Batch:
        """Both stages on the pairs of a data set."""
        return self.generate(
            batch.condition_image,
            batch.target_heatmaps,
            batch.condition_xy,
            batch.target_xy,
            batch.condition_matte,
        )

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a path is a sequence of strings, too
        self,
        image: ImageLike,
        target_pose: Pose | ImageLike,
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | ImageLike | None = None,
    ) -> PG2Output: ...

    @overload
    def __call__(
        self,
        image: ImageLike,
        target_pose: Sequence[Pose | ImageLike],
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | ImageLike | None = None,
    ) -> list[PG2Output]: ...

    def __call__(
        self,
        image: ImageLike,
        target_pose: Pose | ImageLike | Sequence[Pose | ImageLike],
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | ImageLike | None = None,
    ) -> PG2Output | list[PG2Output]:
        """The person of `image` in `target_pose`.

        Args:
            image: a PIL image, an array or a path, of any size, mode and EXIF orientation.
            target_pose: a Pose, or an image to take the pose from. A Pose on the model's canvas is used as it is; any
                other is framed like the people in the training images. A list or tuple of these gives a list of
                outputs, and the person in `image` is looked for once.
            crop: find the person and crop the photo as the training images are. False: `image` already is a model
                canvas, so nothing is cropped.
            condition_pose: the person's pose in `image`, in its pixels, where it is known. Otherwise it is looked for:
                in photos always, in a model canvas where the model has the part warp.
            matte: the person's matte in `image`, of its size, white or 1 = person, where it is known. Otherwise it is
                looked for where the model has mattes and MediaPipe is installed.
            background: what `PG2Output.to_pil` sets the result into, where the model has mattes: ``"photo"``, the
                photo's own, the person's place filled in; ``"plain"``, the backdrop that the model paints; or an image.
                By default the photo's own with ``crop=True`` and the plain one otherwise.

        Raises:
            NoPersonError: nobody is found in the photo, or in the image the pose is taken from.
            DataError: an unreadable image, a pose without joints, no pose at all, or with ``crop=False`` an image of
                another size.
        """
        several = isinstance(target_pose, Sequence) and not isinstance(target_pose, str)
        targets = cast(Sequence[Pose | ImageLike], target_pose if several else [target_pose])
        if not targets:
            raise DataError("the list of target poses is empty; expected one or more")
        seen = self.look(image, crop, condition_pose=condition_pose, matte=matte)
        outputs = self.repose(seen, targets, background)
        return outputs if several else outputs[0]

    def look(
        self,
        image: ImageLike,
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        others: Sequence[Pose] = (),
    ) -> ConditionView:
        """What the model sees of a photo: the person found, cropped and cut out. `repose` uses it for any target pose.

        Args:
            image, crop, condition_pose, matte: as for a call of the pipeline.
            others: poses of the other people in the photo, where `condition_pose` is given: what belongs to them is
                backdrop.

        Raises:
            NoPersonError, DataError: as for a call of the pipeline.
        """
        canvas = self.config.model.canvas
        photo, size = load_photo(image)
        given_matte = None if matte is None else _matte_image(matte, photo, size)
        if condition_pose is not None and condition_pose.canvas != size:
            raise DataError(
                f"condition_pose is on a canvas of {condition_pose.canvas[1]}x{condition_pose.canvas[0]} pixels, the "
                f"image has {size[1]}x{size[0]}"
            )
        photo_crop, inside = None, torch.ones(1, *canvas, dtype=torch.bool)
        if crop:
            if condition_pose is None:
                condition_pose, *others = (pose.resize(size) for pose in self._people(photo))
            photo_crop = self.framing.crop(condition_pose, canvas)
            inside = inside_photo(photo_crop, size)
            # A large photo has been reduced; poses and crop are in pixels of the file.
            reduced = photo_crop.resized(size, (photo.height, photo.width))
            photo = reduced.apply(photo)
            given_matte = None if given_matte is None else reduced.apply(given_matte)
            condition_pose, others = condition_pose.crop(photo_crop), [pose.crop(photo_crop) for pose in others]
        elif size != canvas:
            raise DataError(
                f"with crop=False the image must be a model canvas of {canvas[1]}x{canvas[0]} pixels, got "
                f"{size[1]}x{size[0]}; leave crop on for photos"
            )
        elif condition_pose is None and self.config.model.part_warp:
            condition_pose = self._pose_or_none(photo)
        picture = from_uint8(tensor_from_pil(photo))
        if not self.config.model.matte:
            return ConditionView(picture, None, condition_pose, photo_crop)
        found = self._matte(photo, given_matte)
        if condition_pose is not None:
            found = matte_of_one(found, condition_pose, others)
        found = found * inside
        # The backdrop of training images is the model's own business; that of photos is not like it.
        condition = on_backdrop(picture, found) if crop else picture
        return ConditionView(condition, found, condition_pose, photo_crop, picture, inside)

    def repose(
        self,
        seen: ConditionView,
        targets: Sequence[Pose | ImageLike],
        background: Background | ImageLike | None = None,
    ) -> list[PG2Output]:
        """One picture per target pose, of a photo that `look` looked at.

        Args, Raises: as for a call of the pipeline.
        """
        canvas = self.config.model.canvas
        poses = self._target_poses(targets)
        target_xy = torch.stack([pose.xy for pose in poses])
        known = seen.condition_pose
        batch = self.generate(
            seen.condition_image[None],
            render_heatmaps(target_xy, canvas),
            (torch.full((18, 2), torch.nan) if known is None else known.xy)[None],
            target_xy,
            None if seen.matte is None else seen.matte[None],
        )
        behind = self._background(seen, background)
        return [
            replace(batch[i], target_pose=pose, condition_pose=known, crop=seen.crop, background=behind)
            for i, pose in enumerate(poses)
        ]

    def _background(self, seen: ConditionView, background: Background | ImageLike | None) -> Tensor | None:
        """What the results are set into; None for the backdrop that the model paints."""
        if background is None:
            background = "photo" if seen.crop is not None else "plain"
        if not self.config.model.matte or (isinstance(background, str) and background == "plain"):
            return None
        if isinstance(background, str) and background == "photo":
            if seen.picture is None or seen.matte is None or seen.inside is None:
                return None
            if not bool((seen.inside & (seen.matte < 0.5)).any()):
                return None  # the person was not told from the background, of which nothing is left
            return without_person(seen.picture, seen.matte, seen.inside)
        height, width = self.config.model.canvas
        picture = ImageOps.fit(load_photo(background)[0], (width, height), Image.Resampling.LANCZOS)
        return from_uint8(tensor_from_pil(picture))

    def _matte(self, photo: Image.Image, given: Image.Image | None) -> Tensor:
        """The matte of everybody in a model canvas, [0, 1]; all ones where none is given and there is no MediaPipe."""
        if given is not None:
            return tensor_from_pil(given)[:1] / 255.0
        from pg2lib.matte import find_matte

        try:
            return find_matte(photo)[None]
        except PG2Error as error:
            log.warning("the person is not cut out: %s", error)
            return torch.ones(1, photo.height, photo.width)

    def _pose_or_none(self, photo: Image.Image) -> Pose | None:
        """The pose in a model canvas; without one the part warp covers nothing."""
        try:
            return self._people(photo)[0]
        except PG2Error as error:
            log.warning("no body part can be moved to the target pose: %s", error)
            return None

    def _target_poses(self, targets: Sequence[Pose | ImageLike]) -> tuple[Pose, ...]:
        """Each on the model's canvas; among several, an error says which of them it is about."""
        poses = []
        for number, target in enumerate(targets, 1):
            try:
                pose = target if isinstance(target, Pose) else self._people(load_photo(target)[0])[0]
                poses.append(self.frame_pose(pose))
            except (DataError, NoPersonError) as error:
                if len(targets) == 1:
                    raise
                raise type(error)(f"target pose {number} of {len(targets)}: {error}") from error
        return tuple(poses)

    def frame_pose(self, pose: Pose) -> Pose:
        """A pose on the model's canvas: as it is when it is on it already, framed like the training images otherwise.

        Raises:
            DataError: the pose has no joint.
        """
        canvas = self.config.model.canvas
        if not bool(pose.visible.any()):
            raise DataError("the target pose has no joint at all")
        return pose if pose.canvas == canvas else pose.crop(self.framing.crop(pose, canvas))

    def _people(self, photo: Image.Image) -> list[Pose]:
        """The poses of the people in a photo, the most prominent first."""
        if self.detector is not None:
            return [self.detector.detect(photo).pose]
        from pg2lib.detect import find_people

        return [person.pose for person in find_people(photo)]

    def save_pretrained(self, folder: str | PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Writes a pipeline folder: ``model.safetensors`` first, ``config.json`` last, so that half a folder never
        loads.

        Args:
            dtype: of the weights on disk. None: float16, which halves the file and changes pictures by less than a grey
                level, or float32 where float16 cannot hold them.

        Raises:
            CheckpointError: weights that the `dtype` cannot hold; or the folder cannot be written, or is not one for a
                pipeline (see `refuse_destination`). What is in the folder stays as it is.
        """
        path = Path(folder)
        refuse_destination(path)
        tensors = self._weights(dtype or torch.float16)
        overflowing = not_finite(tensors)
        if overflowing and dtype is None:
            log.warning("float16 cannot hold %s: the weights are saved as float32", ", ".join(overflowing[:5]))
            tensors = self._weights(torch.float32)
            overflowing = not_finite(tensors)
        if overflowing:
            remedy = "" if dtype in (None, torch.float32) else "; save as torch.float32"
            raise CheckpointError(
                f"weights that {dtype or torch.float32} cannot hold: {', '.join(overflowing[:5])}{remedy}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / CONFIG_NAME).unlink(missing_ok=True)
            with atomic_path(path / WEIGHTS_NAME) as temporary:
                save_file(tensors, temporary, {"format": FORMAT})
                values = {
                    "format": FORMAT,
                    "config": self.config.to_dict(),
                    "framing": asdict(self.framing),
                    "training": self.training,
                    "sha256": sha256_of(temporary),
                }
            with atomic_write(path / CONFIG_NAME) as file:
                file.write(json.dumps(values, indent=2) + "\n")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"the pipeline folder {path} cannot be written: {error}") from error

    def _weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value.detach().to("cpu", dtype).contiguous()
            for name, model in self.generators.items()
            for key, value in model.state_dict().items()
        }

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | PathLike[str] | None = None,
        device: torch.device | str | None = None,
        revision: str | None = None,
        backend: Backend = "torch",
    ) -> PG2Pipeline:
        """Loads a pipeline folder.

        Args:
            name_or_folder: a folder, the name of a checkpoint that ships with pg2lib, or a Hugging Face hub id
                ("owner/name"), which is downloaded. None: "deepfashion-compact", the checkpoint for photos.
            device: by default a GPU when there is one.
            revision: branch, tag or commit of a hub id.
            backend: what runs the networks. ``"onnxruntime"`` runs the folder's ``model.onnx`` on the CPU;
                ``python -m pg2lib export`` makes it. The weights are loaded all the same, so that the pipeline can be
                saved; a change of them does not reach onnxruntime.

        Raises:
            CheckpointError: no such folder or hub id, files missing or damaged, another format, weights that do not fit
                the configuration, a ``model.onnx`` that was not made from them, or no onnxruntime installed.
            ConfigError: no such backend or device, or onnxruntime on another device than the CPU.
        """
        if backend not in get_args(Backend):
            raise ConfigError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
        folder = find_folder(name_or_folder, revision, with_onnx=backend == "onnxruntime")
        values = read_config(folder)
        try:
            config = PG2Config.from_dict(values["config"])
            framing = Framing.from_dict(values["framing"])
        except (KeyError, TypeError, ConfigError, DataError) as error:
            raise CheckpointError(f"{folder / CONFIG_NAME} does not describe a pipeline: {error!r}") from error
        with torch.device("meta"):  # no time is spent on weights that the file replaces
            g1, g2 = G1(config.model), G2(config.model) if config.networks == "G1+G2+D" else None
        tensors = read_weights(folder / WEIGHTS_NAME, values.get("sha256"))
        for name, model in (("g1", g1), ("g2", g2)):
            if model is None:
                continue
            own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            try:
                model.load_state_dict(own, assign=True)
            except RuntimeError as error:
                raise CheckpointError(
                    f"{folder / WEIGHTS_NAME} does not hold the {name.upper()} that {CONFIG_NAME} describes: {error}"
                ) from error
        pipeline = cls(g1, g2, config, framing, values.get("training"))
        pipeline.name = str(name_or_folder) if name_or_folder is not None else DEFAULT_CHECKPOINT
        if backend == "onnxruntime":
            from pg2lib.models.onnx import OnnxStages

            pipeline.onnx = OnnxStages(folder / ONNX_NAME, g1, g2)
            return pipeline.to(device or "cpu")
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


@dataclass(frozen=True, eq=False)
class ConditionView:
    """What a model sees of a photo.

    Attributes:
        condition_image: on the model's canvas, [-1, 1]; the person alone on a plain backdrop where there is a matte.
        matte: of the person, [0, 1], all ones within the photo where none was found; None where the model has none.
        condition_pose: on the model's canvas; None where none is known.
        crop: the part of the photo; None where the image came as a model canvas.
        picture: the crop as the photo shows it, [-1, 1]; None where there is no matte.
        inside: which of its pixels show the photo, and not what lies beyond its edge; None where there is no matte.
    """

    condition_image: Float[Tensor, "3 height width"]
    matte: Float[Tensor, "1 height width"] | None
    condition_pose: Pose | None
    crop: Crop | None
    picture: Float[Tensor, "3 height width"] | None = None
    inside: Bool[Tensor, "1 height width"] | None = None


def _fitting(name: str, tensor: Tensor, shape: tuple[int, ...], count: int) -> Tensor:
    """A batch of `count`, repeated where it is one.

    Raises:
        DataError: another shape or count.
    """
    expected = ", ".join(map(str, shape))
    if tensor.ndim != len(shape) + 1 or tensor.shape[1:] != shape:
        raise DataError(f"{name} must be (batch, {expected}), got {tuple(tensor.shape)}")
    if count and len(tensor) == 1:
        tensor = tensor.expand(count, *shape)
    if not count or len(tensor) != count:
        raise DataError(f"{name}: {len(tensor)} for {count} target poses; expected one for all, or one for each")
    return tensor


def _matte_image(matte: ImageLike, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A given matte as a picture of the photo's size, reduced where the photo of `size` (height, width) was.

    Raises:
        DataError: it has another size.
    """
    picture, matte_size = load_photo(matte)
    if matte_size != size:
        raise DataError(f"the matte has {matte_size[1]}x{matte_size[0]} pixels, the image {size[1]}x{size[0]}")
    return picture if picture.size == photo.size else picture.resize(photo.size)
