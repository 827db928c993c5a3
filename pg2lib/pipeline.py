"""PG2Pipeline: a photo and a target pose in, the picture of that person in that pose out.

A *pipeline folder* is what a finished model is shared as: ``config.json`` and ``model.safetensors``, nothing pickled.
``model.onnx`` lies beside them where onnxruntime is to run it.
"""

from __future__ import annotations

import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pg2lib.config import DEFAULT_CHECKPOINT, PG2Config
from pg2lib.errors import CheckpointError, ConfigError, DataError, NoPersonError
from pg2lib.files import atomic_path, atomic_write
from pg2lib.images import Crop, ImageLike, from_uint8, image_grid, load_image, pil_from_tensor, tensor_from_pil
from pg2lib.models import G1, G2, to_device
from pg2lib.pose import Pose
from pg2lib.raster import render_heatmaps

if TYPE_CHECKING:
    from pg2lib.detect import PoseDetector
    from pg2lib.onnx_model import OnnxStages

Backend = Literal["torch", "onnxruntime"]

FORMAT = "pg2lib pipeline 1"
CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME = "config.json", "model.safetensors", "model.onnx"
SHIPPED = Path(__file__).parent / "weights"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")

MIDLINE = {"nose": (0,), "neck": (1,), "hips": (8, 11), "knees": (9, 12), "ankles": (10, 13)}
"""Points down the middle of the body and the joints they are the mean of; arms say nothing about framing."""


@dataclass(frozen=True)
class Framing:
    """How people stand in the training images, so that a photo is cropped alike.

    Attributes:
        x: mean place of the midline, as a share of the width.
        y: mean place of each midline point, as a share of the height.
    """

    x: float
    y: Mapping[str, float]

    @classmethod
    def of(cls, xy: Float[Tensor, "rows 18 2"], canvas: tuple[int, int]) -> Framing:
        """Measured on the keypoints of a data set whose images have `canvas` (height, width) pixels.

        Raises:
            DataError: some midline point is not visible in any row.
        """
        points = {name: xy[:, list(joints)].mean(dim=1) for name, joints in MIDLINE.items()}
        means = {name: point.nanmean(dim=0) for name, point in points.items()}
        absent = [name for name, mean in means.items() if bool(mean.isnan().any())]
        if absent:
            raise DataError(f"no row shows {', '.join(absent)}, so how people are framed cannot be measured")
        x = torch.cat([point[:, 0] for point in points.values()]).nanmean()
        return cls(float((x + 0.5) / canvas[1]), {n: float((mean[1] + 0.5) / canvas[0]) for n, mean in means.items()})

    def crop(self, pose: Pose, canvas: tuple[int, int]) -> Crop:
        """The crop of a photo that places the person of `pose` like the people in the training images.

        Height and top edge are the least-squares fit of the midline points that are visible; the crop grows where a
        joint would fall outside it.

        Raises:
            DataError: the pose has no joint.
        """
        left, top, right, bottom = pose.box
        found = {name: pose.xy[list(joints)].mean(dim=0) for name, joints in MIDLINE.items()}
        found = {name: point for name, point in found.items() if not bool(point.isnan().any())}
        smallest = 1.15 * max(bottom - top, (right - left) * canvas[0] / canvas[1], 8.0)
        height, middle_x, middle_y = smallest, (left + right) / 2, (top + bottom) / 2
        if found:
            middle_x = float(torch.stack([point[0] for point in found.values()]).mean())
        if len(found) >= 2:
            place = torch.tensor([self.y[name] for name in found])
            y = torch.stack([point[1] for point in found.values()])
            spread = place - place.mean()
            height = max(smallest, float((spread * (y - y.mean())).sum() / spread.square().sum()))
            middle_y = float(y.mean() - (place.mean() - 0.5) * height)
        crop = Crop.around(middle_x + (0.5 - self.x) * height * canvas[1] / canvas[0], middle_y, height, canvas)
        # Move, never squeeze, when a joint still lies outside.
        dx = max(0.0, right - crop.right) - max(0.0, crop.left - left)
        dy = max(0.0, bottom - crop.bottom) - max(0.0, crop.top - top)
        return replace(crop, left=crop.left + dx, right=crop.right + dx, top=crop.top + dy, bottom=crop.bottom + dy)


