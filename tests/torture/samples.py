"""The readers of text and structure, valid samples of what each reads, and the first use of what it returns."""

from __future__ import annotations

import io
import json
import math
import os
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import safe_open
from safetensors.torch import save

from pg2lib.cli.training import assignments
from pg2lib.config import PG2Config
from pg2lib.data.deepfashion import read_list, read_partition
from pg2lib.data.keypoint_csv import CSV_HEADER, read_keypoints
from pg2lib.data.pairs import make_pairs, read_pairs
from pg2lib.data.photos import _Record, read_photos
from pg2lib.data.pose_files import (
    import_keypoints,
    parse_poses,
    read_coco,
    read_openpose,
    read_pose_files,
    read_poses,
    read_target_pose,
)
from pg2lib.data.prepare import _Journal
from pg2lib.data.shards import read_part, read_results
from pg2lib.data.store_files import StoreFiles
from pg2lib.data.synthetic.write import _parameters_of, _read_journal
from pg2lib.evaluation import EvaluationReport, PairScores, compare_reports
from pg2lib.evaluation.report import FrechetFigure, InceptionFigure, ScoredFiles, SetScores, Unscored
from pg2lib.evaluation.results import _read_names
from pg2lib.framing import Framing
from pg2lib.images import Crop
from pg2lib.metrics.inception import load_inception
from pg2lib.metrics.pose import PoseScores
from pg2lib.models import build_models
from pg2lib.models.onnx import OnnxStages, export_onnx
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pipeline_folder import read_weights, refuse_destination
from pg2lib.pose import Pose
from pg2lib.raster import render_heatmaps
from pg2lib.recipe import PNG_KEY, Recipe, read_recipe
from pg2lib.table1.folder import read_report, read_stamp
from pg2lib.table1.history import read_history
from pg2lib.table1.table import read_table1
from pg2lib.training.check import refuse_foreign
from pg2lib.training.checkpoint import TrainingState, checksum, load_checkpoint, newest_checkpoint, save_checkpoint
from pg2lib.training.lock import refuse_if_held
from pg2lib.training.log import logged_seconds, open_log, read_log
from pg2lib.training.loop import identity_of
from pg2lib.user_study import Protocol, Study, create_study, results
from tests.conftest import STANDING
from tests.data.test_pose_files import COCO_ORDER, OPENPOSE_ORDER
from tests.table1.conftest import EPYC, H200, report, write_log, write_starts
from tests.torture.mutate import damage_database, damaged

Read = Callable[[random.Random], object]


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        name: Its name in the figures.
        prepare: Takes an empty folder, and returns the function that damages a sample there, reads it and uses it.
        weight: Its share of the inputs, relative to the others: fast readers have more.
        chunk: How many inputs one process reads.
    """

    name: str
    prepare: Callable[[Path], Read]
    weight: float = 1.0
    chunk: int = 20_000


READERS: list[Reader] = []


def reader(weight: float, chunk: int = 20_000) -> Callable[[Callable[[Path], Read]], Callable[[Path], Read]]:
    """Add a function to `READERS`."""

    def add(prepare: Callable[[Path], Read]) -> Callable[[Path], Read]:
        READERS.append(Reader(prepare.__name__.replace("_", " "), prepare, weight, chunk))
        return prepare

    return add


def from_file(path: Path, samples: list[bytes], read: Callable[[Path], object]) -> Read:
    """Return a function that damages a sample, writes it to `path`, and reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def one(draw: random.Random) -> object:
        path.write_bytes(damaged(samples, draw))
        return read(path)

    return one


def texts(*values: Any) -> list[bytes]:
    """Return values as JSON, and text as it is."""
    return [value.encode() if isinstance(value, str) else json.dumps(value, indent=2).encode() for value in values]


# -- Poses -------------------------------------------------------------------------------------------------------------

POSE = Pose(STANDING, (128, 64))
OTHERS = [
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    b"PK\x03\x04" + b"\x00" * 22 + b"archive/data.pkl" + b"\x00" * 100,
    b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01K\x01u.",
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (18, 2), }",
]
"""What people take for a pose file: a Git LFS pointer, weights, a pickle, an array."""

