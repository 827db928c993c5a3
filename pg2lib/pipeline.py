"""PG2Pipeline: from a photo and a target pose to a picture of the person in that pose."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pg2lib.condition import (
    Background,
    ConditionView,
    Photo,
    PhotoBox,
    choose_person,
    find_in_photo,
    find_upright,
    view_canvas,
    view_photo,
)
from pg2lib.config import DEFAULT_CHECKPOINT, PG2Config
from pg2lib.errors import ConfigError, DataError
from pg2lib.framing import Framing
from pg2lib.images import Crop, ImageLike
from pg2lib.models import G1, G2, existing_device, to_device
from pg2lib.models.generators import both_stages, g1_input
from pg2lib.output import PG2Batch, PG2Output, batch_of
from pg2lib.pipeline_folder import (
    ONNX_NAME,
    checkpoint_of,
    described,
    find_folder,
    load_generators,
    read_config,
    write_folder,
)
from pg2lib.pose import Pose
from pg2lib.raster import render_heatmaps
from pg2lib.recipe import Recipe
from pg2lib.targets import Target, frame_pose, read_targets

if TYPE_CHECKING:
    from pg2lib.data.store import PairBatch
    from pg2lib.detect import Detection, PoseDetector
    from pg2lib.models.onnx import OnnxStages

Backend = Literal["torch", "onnxruntime"]

PHOTO_COPYING = 2.0
"""What is added to the logit of the blend for photos, whose people look unlike those of the training images: what is
painted for them fades, and what is copied does not."""


class PG2Pipeline:
    """G1 and G2, with the processing that a photo needs before and after them.

    Models without G2 (Table 1) are pipelines, too: their difference map is zero, and the refined result equals the
    coarse one.

    >>> pipe = PG2Pipeline.from_pretrained()                      # doctest: +SKIP
    >>> pipe("me.jpg", "somebody_walking.jpg").to_pil().save("me_walking.png")  # doctest: +SKIP

    Several poses of one photo: look at it once, then pass each pose through the networks.

    >>> view = pipe.look("me.jpg")                                # doctest: +SKIP
    >>> pipe.repose(view, ["waving", "sitting"])                  # doctest: +SKIP

    Attributes:
        onnx: runs both stages in place of `g1` and `g2` if the pipeline was loaded with ``backend="onnxruntime"``.
        checkpoint: name and SHA-256 of the weights file that the pipeline was loaded from, for recipes; None if it was
            not loaded.
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
        """Put a pipeline together from its parts.

        Args:
            g1, g2: trained generators of that configuration; no G2 if ``config.networks`` has none.
            framing: how people stand in the training images.
            training: a record of the training as JSON values, saved with the weights.
            detector: finds poses in photos. None means MediaPipe, loaded when first needed.
        """
        self.g1 = to_device(g1.eval().requires_grad_(False))
        self.g2 = to_device(g2.eval().requires_grad_(False)) if g2 is not None else None
        self.config, self.framing, self.detector = config, framing, detector
        self.training = dict(training or {})
        self.name = "unnamed"
        self.onnx: OnnxStages | None = None
        self.checkpoint: tuple[str, str] | None = None

    def __repr__(self) -> str:
        model = self.config.model
        place = f"{self.device}" if self.onnx is None else f"{self.device} by onnxruntime"
        return f"PG2Pipeline({self.name}: {model.height}x{model.width}, base width {model.base_width}, on {place})"

    @property
    def generators(self) -> dict[str, G1 | G2]:
        """G1, and G2 if there is one, by name."""
        return {"g1": self.g1} if self.g2 is None else {"g1": self.g1, "g2": self.g2}

    @property
    def device(self) -> torch.device:
        """The device of the generators."""
        return self.g1.first.weight.device

    def to(self, device: torch.device | str) -> PG2Pipeline:
        """Move the generators, and return the pipeline itself.

        Raises:
            ConfigError: there is no such device; or onnxruntime, which uses the CPU alone, runs the pipeline.
        """
        place = existing_device(device, cpu_only=self.onnx is not None)
        for generator in self.generators.values():
            generator.to(place)
        return self

    # -- Tensors -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(
        self,
        condition_image: Float[Tensor, "batch 3 height width"],
        target_heatmaps: Float[Tensor, "batch 18 height width"],
        condition_xy: Float[Tensor, "batch 18 2"] | None = None,
        target_xy: Float[Tensor, "batch 18 2"] | None = None,
        matte: Float[Tensor, "batch 1 height width"] | None = None,
        copying: float = 0.0,
    ) -> PG2Batch:
        """Run both stages on tensors.

        The batch size is that of `target_heatmaps`. Other arguments may have a batch size of 1, which serves all target
        poses.

        Args:
            condition_image: on the model's canvas, [-1, 1].
            target_heatmaps: {0, 1}, see `pg2lib.render_heatmaps`.
            condition_xy, target_xy: keypoints in pixels of the canvas, x first, NaN = missing; required by a model with
                the part warp, otherwise ignored.
            matte: matte of the condition image, [0, 1]; None means all ones. Ignored by a model without mattes.
            copying: see `pg2lib.models.generators.g1_input`.

        Returns:
            A batch with one picture per target pose.

        Raises:
            DataError: a shape does not fit the model, or keypoints that it requires are missing.
        """
        height, width = self.config.model.canvas
        poses = len(target_heatmaps)
        images = batch_of(poses, "condition_image", condition_image, (3, height, width))
        heatmaps = batch_of(poses, "target_heatmaps", target_heatmaps, (18, height, width))
        if self.config.model.part_warp and (condition_xy is None or target_xy is None):
            raise DataError("this model has the part warp: expected condition_xy and target_xy, got None")
        start = time.perf_counter()
        # Each backend is fastest in its own memory format. onnxruntime also needs its images uncopied: after a
        # conversion, torch's threads compete with its own.
        layout = torch.channels_last if self.onnx is None else torch.contiguous_format
        images = images.to(self.device, torch.float32, memory_format=layout)
        inputs = g1_input(
            self.config.model,
            images,
            heatmaps.to(self.device, torch.float32, memory_format=layout),
            None if condition_xy is None else batch_of(poses, "condition_xy", condition_xy, (18, 2)).to(self.device),
            None if target_xy is None else batch_of(poses, "target_xy", target_xy, (18, 2)).to(self.device),
            None if matte is None else batch_of(poses, "matte", matte, (1, height, width)).to(self.device),
            copying,
        )
        made = both_stages(self.g1, self.g2, inputs) if self.onnx is None else self.onnx(inputs)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        return PG2Batch(
            images, made.coarse, made.difference_map, made.refined, inputs.warped, inputs.coverage, made.matte, seconds
        )

    def generate_pairs(self, batch: PairBatch) -> PG2Batch:
        """Run both stages on pairs of a data set."""
        return self.generate(
            batch.condition_image,
            batch.target_heatmaps,
            batch.condition_xy,
            batch.target_xy,
            batch.condition_matte,
        )

    # -- Photos --------------------------------------------------------------------------------------------------------

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a path is a sequence of strings, too
        self,
        image: ImageLike,
        target_pose: Target,
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | None = None,
        retarget: float | None = None,
    ) -> PG2Output: ...

    @overload
    def __call__(
        self,
        image: ImageLike,
        target_pose: Sequence[Target],
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | None = None,
        retarget: float | None = None,
    ) -> list[PG2Output]: ...

    def __call__(
        self,
        image: ImageLike,
        target_pose: Target | Sequence[Target],
        crop: bool = True,
        *,
        condition_pose: Pose | None = None,
        matte: ImageLike | None = None,
        background: Background | None = None,
        retarget: float | None = None,
    ) -> PG2Output | list[PG2Output]:
        """Show the person of `image` in `target_pose`.

        Args:
            image: a PIL image, an array or a path, of any size, mode and EXIF orientation.
            target_pose: a Pose, the name of a preset, a JSON file with a pose, or an image to take the pose from. A
                pose on the model's canvas is used as it is; any other is framed like the people in the training
                images. A list or tuple of these gives a list of outputs, and the photo is looked at once.
            crop: find the person and crop the photo like the training images; with the part warp, the crop of a
                half-length portrait ends where the photo does. False: `image` already has the size of the model's
                canvas and is not cropped.
            condition_pose: the person's pose in `image`, in its pixels, if it is known. Otherwise it is looked for, in
                a photo always, in a model canvas if the model has the part warp.
            matte: the person's matte in `image`, of its size, white or 1 = person, if it is known. Otherwise it is
                looked for, if the model has mattes and MediaPipe is installed.
            background: what `PG2Output.to_pil` sets the person into, if the model has mattes: ``"photo"``, the
                photo's own background with the person's place filled in; ``"plain"``, the backdrop that the model
                paints; or an image. None means ``"photo"`` with ``crop=True`` and ``"plain"`` otherwise.
            retarget: how far target poses take the person's limb lengths, see `pg2lib.retarget`: 0 keeps those of the
                pose, 1 takes the person's. None means 1 for presets and 0 for other poses.

        Raises:
            NoPersonError: nobody is found in the photo, or in the image that the pose is taken from.
            DataError: an image or a pose file cannot be read, a pose has no joint, there is no pose at all, or with
                ``crop=False`` the image has another size than the canvas.
        """
        several = isinstance(target_pose, Sequence) and not isinstance(target_pose, str)
        targets = cast(Sequence[Target], target_pose if several else [target_pose])
        if not targets:
            raise DataError("expected one or more target poses, got an empty list")
        view = self.look(image, crop, condition_pose=condition_pose, matte=matte)
        outputs = self.repose(view, targets, background, retarget)
        return outputs if several else outputs[0]

    def look(
        self,
        image: ImageLike | Photo,
        crop: bool | Crop = True,
        *,
        condition_pose: Pose | None = None,
        other_poses: Sequence[Pose] = (),
        matte: ImageLike | None = None,
        turn: int | None = None,
        person: int = 0,
        box: PhotoBox | None = None,
        people: Sequence[Detection] | None = None,
    ) -> ConditionView:
        """Find the person in a photo, crop it and cut the person out; pass the result to `repose`.

        Args:
            image, condition_pose, matte: see `__call__`. A photo that `Photo.load` loaded is not loaded again.
            crop: see `__call__`; or the crop to use, on the model's canvas.
            other_poses: with `condition_pose`, the poses of the other people in the photo, to tell them apart from the
                person.
            turn: turn the photo clockwise first: 0, 90, 180 or 270 degrees. Poses, `matte`, `crop` and `box` belong to
                the turned photo. Without one of these and without a loaded photo, None turns a photo whose people
                lie on their side or stand on their head.
            person: whom to take of several: 0 for the most prominent; 1 and up count from left to right.
            box: look only at this part of the photo: left, top, right, bottom in pixels.
            people: what `find_people` returned for this photo, so that nobody is looked for again.

        Raises:
            NoPersonError, DataError: see `__call__`; or an argument does not fit the photo.
        """
        model = self.config.model
        photo = Photo.load(image, turn or 0)
        given = (condition_pose, matte, turn, box, people)
        if crop is True and not isinstance(image, Photo) and all(value is None for value in given):
            photo, people = self.find_upright(photo)
        if not crop:
            return view_canvas(photo, model, self._find_people, condition_pose, matte)
        if condition_pose is None and other_poses:
            raise DataError("other_poses: expected condition_pose, the pose of the person, as well")
        if condition_pose is not None:
            poses, people = [condition_pose, *other_poses], []
        else:
            found = find_in_photo(photo, self._find_people, box) if people is None else people
            people = choose_person(found, person)
            poses = [each.pose for each in people]
        if isinstance(crop, Crop):
            return replace(view_photo(photo, model, crop, poses, matte), people=people)
        # The paper's models learn to paint whole people; the part warp moves what there is.
        chosen, portrait = self.framing.crop_of_photo(poses[0], model.canvas, portraits=model.part_warp)
        return replace(view_photo(photo, model, chosen, poses, matte), people=people, portrait=portrait)

    def find_people(self, image: ImageLike | Photo, box: PhotoBox | None = None, turn: int = 0) -> list[Detection]:
        """Find the people in a photo, from left to right, in its pixels. For the arguments see `look`.

        Raises:
            NoPersonError, DataError: nobody is found; the photo cannot be read, or the box does not lie in it.
        """
        return find_in_photo(Photo.load(image, turn), self._find_people, box)

    def find_upright(self, image: ImageLike | Photo) -> tuple[Photo, list[Detection]]:
        """Find people as `find_people` does, and turn the photo if they lie on their side or stand on their head.

        Returns:
            The photo, whose `Photo.turn` says how it was turned, and the people from left to right in its pixels.
        """
        from pg2lib.detect import suggested_turn

        return find_upright(Photo.load(image), self._find_people, partial(suggested_turn, detector=self.detector))

    def repose(
        self,
        view: ConditionView,
        targets: Sequence[Target],
        background: Background | None = None,
        retarget: float | None = None,
    ) -> list[PG2Output]:
        """Show the person of a photo in each target pose.

        On a GPU the poses are one batch. On a CPU, where a batch is not faster, each pose is one, so that the last bit
        of a picture does not depend on the other poses.

        Args:
            view: a photo that `look` looked at.
            targets, background, retarget: see `__call__`.

        Raises:
            NoPersonError, DataError: see `__call__`.
        """
        if not targets:
            raise DataError("expected one or more target poses, got an empty list")
        poses, person = self.target_poses(view, targets, retarget), view.condition_pose
        if background is None:
            background = "photo" if view.crop is not None else "plain"
        behind = view.background(background)
        size = 1 if self.device.type == "cpu" else len(poses)
        batches = [self._generate_poses(view, poses[start : start + size]) for start in range(0, len(poses), size)]
        return [
            replace(
                output,
                target_pose=target,
                condition_pose=person,
                crop=view.crop,
                background=behind,
                recipe=Recipe.of(self.checkpoint, view, target, background),
            )
            for output, target in zip(itertools.chain(*batches), poses, strict=True)
        ]

    def replay(self, image: ImageLike | Photo, recipe: Recipe, background: Background | None = None) -> PG2Output:
        """Make a picture again from the photo and its recipe, see `pg2lib.read_recipe`.

        On the same hardware with the same versions of the libraries, the picture is the same to the last bit.

        Args:
            image: the photo that the recipe was made from.
            recipe: how the picture was made.
            background: replaces that of the recipe. It is required if the recipe's is a picture of the user's.

        Raises:
            CheckpointError: this pipeline's weights are not those of the recipe.
            DataError: the photo cannot be read or is another one, or the background is missing.
        """
        behind = recipe.background if background is None else background
        photo = Photo.load(image)
        recipe.check(self.checkpoint, photo.upright_size, behind)
        photo = Photo.load(photo, (recipe.turn - photo.turn) % 360)
        pose, others = recipe.condition_pose, recipe.other_poses
        view = self.look(photo, recipe.crop or False, condition_pose=pose, other_poses=others)
        return self.repose(view, [recipe.target_pose], behind)[0]

    def target_poses(self, view: ConditionView, targets: Sequence[Target], retarget: float | None = None) -> list[Pose]:
        """Return target poses on the model's canvas, as `repose` draws them; arguments and errors are the same."""
        canvas, find, person = self.config.model.canvas, self._find_people, view.condition_pose
        return read_targets(targets, canvas, self.framing, find, person, retarget, view.portrait)

    def frame_pose(self, pose: Pose, view: ConditionView | None = None) -> Pose:
        """Return a pose on the model's canvas: as it is if it is on it, else framed like training images or the view.

        Raises:
            DataError: the pose has no joint.
        """
        return frame_pose(pose, self.config.model.canvas, self.framing, None if view is None else view.portrait)

    def _generate_poses(self, view: ConditionView, poses: Sequence[Pose]) -> PG2Batch:
        """Run both stages on a photo and poses on the model's canvas."""
        target_xy, pose = torch.stack([pose.xy for pose in poses]), view.condition_pose
        return self.generate(
            view.condition_image[None],
            render_heatmaps(target_xy, self.config.model.canvas),
            (torch.full((18, 2), torch.nan) if pose is None else pose.xy)[None],
            target_xy,
            None if view.matte is None else view.matte[None],
            0.0 if view.crop is None else PHOTO_COPYING,
        )

    def _find_people(self, photo: Image.Image) -> Sequence[Detection]:
        """Find the people in a photo, the most prominent one first.

        Raises:
            NoPersonError: there is nobody.
        """
        if self.detector is not None:
            return [self.detector.detect(photo)]
        from pg2lib.detect import find_people

        return find_people(photo)

    # -- Files ---------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write a pipeline folder, which `from_pretrained` loads.

        Args:
            folder: made if it does not exist; a pipeline in it is replaced.
            dtype: type of the weights on disk. None means float16, which halves the file and changes pictures by less
                than one grey level, or float32 if float16 cannot hold the weights.

        Raises:
            CheckpointError: `dtype` cannot hold the weights, the folder cannot be written, or its ``config.json``
                belongs to something else than a pipeline. The folder keeps what it had.
        """
        states = {name: generator.state_dict() for name, generator in self.generators.items()}
        weights = {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}
        values = {"config": self.config.to_dict(), "framing": asdict(self.framing), "training": self.training}
        write_folder(folder, weights, values, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | PathLike[str] | None = None,
        device: torch.device | str | None = None,
        revision: str | None = None,
        backend: Backend = "torch",
        sha256: str | None = None,
    ) -> PG2Pipeline:
        """Load a pipeline folder.

        Args:
            name_or_folder: a folder, the name of a checkpoint that ships with pg2lib, or a Hugging Face hub id, which
                is downloaded ("owner/name" or "owner/name@revision"). None means "deepfashion-compact", for photos.
            device: None means a GPU if there is one, otherwise the CPU.
            revision: branch, tag or commit of a hub id; only a commit always means the same files.
            backend: what runs the networks. ``"onnxruntime"`` runs the folder's ``model.onnx`` on the CPU, which
                ``python -m pg2lib export`` writes. The weights are loaded for saving alone.
            sha256: what ``model.safetensors`` must have. None means what ``config.json`` names.

        Raises:
            CheckpointError: there is no such folder or hub id; a file is missing, damaged, of another format or another
                SHA-256; the weights do not fit the configuration; ``model.onnx`` was not made from them; or
                onnxruntime is not installed.
            ConfigError: there is no such backend or device, or the device of onnxruntime is not the CPU.
        """
        if backend not in get_args(Backend):
            raise ConfigError(f"backend: expected one of {', '.join(get_args(Backend))}, got {backend!r}")
        folder = find_folder(name_or_folder, revision, with_onnx=backend == "onnxruntime")
        values = read_config(folder) | ({} if sha256 is None else {"sha256": sha256.lower()})
        config, framing = described(folder, values)
        g1, g2 = load_generators(folder, config, values["sha256"])
        pipeline = cls(g1, g2, config, framing, values["training"])
        pipeline.name = str(name_or_folder) if name_or_folder is not None else DEFAULT_CHECKPOINT
        pipeline.checkpoint = checkpoint_of(folder, pipeline.name, values["sha256"])
        if backend == "onnxruntime":
            from pg2lib.models.onnx import OnnxStages

            pipeline.onnx = OnnxStages(folder / ONNX_NAME, g1, g2)
            return pipeline.to(device or "cpu")
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
