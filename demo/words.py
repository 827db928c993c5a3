"""What the page says: refusals, notes and the description of a model, for people who have never heard of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pg2lib.condition import ConditionView
from pg2lib.detect import Detection
from pg2lib.pipeline import PG2Pipeline
from pg2lib.pose import VisiblePart, visible_part

UNREADABLE = "The {what} cannot be read: it is damaged, far too large, or of an unknown kind. Try {instead}."
NOBODY = "Nobody was found. Mark the person with a box, or place the joints by hand."
NO_RECIPE = (
    "That picture does not say how it was made. Choose a PNG file that was downloaded from this page, unchanged."
)
NOBODY_FOR_POSE = "Nobody was found in that picture. Use one that shows a person clearly, best from head to feet."
NOBODY_IN_VIDEO = "Nobody was found in the video. Use one that shows one person from head to feet."
SEVERAL = "{people} people were found: click the one to use."
UNCERTAIN = "The person was hard to find: check that the skeleton fits, or place the joints by hand."
LYING = "The person seems to lie on their side or stand on their head. If that is the photo's fault, turn it."
HALF_A_PERSON = "The photo shows {part}. A photo from head to feet comes out better: what it does not show is invented."
PORTRAIT = "The photo shows {part}, and so do the pictures. From a photo from head to feet they show the whole person."
SMALL = "The person is small in the photo: a closer photo gives a sharper picture."
SEVERAL_POSES = "The picture shows {people} people; the pose is that of the most prominent one."
FEW_JOINTS = "Place at least {joints} joints, such as both shoulders and both hips."
TOO_MANY = "At most {most} {what} are possible, and {count} were asked for."
TOO_LONG = "This takes longer than {minutes} minutes. Ask for fewer pictures."
FULL = "Too many people are using this page. Wait a moment, then try again."
WAITED = "Too many people are using this page: after {minutes} minutes it was still not your turn. Try again later."
NO_CALL = "There is no such call, or its answer was not asked for in time. Try again."
BROKEN = "Something went wrong on the server, and not with what you chose. The terminal that runs this page says more."

PARTS: Mapping[VisiblePart, str] = {
    "down to the knees": "the person down to the knees only",
    "upper body": "the upper body only",
    "head and shoulders": "head and shoulders only",
    "head only": "the head only",
    "no head": "no head",
    "legs only": "the legs only",
    "nobody": "hardly anything of the person",
}

RESEARCH_DATA = ("market", "deepfashion")
LIMITS = (
    "**What to expect.** Pictures have {width} × {height} pixels. What the photo shows of the person comes through "
    "where the new pose shows it, too; what it does not show is invented, and soft. Poses and photos unlike those in "
    "the training data come out worse: most of its people stand or walk."
)


def about_people(people: Sequence[Detection], chosen: Detection, turn: int) -> list[str]:
    """Say what a user should know about the people that were found, the most helpful sentence first."""
    notes = []
    if turn:
        notes.append(LYING)
    if len(people) > 1:
        notes.append(SEVERAL.format(people=len(people)))
    if chosen.attempt > 0:
        notes.append(UNCERTAIN)
    return notes


def about_photo(view: ConditionView) -> list[str]:
    """Say in at most one sentence which other photo would give a better picture."""
    assert view.condition_pose is not None and view.crop is not None
    part = visible_part(view.condition_pose)
    if part != "full body":
        return [(HALF_A_PERSON if view.portrait is None else PORTRAIT).format(part=PARTS[part])]
    if view.crop.bottom - view.crop.top < 0.75 * view.crop.canvas[0]:
        return [SMALL]
    return []


def describe_model(pipeline: PG2Pipeline, name: str) -> str:
    """Say which weights these are, what they were trained on, and what to expect of them, as Markdown."""
    model = pipeline.config.model
    parameters = sum(p.numel() for network in pipeline.generators.values() for p in network.parameters())
    return "\n\n".join(
        (
            f"**Model:** `{name}`, {model.width} × {model.height} pixels (width × height), "
            f"{parameters / 1e6:.1f} million parameters, on {pipeline.device.type.upper()}.",
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
    names = {"stage1": "stage I", "stage2": "stage II"}
    seconds = record.get("seconds", {})
    stages = [f"{names[key]} in {duration(seconds[key])}" for key in names if key in seconds]
    hardware = f" on {record['hardware']}" if "hardware" in record else ""
    text = f"**Trained on** {record['data']}" + (f" ({', '.join(counted)})" if counted else "")
    text += f": {', '.join(stages)}{hardware}." if stages else f"{hardware}."
    if any(name in record["data"].lower() for name in RESEARCH_DATA):
        text += " That data set is for research only, and so are these weights: **no commercial use**."
    return text


def duration(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