POSES = texts(*OPENPOSE_ORDER.values(), *COCO_ORDER.values())
COCO = texts(
    {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 64, "height": 128},
            {"id": 8, "file_name": "b.jpg", "width": 64, "height": 128},
        ],
        "annotations": [{"image_id": 7, "keypoints": [30, 40, 2] * 17}, {"image_id": 8, "keypoints": [9, 20, 1] * 17}],
        "categories": [{"keypoints": ["nose"] * 3}],
    }
)  # fmt: skip


def use_poses(poses: list[Pose]) -> None:
    """Do with poses what pipelines and pages do at once."""
    for pose in poses[:2]:
        pose.to_json()
        repr(pose)
        resized = pose.resize((128, 64))
        render_heatmaps(resized.inside().xy[None], (128, 64))


@reader(20)
def pose_file(folder: Path) -> Read:
    samples = [*POSES, *OTHERS]
    return from_file(folder / "pose.json", samples, lambda path: use_poses(read_poses(path)))


@reader(10)
def pasted_pose(folder: Path) -> Read:
    return lambda draw: use_poses(parse_poses(damaged(POSES, draw).decode("utf-8", "surrogateescape")))


@reader(3)
def pose_with_a_canvas(folder: Path) -> Read:
    return from_file(folder / "pose.txt", POSES, lambda path: use_poses(read_poses(path, canvas=(128, 64))))


@reader(3)
def target_pose(folder: Path) -> Read:
    return from_file(folder / "pose.txt", [*POSES, *OTHERS], lambda path: read_target_pose(path))


@reader(4)
def folder_of_pose_files(folder: Path) -> Read:
    (folder / "in").mkdir()
    (folder / "in" / "other.json").write_bytes(POSES[0])

    def read(path: Path) -> None:
        (folder / "k.csv").unlink(missing_ok=True)
        (folder / "k.missing.txt").unlink(missing_ok=True)
        import_keypoints(read_pose_files(folder / "in"), folder / "k.csv")

    return from_file(folder / "in" / "a.json", [*POSES, *COCO], read)


@reader(3)
def openpose_folder(folder: Path) -> Read:
    return from_file(folder / "in" / "a_keypoints.json", POSES[:3], lambda path: list(read_openpose(folder / "in")))


@reader(4)
def coco(folder: Path) -> Read:
    return from_file(folder / "coco.json", COCO, lambda path: list(read_coco(path)))


@reader(10)
def pose_of_a_client(folder: Path) -> Read:
    samples = texts(POSE.to_json(), replace(POSE, canvas=(256, 256)).to_json())
    return lambda draw: use_poses([Pose.from_json(damaged(samples, draw).decode("utf-8", "surrogateescape"))])


# -- Recipes -----------------------------------------------------------------------------------------------------------

RECIPE = Recipe(
    checkpoint="deepfashion-compact",
    sha256="ab" * 32,
    photo_size=(300, 200),
    turn=90,
    condition_pose=Pose(POSE.xy + 1 / 3, (200, 300)),
    other_poses=(Pose(POSE.xy + 150, (200, 300)),),
    crop=Crop(-10.1, 1 / 7, 90.2, 199.9, (128, 64)),
    target_pose=POSE.flip(),
    background="photo",
)


def use_recipe(recipe: Recipe) -> None:
    """Crop a photo as the recipe says."""
    recipe.to_json()
    use_poses([recipe.target_pose])
    if recipe.crop is not None and max(recipe.photo_size) <= 2_000 and max(recipe.crop.canvas) <= 2_000:
        recipe.crop.apply(Image.new("RGB", recipe.photo_size[::-1]))


@reader(8)
def recipe(folder: Path) -> Read:
    whole = texts(RECIPE.to_json(), replace(RECIPE, crop=None, turn=0, condition_pose=None, other_poses=(),
                                            photo_size=(128, 64)).to_json())  # fmt: skip
    return from_file(folder / "recipe.json", whole, lambda path: use_recipe(read_recipe(path)))