@dataclass(frozen=True, eq=False)
class PG2Output:
    """What the pipeline made, and of what.

    Attributes:
        coarse: stage I's result, [-1, 1], (3, height, width); with a batch dimension first from `PG2Pipeline.generate`,
            and where the pipeline was given several target poses.
        difference_map: what G2 adds, not clamped; the same shape.
        refined: coarse + difference map, [-1, 1].
        condition_image: what the model saw, [-1, 1].
        target_pose: the pose asked for, on the model's canvas; None in a batch and from `generate`.
        target_poses: those of a batch, one a picture; empty from `generate`.
        condition_pose: the pose found in the photo, on the model's canvas; None where nothing was detected.
        crop: the part of the photo the model saw; None where the image came as a model canvas.
        seconds: wall time of the two generators.
    """

    coarse: Float[Tensor, "*batch 3 height width"]
    difference_map: Float[Tensor, "*batch 3 height width"]
    refined: Float[Tensor, "*batch 3 height width"]
    condition_image: Float[Tensor, "*batch 3 height width"]
    target_pose: Pose | None = None
    target_poses: tuple[Pose, ...] = ()
    condition_pose: Pose | None = None
    crop: Crop | None = None
    seconds: float = math.nan

    def __len__(self) -> int:
        if self.refined.ndim != 4:
            raise TypeError("this output holds one picture, not a batch")
        return len(self.refined)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> PG2Output:
        """One picture of a batch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        return PG2Output(
            self.coarse[index],
            self.difference_map[index],
            self.refined[index],
            self.condition_image[index],
            target_pose=self.target_poses[index] if self.target_poses else None,
            condition_pose=self.condition_pose,
            crop=self.crop,
            seconds=self.seconds / len(self),
        )

    def __iter__(self) -> Iterator[PG2Output]:
        """The pictures of a batch."""
        return (self[i] for i in range(len(self)))

    def to_pil(self) -> Image.Image:
        """The refined result as a picture.

        Raises:
            DataError: the output is a batch; take one picture of it, ``output[0]``.
        """
        self._refuse_batch()
        return pil_from_tensor(self.refined)

    def difference_to_pil(self) -> Image.Image:
        """The difference map as a picture: grey where G2 changes nothing.

        Raises:
            DataError: as `to_pil`.
        """
        self._refuse_batch()
        return pil_from_tensor(self.difference_map)

    def _refuse_batch(self) -> None:
        if self.refined.ndim != 3:
            raise DataError(f"this output is a batch of {len(self)}; take one, such as output[0]")

    def to_grid(self, scale: int = 1) -> Image.Image:
        """Condition image, target pose (where known), coarse, difference map and refined side by side.

        Of a batch, a row a picture.
        """
        return _grid([self] if self.refined.ndim == 3 else list(self), scale)

    def _pictures(self) -> dict[str, Image.Image]:
        pictures = {"condition": pil_from_tensor(self.condition_image)}
        if self.target_pose is not None:
            pictures["target pose"] = self.target_pose.draw()
        return pictures | {
            "coarse": pil_from_tensor(self.coarse),
            "difference": self.difference_to_pil(),
            "refined": self.to_pil(),
        }

    def _repr_png_(self) -> bytes:
        outputs = [self] if self.refined.ndim == 3 else [self[i] for i in range(min(len(self), 8))]
        buffer = io.BytesIO()
        _grid(outputs, scale=max(1, 256 // self.refined.shape[-2])).save(buffer, "PNG")
        return buffer.getvalue()


def _grid(outputs: Sequence[PG2Output], scale: int) -> Image.Image:
    rows = [output._pictures() for output in outputs]
    return image_grid([list(row.values()) for row in rows], titles=list(rows[0]), scale=scale)


def both_stages(
    g1: G1,
    g2: G2 | None,
    condition_image: Float[Tensor, "batch 3 height width"],
    target_heatmaps: Float[Tensor, "batch 18 height width"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse result, difference map and refined result, the two results clamped to [-1, 1], here and nowhere else."""
    coarse = g1(condition_image, target_heatmaps)
    difference_map = g2(condition_image, coarse, target_heatmaps) if g2 is not None else torch.zeros_like(coarse)
    return coarse.clamp(-1, 1), difference_map, (coarse + difference_map).clamp(-1, 1)


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
    ) -> PG2Output:
        """Both stages on tensors.

        Args:
            condition_image: [-1, 1], of the model's canvas; a batch of one serves all target poses.
            target_heatmaps: {0, 1}, as `pg2lib.render_heatmaps` makes them.

        Returns:
            A batch, one picture a target pose; images clamped to [-1, 1].

        Raises:
            DataError: shapes that do not fit the model.
        """
        height, width = self.config.model.canvas
        for name, tensor, channels in (
            ("condition_image", condition_image, 3),
            ("target_heatmaps", target_heatmaps, 18),
        ):
            if tensor.ndim != 4 or tensor.shape[1:] != (channels, height, width):
                raise DataError(f"{name} must be (batch, {channels}, {height}, {width}), got {tuple(tensor.shape)}")
        if len(condition_image) == 1 <= len(target_heatmaps):
            condition_image = condition_image.expand(len(target_heatmaps), -1, -1, -1)
        if len(condition_image) != len(target_heatmaps):
            raise DataError(f"{len(condition_image)} condition images for {len(target_heatmaps)} target poses")
        start = time.perf_counter()
        # Each backend in the layout it is fast in; after a change of layout, torch's threads are in onnxruntime's way.
        layout = torch.channels_last if self.onnx is None else torch.contiguous_format
        condition = condition_image.to(self.device, torch.float32, memory_format=layout)
        heatmaps = target_heatmaps.to(self.device, torch.float32, memory_format=layout)
        if self.onnx is not None:
            coarse, difference_map, refined = self.onnx(condition, heatmaps)
        else:
            coarse, difference_map, refined = both_stages(self.g1, self.g2, condition, heatmaps)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        return PG2Output(coarse, difference_map, refined, condition, seconds=seconds)

    def __call__(
        self, image: ImageLike, target_pose: Pose | ImageLike | Sequence[Pose | ImageLike], crop: bool = True
    ) -> PG2Output:
        """The person of `image` in `target_pose`.

        Args:
            image: a PIL image, an array or a path, of any size, mode and EXIF orientation.
            target_pose: a Pose, or an image to take the pose from. A Pose on the model's canvas is used as it is; any
                other is framed like the people in the training images. A list or tuple of these gives a batch, one
                picture a pose, for one look for the person in `image`.
            crop: find the person and crop the photo as the training images are. False: `image` already is a model
                canvas, so nothing is detected or cropped in it.

        Raises:
            NoPersonError: nobody is found in the photo, or in the image the pose is taken from.
            DataError: an unreadable image, a pose without joints, no pose at all, or with ``crop=False`` an image of
                another size.
        """
        if isinstance(target_pose, str) or not isinstance(target_pose, Sequence):
            return self(image, [target_pose], crop)[0]
        if not target_pose:
            raise DataError("the list of target poses is empty; expected one or more")
        canvas = self.config.model.canvas
        photo = load_image(image)
        condition_pose = photo_crop = None
        if crop:
            found = self._detect(photo)
            photo_crop = self.framing.crop(found, canvas)
            photo, condition_pose = photo_crop.apply(photo), found.crop(photo_crop)
        elif photo.size != (canvas[1], canvas[0]):
            raise DataError(
                f"with crop=False the image must be a model canvas of {canvas[1]}x{canvas[0]} pixels, got "
                f"{photo.width}x{photo.height}; leave crop on for photos"
            )
        poses = self._target_poses(target_pose)
        heatmaps = render_heatmaps(torch.stack([pose.xy for pose in poses]), canvas)
        output = self.generate(from_uint8(tensor_from_pil(photo))[None], heatmaps)
        return replace(output, target_poses=poses, condition_pose=condition_pose, crop=photo_crop)

    def _target_poses(self, targets: Sequence[Pose | ImageLike]) -> tuple[Pose, ...]:
        """Each on the model's canvas; among several, an error says which of them it is about."""
        poses = []
        for number, target in enumerate(targets, 1):
            try:
                pose = target if isinstance(target, Pose) else self._detect(load_image(target))
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

    def _detect(self, photo: Image.Image) -> Pose:
        if self.detector is not None:
            return self.detector.detect(photo).pose
        from pg2lib.detect import detect_pose

        return detect_pose(photo)

    def save_pretrained(self, folder: str | PathLike[str], dtype: torch.dtype = torch.float16) -> None:
        """Writes a pipeline folder: ``model.safetensors`` first, ``config.json`` last, so that half a folder never
        loads.

        Args:
            dtype: of the weights on disk; float16 halves the file and changes pictures by less than a grey level.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{name}.{key}": value.detach().to("cpu", dtype).contiguous()
            for name, model in self.generators.items()
            for key, value in model.state_dict().items()
        }
        overflowing = [key for key, value in tensors.items() if not bool(value.isfinite().all())]
        if overflowing:
            raise CheckpointError(
                f"weights that {dtype} cannot hold: {', '.join(overflowing[:5])}; save as torch.float32"
            )
        (path / CONFIG_NAME).unlink(missing_ok=True)
        with atomic_path(path / WEIGHTS_NAME) as temporary:
            save_file(tensors, temporary, {"format": FORMAT})
        values = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "framing": asdict(self.framing),
            "training": self.training,
        }
        with atomic_write(path / CONFIG_NAME) as file:
            file.write(json.dumps(values, indent=2) + "\n")

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
                ("owner/name"), which is downloaded. None: "market1501-compact"; for photos "deepfashion-compact" is the
                better one.
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
        values = _read_config(folder)
        try:
            config = PG2Config.from_dict(values["config"])
            framing = Framing(**values["framing"])
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{folder / CONFIG_NAME} does not describe a pipeline: {error!r}") from error
        with torch.device("meta"):  # no time is spent on weights that the file replaces
            g1, g2 = G1(config.model), G2(config.model) if config.networks == "G1+G2+D" else None
        tensors = _read_weights(folder / WEIGHTS_NAME)
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
            from pg2lib.onnx_model import OnnxStages

            pipeline.onnx = OnnxStages(folder / ONNX_NAME, pipeline)
            return pipeline.to(device or "cpu")
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def find_folder(
    name_or_folder: str | PathLike[str] | None, revision: str | None = None, with_onnx: bool = False
) -> Path:
    """The folder that `PG2Pipeline.from_pretrained` reads, downloaded where a hub id is given.

    Args:
        name_or_folder, revision: as there.
        with_onnx: download ``model.onnx`` too, where the hub has it.

    Raises:
        CheckpointError: no such folder or hub id.
    """
    if name_or_folder is None:
        name_or_folder = DEFAULT_CHECKPOINT
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    shipped = shipped_checkpoints()
    if str(name_or_folder) in shipped:
        return shipped[str(name_or_folder)]
    if not HUB_ID.match(str(name_or_folder)):
        raise CheckpointError(
            f"{str(name_or_folder)!r} is no folder, no checkpoint that ships ({', '.join(shipped)}) and no hub id "
            f"(owner/name)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [CONFIG_NAME, WEIGHTS_NAME] + [ONNX_NAME] * with_onnx
    try:
        return Path(snapshot_download(str(name_or_folder), revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"there is no folder {str(name_or_folder)!r}, and it cannot be downloaded from the hub: {error}"
        ) from error


def shipped_checkpoints() -> dict[str, Path]:
    """The pipeline folders that ship with pg2lib, by name."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG_NAME}"))}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a pipeline folder: it has no {CONFIG_NAME}. (A training run keeps its pipeline in the "
            f"folder 'pipeline' once both stages are done.)"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        got = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(f"{path}: expected the format {FORMAT!r}, got {got!r}; was it made by another version?")
    return values


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a pipeline folder: it has no {WEIGHTS_NAME}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
    bad = [key for key, value in tensors.items() if not bool(value.isfinite().all())]
    if bad:
        raise CheckpointError(f"{path} holds NaN or infinite weights in {', '.join(bad[:5])}")
    return tensors
