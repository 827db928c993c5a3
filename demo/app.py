"""The demo: a page that shows the person of a photo in another pose.

    python demo/app.py --port 8000 --weights runs/mine/pipeline
    python demo/app.py --study runs/study      # the user study of Table 2 instead, see demo/study.py

It connects to no other server, unless ``--weights`` names a Hugging Face hub id to download. It opens only files that
were uploaded to it (`demo.uploads`), and refuses requests from other sites (`demo.guard`).
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

# gradio reads this when it is imported: no telemetry, no search for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules in its own folder

import gradio as gr
from PIL import Image, ImageDraw
from starlette.middleware import Middleware

from demo.guard import Guard, served_addresses
from demo.uploads import CLOSED, MAX_BYTES, UploadsOnly, photo_input
from pg2lib.condition import ConditionView
from pg2lib.config import DEFAULT_CHECKPOINT
from pg2lib.errors import DataError, NoPersonError, PG2Error
from pg2lib.images import Crop, load_photo, pil_from_tensor
from pg2lib.output import PG2Output
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import Pose, pose_presets, visible_part

log = logging.getLogger(__name__)

HERE = Path(__file__).parent

MAX_MEMORY = 500_000_000
"""Bytes of memory that opening one photo may take."""
PHOTOS_REMEMBERED = 8
"""Photos that stay known to the page, so that they are not looked at again for another pose."""
SHOWN_HEIGHT_PX = 512
"""Results are enlarged by the largest whole factor that keeps them within this height."""

NO_PHOTO = "Choose a photo first: upload one, paste it, or take it with the webcam."
NO_TARGET = "Choose a target pose first: one of the presets, or another photo to take it from."
UNREADABLE = (
    "The {which} cannot be read: the file is damaged, far too large, or no picture at all. Try a JPEG or PNG file."
)
NOBODY = (
    "Nobody was found in the {which}. Choose one that shows a person clearly, best from head to feet; where the person "
    "is small, crop the photo around them."
)
SEVERAL = (
    "There are several people in the {which} (at least {people} were found). The most prominent one was taken; to "
    "choose another, crop the photo around them."
)
HALF_A_PERSON = "The photo shows only part of the person ({framing}). Whatever it does not show is invented."
HALF_A_POSE = "The target pose is incomplete, for its photo shows only part of the person ({framing})."
UNCERTAIN = "The person in the {which} was hard to find. Check that the skeleton fits."
BEYOND = "The part used reaches beyond the photo; the photo's edge is repeated there."
SMALL = "The person is small: the part used was enlarged, so it holds less detail than the model can take."

BROKEN = "Something went wrong here, and not with what you chose. The terminal that runs this page says more."
FAILED = (
    "Nothing was generated. Photos are kept for an hour: choose the photo again if you did so earlier, then press the "
    "button once more."
)

# A moment later, for the results have to take their place first.
SCROLL = "() => setTimeout(() => document.getElementById('outcome').scrollIntoView({behavior: 'smooth'}), 200)"

RESULTS = {
    "Part of the photo used": "part",
    "Condition image with its skeleton": "condition",
    "Target pose": "target",
    "Coarse result": "coarse",
    "Difference map": "difference",
    "Refined result": "refined",
}
"""Label and element id of each picture that `show` returns."""
NOTHING = [None] * len(RESULTS)

RESEARCH_DATA = ("market", "deepfashion")
LIMITS = (
    "**What to expect.** The pictures have {width} × {height} pixels; the rest is enlargement. What the photo shows of "
    "the person comes through where the new pose shows it, too; what it does not show is invented, and soft. Poses and "
    "photos unlike those in the training data come out worse: most of its people stand or walk."
)


class RefusedError(Exception):
    """A request cannot be met; the message tells the user why, and what to do, in plain words."""


@dataclass(frozen=True)
class SeenPhoto:
    """A photo that the pipeline has looked at.

    Attributes:
        view: what the model sees of it.
        marked: the photo, reduced, and faded outside the part that is used.
        size: (width, height) of the photo in pixels.
    """

    view: ConditionView
    marked: Image.Image
    size: tuple[int, int]


Look = Callable[[str, str], SeenPhoto]
"""`look` for one pipeline: called with the path of a photo, and what the page calls it."""


@dataclass(frozen=True)
class Result:
    """What one press of the button made."""

    photo: SeenPhoto
    output: PG2Output
    notes: Sequence[str]
    seconds: float


# -- One request -------------------------------------------------------------------------------------------------------


def look(pipeline: PG2Pipeline, path: str, which: str) -> SeenPhoto:
    """Look at a photo: find the person and the part of the photo to use.

    Args:
        path: path of the photo.
        which: what the page calls the photo.

    Raises:
        RefusedError: the photo cannot be read, or shows nobody.
    """
    try:
        photo = load_photo(path, max_bytes=MAX_MEMORY)[0]
        view = pipeline.look(photo)
    except NoPersonError as error:
        raise RefusedError(NOBODY.format(which=which)) from error
    except DataError as error:
        raise RefusedError(UNREADABLE.format(which=which)) from error
    except PG2Error as error:  # MediaPipe is missing, and the message says what to install.
        raise RefusedError(str(error)) from error
    assert view.crop is not None
    return SeenPhoto(view, mark_part(photo, view.crop), photo.size)


def generate(pipeline: PG2Pipeline, look: Look, photo: str | None, target: Pose | str | None) -> Result:
    """Show the person of a photo in a target pose.

    Args:
        photo: path of the photo.
        target: a pose, or the path of a photo to take it from.

    Raises:
        RefusedError: something is missing, cannot be read, or shows nobody.
    """
    start = time.perf_counter()
    if photo is None:
        raise RefusedError(NO_PHOTO)
    if target is None:
        raise RefusedError(NO_TARGET)
    seen = look(photo, "photo")
    notes = describe_person(seen, "photo", HALF_A_PERSON)
    if isinstance(target, str):
        other = look(target, "photo for the target pose")
        notes += describe_person(other, "photo for the target pose", HALF_A_POSE)
        assert other.view.condition_pose is not None
        target = other.view.condition_pose
    output = pipeline.repose(seen.view, [target])[0]
    return Result(seen, output, notes + describe_crop(seen), time.perf_counter() - start)


def describe_person(seen: SeenPhoto, which: str, incomplete: str) -> list[str]:
    """Say what a user should know about the person that was found."""
    person, *others = seen.view.people
    notes = []
    if others:
        notes.append(SEVERAL.format(which=which, people=1 + len(others)))
    framing = visible_part(person.pose)
    if framing != "full body":
        notes.append(incomplete.format(framing=framing))
    if person.attempt > 0:
        notes.append(UNCERTAIN.format(which=which))
    return notes


def describe_crop(seen: SeenPhoto) -> list[str]:
    """Say which part of the photo was used, and what that means for the result."""
    crop = seen.view.crop
    assert crop is not None
    height, width = crop.canvas
    size = f"{round(crop.right - crop.left)} × {round(crop.bottom - crop.top)}"
    notes = [
        f"The part of the photo used has {size} pixels (width × height; the photo {seen.size[0]} × {seen.size[1]}), "
        f"brought to {width} × {height}."
    ]
    if crop.left < -1 or crop.top < -1 or crop.right > seen.size[0] or crop.bottom > seen.size[1]:
        notes.append(BEYOND)
    if crop.bottom - crop.top < 0.75 * height:
        notes.append(SMALL)
    return notes


# -- Pictures and words ------------------------------------------------------------------------------------------------


def enlarge(picture: Image.Image) -> Image.Image:
    """Enlarge a picture of the model's canvas, see `SHOWN_HEIGHT_PX`."""
    factor = max(1, SHOWN_HEIGHT_PX // picture.height)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)


def draw_enlarged(pose: Pose, picture: Image.Image | None = None) -> Image.Image:
    """Draw a pose on the model's canvas enlarged, over a picture or on black."""
    factor = max(1, SHOWN_HEIGHT_PX // pose.canvas[0])
    large = pose.resize((pose.canvas[0] * factor, pose.canvas[1] * factor))
    return large.draw(None if picture is None else enlarge(picture))


def mark_part(photo: Image.Image, crop: Crop) -> Image.Image:
    """Return the photo, reduced to `SHOWN_HEIGHT_PX`, and faded outside the part that is used."""
    scale = min(1.0, SHOWN_HEIGHT_PX / max(photo.size))
    small = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    edges = (crop.left, crop.top, crop.right, crop.bottom)
    left, top, right, bottom = (round((edge + 0.5) * scale) for edge in edges)
    left, top, right, bottom = max(0, left), max(0, top), min(small.width, right), min(small.height, bottom)
    marked = Image.blend(small, Image.new("RGB", small.size, "white"), 0.65)
    marked.paste(small.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(marked).rectangle((left, top, right - 1, bottom - 1), outline="#ea580c", width=3)
    return marked


def show(result: Result) -> tuple[Image.Image, ...]:
    """Return the pictures of a result, from the photo to the refined result."""
    output = result.output
    assert output.condition_pose is not None and output.target_pose is not None
    return (
        result.photo.marked,
        draw_enlarged(output.condition_pose, pil_from_tensor(output.condition_image)),
        draw_enlarged(output.target_pose),
        enlarge(pil_from_tensor(output.coarse)),
        enlarge(output.difference_to_pil()),
        enlarge(output.to_pil()),
    )


def done_note(result: Result) -> str:
    """Return a note with the time taken and a link to download the refined result, as HTML."""
    times = f"Done in {result.seconds:.2f} s, of that {result.output.seconds:.2f} s for G1 and G2."
    return note(f"<strong>{times}</strong> {download_link(result.output.to_pil())}", "done", result.notes)


def note(text: str, kind: str, points: Sequence[str] = ()) -> str:
    """Return a message that screen readers announce, as HTML.

    Args:
        text: HTML.
        kind: "done", "refused" or "plain".
        points: plain text for a list below.
    """
    items = "".join(f"<li>{html.escape(point)}</li>" for point in points)
    role = "alert" if kind == "refused" else "status"
    return f'<div class="note {kind}" role="{role}">{text}{f"<ul>{items}</ul>" if items else ""}</div>'


def download_link(picture: Image.Image) -> str:
    """Return a link that contains the picture itself, so that the server need not keep it."""
    words = f"Download the refined result, {picture.width} × {picture.height} pixels"
    return f'<a class="download" download="refined-result.png" href="{data_uri(picture)}">{words}</a>'


def data_uri(picture: Image.Image) -> str:
    """Return the picture as a ``data:`` URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def describe_weights(pipeline: PG2Pipeline) -> str:
    """Say which weights are loaded, what they were trained on, and what to expect of them, as Markdown."""
    model = pipeline.config.model
    parameters = sum(p.numel() for network in pipeline.generators.values() for p in network.parameters())
    return "\n\n".join(
        (
            f"**Weights loaded:** `{pipeline.name}`, {model.width} × {model.height} pixels (width × height), "
            f"{parameters / 1e6:.1f} million parameters in G1 and G2, on {pipeline.device.type.upper()}.",
            describe_training(pipeline),
            LIMITS.format(height=model.height, width=model.width),
        )
    )


def describe_training(pipeline: PG2Pipeline) -> str:
    """Say how the weights were trained, according to the record saved with them."""
    record: Mapping[str, Any] = pipeline.training
    if "data" not in record:
        return "**Training:** these weights carry no record of their training."
    counted = [f"{record[key]:,} {key}" for key in ("images", "pairs") if key in record]
    stages = [
        f"{name} {stage.steps:,} steps" + (f" in {duration(record['seconds'][key])}" if "seconds" in record else "")
        for name, key, stage in (
            ("stage I", "stage1", pipeline.config.stage1),
            ("stage II", "stage2", pipeline.config.stage2),
        )
    ]
    hardware = f" on {record['hardware']}" if "hardware" in record else ""
    text = f"**Trained on** {record['data']}" + (f" ({', '.join(counted)})" if counted else "")
    text += f": {', '.join(stages)}{hardware}."
    if any(name in record["data"].lower() for name in RESEARCH_DATA):
        text += " That data set is for research only, and so are these weights: **no commercial use**."
    return text


def duration(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


# -- The page ----------------------------------------------------------------------------------------------------------


def answer(
    pipeline: PG2Pipeline, look: Look, photo: str | None, pose_from: str, preset: str | None, pose_photo: str | None
) -> tuple[Any, ...]:
    """Answer a press of the button: a note, then the pictures of `RESULTS`.

    Args:
        photo, pose_photo: paths of uploads.
        pose_from: "preset" or "photo".
        preset: name of a preset.
    """
    try:
        chosen = pose_photo if pose_from == "photo" else pose_presets()[preset] if preset else None
        result = generate(pipeline, look, photo, chosen)
    except RefusedError as refused:
        return note(html.escape(str(refused)), "refused"), *NOTHING
    except Exception:
        log.exception("a request failed")
        return note(BROKEN, "refused"), *NOTHING
    return done_note(result), *show(result)


def build_demo(pipeline: PG2Pipeline) -> UploadsOnly:
    """Build the page.

    Between requests it keeps the photos that it looked at last, by the path of the upload, so that another pose of the
    same photo costs the networks alone. Nothing else is kept, so people who use the page at the same time cannot mix.
    """
    presets = pose_presets()
    look_once: Look = lru_cache(PHOTOS_REMEMBERED)(partial(look, pipeline))
    demo = UploadsOnly(title="PG2: a person in another pose", analytics_enabled=False, delete_cache=(600, 3600))
    with demo:
        gr.HTML(f"<style>{style(pipeline.config.model.canvas, presets)}</style>", padding=False)
        gr.Markdown(
            "# A person in another pose\nPose Guided Person Image Generation (PG2, NIPS 2017): stage I makes a coarse "
            "result, stage II adds the difference map that refines it. Photos stay on the computer that runs this page."
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                gr.Markdown("## 1. A photo of a person")
                photo = photo_input("Photo", "photo", height=430)
            with gr.Column(scale=7, min_width=320):
                gr.Markdown("## 2. The target pose")
                pose_inputs = choose_pose(presets)
        button = gr.Button("Generate", variant="primary", size="lg")
        outcome = gr.HTML(note("The result appears here.", "plain"), elem_id="outcome", padding=False)
        with gr.Row(elem_id="results"):
            pictures = [result_image(label, elem_id) for label, elem_id in RESULTS.items()]
        gr.Markdown(describe_weights(pipeline), elem_id="weights")

        generated = button.click(
            partial(answer, pipeline, look_once),
            [photo, *pose_inputs],
            [outcome, *pictures],
            api_name="generate",
            show_progress_on=outcome,
            concurrency_limit=2,
        )
        generated.then(None, js=SCROLL, api_visibility="private")
        # A request that is refused before it reaches `answer` must also clear an earlier result.
        generated.failure(
            lambda: (note(FAILED, "refused"), *NOTHING),
            None,
            [outcome, *pictures],
            queue=False,
            api_visibility="private",
        )
    demo.queue(max_size=16)
    return demo


def choose_pose(presets: Mapping[str, Pose]) -> tuple[gr.Radio, gr.Radio, gr.Image]:
    """Make the choice of a target pose: where it is taken from, a preset, and a photo."""
    pose_from = gr.Radio(
        [("a preset", "preset"), ("another photo", "photo")],
        value="preset",
        label="Take the target pose from",
        elem_id="pose-from",
    )
    with gr.Column() as preset_side:
        preset = gr.Radio(list(presets), label="Presets", elem_id="presets")
    with gr.Column(visible=False) as photo_side:
        pose_photo = photo_input("Photo for the target pose", "pose-photo", height=300)
    pose_from.change(
        lambda chosen: (gr.Column(visible=chosen == "preset"), gr.Column(visible=chosen == "photo")),
        pose_from,
        [preset_side, photo_side],
        queue=False,
        api_visibility="private",
    )
    return pose_from, preset, pose_photo


def result_image(label: str, elem_id: str) -> gr.Image:
    """Make a place for one of the results, sent without loss."""
    return gr.Image(
        label=label,
        elem_id=elem_id,
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        alt_text=label,
    )


def style(canvas: tuple[int, int], presets: Mapping[str, Pose]) -> str:
    """Return the CSS of the page, with the shape of the results and a drawing of each preset above its name."""
    pictures = (data_uri(pose.resize((pose.canvas[0] * 2, pose.canvas[1] * 2)).draw()) for pose in presets.values())
    rules = [
        f"#presets label:nth-of-type({i})::before {{ background-image: url({picture}); }}"
        for i, picture in enumerate(pictures, start=1)
    ]
    shape = f"#results {{ --shape: {canvas[1]} / {canvas[0]}; }}"
    return "\n".join([(HERE / "style.css").read_text(encoding="utf-8"), shape, *rules])


def theme() -> gr.themes.Base:
    """Return gradio's default theme with the fonts of the system, and buttons dark enough for white text."""
    look = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return look.set(button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700")


def launch(demo: gr.Blocks, host: str, port: int) -> str:
    """Serve the page in a thread of its own, and return its address.

    Raises:
        OSError: there is no such host, or the port is taken.
    """
    guard = Middleware(Guard, addresses=served_addresses(host, port), closed=CLOSED)
    _, address, _ = demo.launch(
        server_name=host,
        server_port=port,
        app_kwargs={"middleware": [guard]},
        share=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=MAX_BYTES,
        theme=theme(),
        quiet=True,
        prevent_thread_lock=True,
    )
    return str(address).rstrip("/")


def warm_up(pipeline: PG2Pipeline) -> None:
    """Load what the first request would otherwise wait for."""
    canvas = pipeline.config.model.canvas
    pose = next(iter(pose_presets().values())).resize(canvas)
    pipeline(Image.new("RGB", canvas[::-1]), pose, crop=False, condition_pose=pose)
    try:
        pipeline.look(Image.new("RGB", (256, 256)))
    except NoPersonError:
        pass
    except PG2Error as error:
        print(f"warning: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description="Show the person of a photo in another pose, in a browser.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve; 0.0.0.0 serves the network (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--weights", metavar="NAME_OR_FOLDER", default=DEFAULT_CHECKPOINT,
        help="a checkpoint that ships with pg2lib, a pipeline folder, or a hub id (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--study", metavar="DIR", type=Path, help="serve the user study in this folder instead")
    parser.add_argument("--results", action="store_true", help="with --study: print its table and exit")
    options = parser.parse_args(arguments)
    if options.results and options.study is None:
        parser.error("--results needs --study DIR")
    if options.study is not None:
        from demo.study import print_results, serve_study

        if options.results:
            return print_results(options.study)
        return serve_study(options.study, options.host, options.port)
    try:
        pipeline = PG2Pipeline.from_pretrained(options.weights)
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    demo = build_demo(pipeline)
    try:
        address = launch(demo, options.host, options.port)
    except OSError as error:
        print(f"error: cannot serve on {options.host}:{options.port}; try another --port. ({error})", file=sys.stderr)
        return 2
    print(f"The demo runs on {address} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=warm_up, args=(pipeline,), daemon=True).start()
    demo.block_thread()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