@reader(3)
def recipe_in_a_png(folder: Path) -> Read:
    path = folder / "me.png"
    samples = texts(RECIPE.to_json())

    def one(draw: random.Random) -> None:
        info, buffer = PngInfo(), io.BytesIO()
        if draw.random() < 0.5:
            info.add_itxt(PNG_KEY, damaged(samples, draw).decode("utf-8", "replace"), zip=draw.random() < 0.5)
            Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
            path.write_bytes(buffer.getvalue())
        else:
            info.add_itxt(PNG_KEY, RECIPE.to_json())
            Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
            path.write_bytes(damaged([buffer.getvalue()], draw))
        use_recipe(read_recipe(path))

    return one


# -- Tables of keypoints and pairs -------------------------------------------------------------------------------------

NAMES = [f"{person}_c{camera}s1_000{camera}51_01.jpg" for person in ("0002", "0007") for camera in range(1, 4)]
ROWS = [f"{name}: {[y for _, y in STANDING]}: {[x for x, _ in STANDING]}" for name in NAMES]
TABLE = "\n".join([CSV_HEADER, *ROWS, ""])
FASHION = [f"fashionWOMENDressesid0000000{number}02_1front.jpg" for number in range(2, 5)]


def use_table(table: Any) -> None:
    """Do with a table what a reader of a data set does."""
    if len(table):
        render_heatmaps(table.xy[:2], table.canvas)
        make_pairs(table)


@reader(8)
def keypoint_csv(folder: Path) -> Read:
    return from_file(folder / "k.csv", texts(TABLE), lambda path: use_table(read_keypoints(path, (128, 64))))


@reader(1)
def photos_folder(folder: Path) -> Read:
    for name in ("anna/a.png", "anna/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 128)).save(folder / name)
    rows = [CSV_HEADER, *(row.replace(NAMES[n], name) for n, (row, name) in
                          enumerate(zip(ROWS, ("anna/a.png", "anna/b.png"), strict=False))), ""]  # fmt: skip
    return from_file(folder / "keypoints.csv", texts("\n".join(rows)), lambda path: use_table(read_photos(folder)))


@reader(1)
def record_of_crops(folder: Path) -> Read:
    samples = texts("keypoints.csv\nanna/a.png\n")
    return from_file(folder / ".written.txt", samples, lambda path: _Record(folder).refuse_others(["anna/a.png"]))


@reader(4)
def pair_file(folder: Path) -> Read:
    (folder / "k.csv").write_text(TABLE)
    table = read_keypoints(folder / "k.csv", (128, 64))
    pidm = "fashion/WOMEN/Dresses/id_00000002/02_1_front.jpg,fashion/WOMEN/Dresses/id_00000002/02_2_side.jpg\n"
    samples = texts(f"from,to\n{NAMES[0]},{NAMES[1]}\n{NAMES[2]},{NAMES[1]}\n", pidm)
    return from_file(folder / "pairs.csv", samples, lambda path: read_pairs(path, table, skip_unknown=True).digest())


@reader(2)
def names_of_results(folder: Path) -> Read:
    (folder / "k.csv").write_text(TABLE)
    table = read_keypoints(folder / "k.csv", (128, 64))
    samples = texts(f"from,to,file\n{NAMES[0]},{NAMES[1]},1.png\n{NAMES[2]},{NAMES[1]},2.png\n")
    return from_file(folder / "names.csv", samples, lambda path: _read_names(path, table))


@reader(2)
def list_of_images(folder: Path) -> Read:
    return from_file(folder / "train.lst", texts("\n".join([*FASHION, ""])), read_list)


@reader(2)
def partition(folder: Path) -> Read:
    rows = [f"img/WOMEN/Dresses/id_0000000{n}/02_1_front.jpg id_0000000{n} {status}" for n, status in
            ((2, "train"), (3, "query"), (4, "gallery"))]  # fmt: skip
    samples = texts("\n".join(["3", "image_name item_id evaluation_status", *rows, ""]))
    return from_file(folder / "list_eval_partition.txt", samples, read_partition)


@reader(3)
def scores_of_pairs(folder: Path) -> Read:
    samples = texts("from,to,refined_ssim,refined_l1\na.jpg,b.jpg,0.25,12.5\nb.jpg,a.jpg,,3\nc.jpg,a.jpg,0.5,4\n")

    def read(path: Path) -> None:
        scores = PairScores.read(path)
        scores.select(scores.names[:1])
        scores.figures(["refined"], seed=0)

    return from_file(folder / "pairs.csv", samples, read)


# -- Preparation -------------------------------------------------------------------------------------------------------


@reader(3)
def journal_of_prepare(folder: Path) -> Read:
    (folder / "in").mkdir()
    run = {"format": 2, "images": str((folder / "in").resolve()), "detector": "painted"}
    lines = [run, *([name, row, "", 0] for name, row in zip(NAMES, ROWS, strict=True)), ["x.jpg", "", "no person", 0]]
    from pg2lib.data.prepare import FORMAT

    run["format"] = FORMAT
    samples = texts("".join(json.dumps(line) + "\n" for line in lines))

    def read(path: Path) -> None:
        with closing(_Journal(folder / "k.csv", folder / "in", "painted")) as journal:
            for outcome in journal.done.values():
                assert isinstance(outcome.row, str) and isinstance(outcome.turn, int)

    return from_file(folder / "k.csv.journal", samples, read)


@reader(2)
def shard(folder: Path) -> Read:
    samples = texts({"shard": "1/2", "images": "ab" * 32, "detector": "painted"})

    def read(path: Path) -> None:
        part = read_part(folder / "k.csv")
        assert part is not None and "".join(part)

    return from_file(folder / "k.json", samples, read)


@reader(1)
def rows_of_a_shard(folder: Path) -> Read:
    (folder / "k.missing.txt").write_text("a.jpg\tno person found\n")
    return from_file(folder / "k.csv", texts(TABLE), lambda path: read_results(path))


@reader(2)
def synthetic_parameters(folder: Path) -> Read:
    samples = texts({"people": 3, "seed": 0, "layout": "market1501", "look": "street"})
    return from_file(folder / "synthetic.json", samples, lambda path: _parameters_of(folder))


@reader(2)
def journal_of_synthetic_people(folder: Path) -> Read:
    samples = texts("".join(json.dumps({name: row}) + "\n" for name, row in zip(NAMES, ROWS, strict=True)))

    def read(path: Path) -> None:
        assert all(isinstance(row, str) for row in dict(_read_journal(path)).values())

    return from_file(folder / "journal", samples, read)


@reader(2)
def index_of_a_store(folder: Path) -> Read:
    files = StoreFiles(folder, "ab" * 32, "cd" * 32, 0.0)
    samples = texts({"fingerprint": files.fingerprint, "corrupt": {"0": "damaged", "3": "another size"}})

    def read(path: Path) -> None:
        known = files.read_index(5)
        assert known is None or all(0 <= row < 5 and reason for row, reason in known.items() if reason != "")

    return from_file(files.index, samples, read)


# -- Configurations and checkpoints ------------------------------------------------------------------------------------

TINY = {"model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4, "model.height": 32,
        "model.width": 32, "stage1.batch_size": 4, "stage2.batch_size": 4}  # fmt: skip
CONFIG = PG2Config.preset("fast").override(TINY)
FRAMING = Framing(0.51, {"nose": 0.113, "neck": 0.208, "hips": 0.501, "knees": 0.705, "ankles": 0.884})


@reader(8)
def configuration(folder: Path) -> Read:
    samples = texts(CONFIG.to_json(), PG2Config.preset("deepfashion-plus").to_json())
    return from_file(
        folder / "config.json", samples, lambda path: repr(PG2Config.load(path).override({"networks": "G1"}))
    )


@reader(3)
def settings_of_the_command_line(folder: Path) -> Read:
    samples = texts("stage1.steps=100", "model.height=256", 'networks="G1"', "stage2.lr=1e-5", "augment.shift=0.5")
    return lambda draw: CONFIG.override(assignments([damaged(samples, draw).decode("utf-8", "surrogateescape")]))


@reader(2)
def configuration_of_a_run(folder: Path) -> Read:
    def read(path: Path) -> None:
        refuse_foreign(folder / "run")

    return from_file(folder / "run" / "config.json", texts(CONFIG.to_json()), read)


@reader(3)
def lock(folder: Path) -> Read:
    import socket

    holder = {"pid": 1, "host": socket.gethostname(), "space": "pid:[1]", "started": "x", "since": "2026-01-01"}
    samples = texts(holder, {**holder, "host": "elsewhere"})

    def one(draw: random.Random) -> None:
        (folder / ".lock").write_bytes(damaged(samples, draw))
        if draw.random() < 0.5:  # as old as the lock of a dead process
            os.utime(folder / ".lock", (0, 0))
        refuse_if_held(folder)

    return one


def tiny_pipeline() -> PG2Pipeline:
    """Return a tiny pipeline with random weights."""
    torch.manual_seed(0)
    g1, g2, _ = build_models(CONFIG)
    record = {
        "data": "Market-1501",
        "images": 12,
        "pairs": 36,
        "seconds": {"stage1": 1.5},
        "from": {"sha256": "ab" * 32},
    }
    return PG2Pipeline(g1, g2, CONFIG, FRAMING, record)


@reader(2, chunk=2_000)
def pipeline_folder(folder: Path) -> Read:
    tiny_pipeline().save_pretrained(folder / "pipe")
    whole = (folder / "pipe" / "config.json").read_bytes()

    def read(path: Path) -> None:
        pipeline = PG2Pipeline.from_pretrained(folder / "pipe", "cpu")
        crop = pipeline.framing.crop(Pose(POSE.xy * 3 + 20, (500, 300)), (32, 32))
        crop.apply(Image.new("RGB", (300, 500)))
        refuse_destination(folder / "pipe")

    return from_file(folder / "pipe" / "config.json", [whole], read)


@reader(2, chunk=2_000)
def weights(folder: Path) -> Read:
    tiny_pipeline().save_pretrained(folder / "pipe")
    path = folder / "pipe" / "model.safetensors"
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")

    def one(draw: random.Random) -> object:
        if draw.random() < 0.5:
            head = damaged([whole[8:length]], draw)
            path.write_bytes(len(head).to_bytes(8, "little") + head + whole[length:])
        else:
            path.write_bytes(damaged([whole], draw))
        tensors = read_weights(folder / "pipe", None)
        own = {key.removeprefix("g1."): value for key, value in tensors.items() if key.startswith("g1.")}
        return len(own)

    return one


@reader(0.3, chunk=500)
def pipeline_with_other_weights(folder: Path) -> Read:
    tiny_pipeline().save_pretrained(folder / "pipe")
    path = folder / "pipe" / "model.safetensors"
    config = json.loads((folder / "pipe" / "config.json").read_text())
    del config["sha256"]
    (folder / "pipe" / "config.json").write_text(json.dumps(config))
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118

    def one(draw: random.Random) -> None:
        changed = dict(tensors)
        for _ in range(draw.choice((1, 2))):
            key = draw.choice(sorted(changed))
            kinds = (torch.float64, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.bfloat16)
            match draw.randrange(5):
                case 0:
                    del changed[key]
                case 1:
                    changed[key] = changed[key].flatten()[: draw.randrange(3)].contiguous()
                case 2:
                    changed[key] = changed[key].float().to(draw.choice(kinds))
                case 3:
                    changed[draw.choice(("g1", "g1.x", "", "g3.first.weight", key + ".x"))] = changed[key].clone()
                case _:
                    changed[key] = changed[key].clone().fill_(draw.choice((math.nan, math.inf, 6e4)))
        path.write_bytes(save(changed))
        PG2Pipeline.from_pretrained(folder / "pipe", "cpu")

    return one


@reader(0.5, chunk=2_000)
def training_checkpoint(folder: Path) -> Read:
    torch.manual_seed(0)
    g1, *_ = build_models(CONFIG)
    optimiser = torch.optim.Adam(g1.parameters())
    sum(parameter.sum() for parameter in g1.parameters()).backward()
    optimiser.step()
    identity = identity_of(CONFIG, 1)
    state = TrainingState({"g1": g1}, {"g1": optimiser}, identity)
    path = save_checkpoint(folder, 3, state, CONFIG)
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118

    def one(draw: random.Random) -> None:
        if draw.random() < 0.2:
            path.write_bytes(damaged([whole], draw))
        else:  # forged: the checksum is right
            told, held = dict(metadata), dict(tensors)
            key = draw.choice(("step", "config", "identity", "format"))
            match draw.randrange(4):
                case 0:
                    del told[key]
                case 1:
                    told[key] = damaged([told[key].encode()], draw).decode("utf-8", "replace")
                case 2:
                    name = draw.choice(sorted(held))
                    held[draw.choice(("optimiser.g1.x.step", "optimiser.g1.999.step", "model.g1.x", ""))] = held.pop(
                        name
                    )
                case _:
                    name = draw.choice(sorted(held))
                    held[name] = held[name].flatten()[: draw.randrange(3)].contiguous()
            told["checksum"] = checksum(told, sorted(held.items()))
            path.write_bytes(save(held, told))
        checkpoint = newest_checkpoint(folder)
        checkpoint.conflict(identity, 5)
        checkpoint.conflict({**identity, "stage1.lr": 7}, 2)
        repr(checkpoint.config)
        load_checkpoint(checkpoint, state)

    return one


@reader(0.4, chunk=200)
def onnx_model(folder: Path) -> Read:
    pipeline = tiny_pipeline()
    path = folder / "model.onnx"
    kept = Path("/tmp") / f"pg2lib-torture-{torch.__version__}.onnx"
    if not kept.exists():
        export_onnx(pipeline.g1, pipeline.g2, kept)
    whole = kept.read_bytes()

    def one(draw: random.Random) -> None:
        path.write_bytes(damaged([whole], draw))
        OnnxStages(path, pipeline.g1, pipeline.g2)

    return one


@reader(0.4, chunk=200)
def torchscript_network(folder: Path) -> Read:
    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean(dim=[2, 3])

    torch.jit.save(torch.jit.script(Mean()), str(folder / "whole.pt"))
    samples = [(folder / "whole.pt").read_bytes(), *OTHERS]

    def read(path: Path) -> None:
        load_inception(path)

    return from_file(folder / "net.pt", samples, read)


# -- Logs, reports and tables ------------------------------------------------------------------------------------------


@reader(2)
def training_log(folder: Path) -> Read:
    write_log(folder, 1.0, 2.0, 3.5, 0.5, 1.0)

    def read(path: Path) -> None:
        logged_seconds(path)
        log = read_log(path)
        log["step"].max()
        open_log(path, 3).close()

    return from_file(folder / "log.jsonl", [(folder / "log.jsonl").read_bytes()], read)


@reader(0.2, chunk=5_000)
def history_of_training(folder: Path) -> Read:
    stage = folder / "G1-L1" / "stage1"
    write_log(stage, 1.0, 2.0, 3.5, 0.5, 1.0)
    write_starts(stage, {"after": 0, **H200}, {"after": 3, **EPYC})
    (folder / "G1-L1" / "config.json").write_text(CONFIG.row("G1-L1").to_json())
    names = {name: (stage / name).read_bytes() for name in ("starts.jsonl", "log.jsonl")}

    def one(draw: random.Random) -> None:
        chosen = draw.choice(sorted(names))
        for name, whole in names.items():
            (stage / name).write_bytes(damaged([whole], draw) if name == chosen else whole)
        read_history(folder)

    return one


def whole_report(row: str) -> EvaluationReport:
    """Return a report with every part."""
    score = InceptionFigure(2.5, 0.1, 10, 24, "inception2015", "bilinear")
    fid = FrechetFigure(30.5, 24, 24, 2048, "inception2015", "bilinear")
    return report(
        row,
        sets={"refined": SetScores(score, score, fid), "target": SetScores(score, None, None)},
        poses={"refined": PoseScores(24, 0.9, 20, 0.05, 0.1, 0.0)},
        canvas=(128, 64),
        detector="painted",
        files=ScoredFiles(30, (128, 64), "as it is", (Unscored("missing", "a -> b", "no file"),)),
    )


@reader(6)
def evaluation_report(folder: Path) -> Read:
    whole = whole_report("one")
    samples = texts(whole.to_json(), report("two").to_json())

    def one(draw: random.Random) -> None:
        found = EvaluationReport.from_json(damaged(samples, draw))
        found.to_markdown()
        found.to_json()
        compare_reports(whole, found).to_markdown()

    return one


@reader(0.5, chunk=5_000)
def table_1(folder: Path) -> Read:
    rows = ("G1-L1", "G1-poseMaskLoss")
    for row in rows:
        (folder / row).mkdir()
        whole_report(row).save(folder / row / "report.json")
    samples = [(folder / row / "report.json").read_bytes() for row in rows]

    def read(path: Path) -> None:
        table = read_table1(folder, rows)
        for text in (table.to_markdown(), table.to_csv(), table.to_latex()):
            text.encode()
        read_report(folder / rows[0])

    return from_file(folder / rows[0] / "report.json", samples, read)


@reader(1)
def stamp_of_a_report(folder: Path) -> Read:
    samples = texts({"weights": "ab" * 32, "options": ["released", ["refined"], 0]})
    return from_file(folder / "report.stamp.json", samples, lambda path: read_stamp(folder).get("weights"))


# -- User study --------------------------------------------------------------------------------------------------------


def tiny_study(folder: Path) -> Study:
    """Return a study with two models, and the answers of two raters."""
    pixels = [np.random.default_rng(seed).integers(0, 256, size=(4, 12, 6, 3), dtype=np.uint8) for seed in range(3)]
    protocol = Protocol(real=4, generated=4, practice=2)
    generated = {"one": pixels[1], "two": pixels[2]}
    study = create_study(folder / "study", pixels[0], generated, "A title", "noise", protocol)
    for rater in ("anna", "ben"):
        session = study.session(rater, "one")
        for position in range(len(session)):
            session.answer(position, position % 2 == 0, 1000.0, 500.0)
    study.session("anna", "two").answer(0, True, 1000.0, 500.0)
    return study


def use_study(folder: Path) -> None:
    """Do what the page does: results, and an answer."""
    study = Study.open(folder)
    repr(study)
    found = results(study)
    for text in (found.to_markdown(), found.to_json(), found.to_csv(), found.to_latex()):
        text.encode()
    study.sessions_of("anna")
    session = study.next_session("anna")
    if session is not None and not session.finished:
        session.answer(session.answered, True, 1000.0, 500.0)


@reader(0.3, chunk=2_000)
def study_description(folder: Path) -> Read:
    study = tiny_study(folder)
    path = study.folder / "study.json"
    whole, answers = path.read_bytes(), (study.folder / "answers.sqlite3").read_bytes()

    def one(draw: random.Random) -> None:
        restore(study.folder, answers)
        path.write_bytes(damaged([whole], draw))
        use_study(study.folder)

    return one


@reader(0.4, chunk=2_000)
def answers_of_a_study(folder: Path) -> Read:
    study = tiny_study(folder)
    answers = (study.folder / "answers.sqlite3").read_bytes()

    def one(draw: random.Random) -> None:
        restore(study.folder, answers)
        damage_database(study.folder / "answers.sqlite3", draw)
        use_study(study.folder)

    return one


def restore(folder: Path, answers: bytes) -> None:
    """Put the sound database back."""
    for path in folder.glob("answers.sqlite3*"):
        path.unlink()
    (folder / "answers.sqlite3").write_bytes(answers)
