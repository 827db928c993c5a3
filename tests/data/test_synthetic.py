from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pg2lib import DataError, make_pairs, read_market1501, read_pairs
from pg2lib.data.deepfashion import read_deepfashion
from pg2lib.data.read import SYNTHETIC
from pg2lib.data.synthetic import mask_iou, render_person, write_deepfashion, write_market1501
from pg2lib.data.synthetic.body import (
    ANGLES,
    Body,
    Draws,
    draw_action,
    draw_angles,
    keypoints_3d,
    limits_of,
    pose_bones,
)
from pg2lib.data.synthetic.clothes import Identity, texture
from pg2lib.data.synthetic.figure import build
from pg2lib.data.synthetic.person import SyntheticPerson, through_jpeg
from pg2lib.data.synthetic.render import rasterise
from pg2lib.data.synthetic.surface import GROUPS
from pg2lib.data.synthetic.write import _read_journal
from pg2lib.pose import JOINTS

J = {name: i for i, name in enumerate(JOINTS)}
LOOKS = ("market", "studio")


@cache
def people(look: str) -> tuple[SyntheticPerson, ...]:
    return tuple(render_person(seed, seed, look) for seed in range(500, 560 if look == "market" else 512))


def thumbnail(image: Image.Image) -> list[list[list[int]]]:
    """Mean colours of 4 by 2 areas."""
    pixels = np.asarray(image, dtype=np.float64)
    height, width, _ = pixels.shape
    return pixels.reshape(4, height // 4, 2, width // 2, 3).mean(axis=(1, 3)).round().astype(int).tolist()


def test_the_same_seeds_give_the_same_pixels_in_another_process() -> None:
    code = (
        "import zlib; from pg2lib.data.synthetic import render_person; "
        f"print(*(zlib.crc32(render_person(7, 11, look).image.tobytes()) for look in {LOOKS}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    here = [render_person(7, 11, look).image for look in LOOKS]
    assert [int(crc) for crc in elsewhere.stdout.split()] == [zlib.crc32(image.tobytes()) for image in here]
    assert [image.size for image in here] == [(64, 128), (256, 256)]


PINNED = {
    "market": [
        [[79, 93, 68], [61, 71, 53]],
        [[51, 58, 49], [50, 59, 49]],
        [[89, 108, 99], [85, 103, 80]],
        [[89, 105, 80], [96, 113, 76]],
    ],
    "studio": [
        [[220, 220, 221], [212, 211, 211]],
        [[201, 201, 201], [201, 200, 199]],
        [[152, 152, 152], [156, 156, 156]],
        [[156, 156, 157], [152, 152, 152]],
    ],
}


@pytest.mark.parametrize("look", LOOKS)
def test_pixels_are_those_of_every_other_machine(look: str) -> None:
    difference = np.abs(np.array(thumbnail(render_person(7, 11, look).image)) - np.array(PINNED[look]))
    assert difference.max() <= 2


def test_an_identity_keeps_its_colours_from_view_to_view() -> None:
    def shirt(person: SyntheticPerson) -> np.ndarray:
        neck, hip = (person.pose.xy[[J[a], J[b]]].mean(0) for a, b in (("neck", "neck"), ("right hip", "left hip")))
        x, y = (0.5 * neck + 0.5 * hip).round().int().tolist()
        return np.asarray(person.image, dtype=np.float64)[y - 6 : y + 7, x - 4 : x + 5].mean((0, 1))

    plain = [i for i in range(120) if _is_plain(i)][:6]
    colours = np.array(
        [
            [shirt(render_person(i, view, "studio", shot="full", yaw_deg=180, action="walking")) for view in range(4)]
            for i in plain
        ]
    )
    within = colours.std(axis=1).mean()
    between = colours.mean(axis=1).std(axis=0).mean()
    assert within < between / 4


def _is_plain(identity: int) -> bool:
    person = Identity.draw(identity)
    long_hair = person.hair in ("long", "ponytail")
    return person.top_fabric.pattern == "plain" and person.bag == "none" and person.top != "jacket" and not long_hair


def test_a_view_keeps_its_pose_and_camera_from_identity_to_identity() -> None:
    first, second = (render_person(identity, 3, "market") for identity in (1, 2))
    assert (first.angles, first.yaw_deg, first.action, first.camera) == (
        second.angles,
        second.yaw_deg,
        second.action,
        second.camera,
    )
    assert np.asarray(first.image).tolist() != np.asarray(second.image).tolist()
    assert render_person(1, 4, "market").angles != first.angles


@pytest.mark.parametrize("look", LOOKS)
def test_joints_that_are_present_lie_on_the_person(look: str) -> None:
    near = {"market": 2, "studio": 4}[look]
    on = total = 0
    for person in people(look):
        height, width = person.pose.canvas
        for x, y in person.pose.xy[person.pose.visible].round().int().tolist():
            around = person.silhouette[max(0, y - near) : y + near + 1, max(0, x - near) : x + near + 1]
            assert 0 <= x < width and 0 <= y < height
            on += bool(around.any())
            total += 1
    assert on == total > 100


def test_seen_from_the_front_the_right_side_is_on_the_left_of_the_picture() -> None:
    for seed in range(8):
        person = render_person(seed, seed, "studio", yaw_deg=0, action="standing", shot="full")
        x = person.pose.xy[:, 0]
        assert x[J["right shoulder"]] < x[J["neck"]] < x[J["left shoulder"]]
        assert x[J["right hip"]] < x[J["left hip"]]
        if not math.isnan(x[J["nose"]]):
            assert x[J["right shoulder"]] < x[J["nose"]] < x[J["left shoulder"]]


def test_seen_from_behind_there_is_no_face_but_shoulders_and_hips() -> None:
    for seed in range(8):
        person = render_person(seed, seed, "studio", yaw_deg=180, action="walking", shot="full")
        seen = person.pose.visible
        assert not seen[[J["nose"], J["right eye"], J["left eye"]]].any()
        assert seen[[J["neck"], J["right shoulder"], J["left shoulder"], J["right hip"], J["left hip"]]].all()
        assert person.pose.xy[J["right shoulder"], 0] > person.pose.xy[J["left shoulder"], 0]


def test_seen_from_the_side_the_far_eye_and_ear_are_hidden() -> None:
    for yaw, far, near in ((90, "right", "left"), (-90, "left", "right")):
        poses = [
            render_person(seed, seed, "studio", yaw_deg=yaw, action="walking", shot="full").pose for seed in range(12)
        ]
        hidden, seen = (
            np.mean([pose.visible[[J[f"{side} eye"], J[f"{side} ear"]]].numpy() for pose in poses])
            for side in (far, near)
        )
        assert hidden < 0.35 and seen > 0.65


def test_a_logo_is_in_front_and_a_backpack_behind() -> None:
    identity = next(i for i in range(500) if _wears(i, "logo", "none"))
    person = Identity.draw(identity)
    grid = np.stack(np.meshgrid(np.linspace(-0.05, 0.05, 60), np.linspace(0.66, 0.78, 60)), -1).reshape(-1, 2)
    for z, expected in ((0.06, True), (-0.06, False)):
        rest = np.concatenate((grid, np.full((len(grid), 1), z)), axis=1)
        shows = (np.abs(texture("top", person, rest) - person.top_fabric.second).max(1) < 1e-6).any()
        assert shows == expected
    _, mesh = build(next(i for i in range(500) if Identity.draw(i).bag == "backpack"), 1)
    bag = mesh.rest[mesh.faces[mesh.group == GROUPS.index("bag")]]
    assert len(bag) > 50 and bag[..., 2].max() < 0


def _wears(identity: int, pattern: str, bag: str) -> bool:
    person = Identity.draw(identity)
    return person.top_fabric.pattern == pattern and person.bag == bag and person.top == "short sleeves"


def test_joint_angles_stay_within_human_limits_and_poses_vary() -> None:
    seen = []
    for seed in range(300):
        draws = Draws("limits", seed)
        angles = draw_angles(draw_action(draws), draws)
        assert set(angles) == set(ANGLES)
        for name, value in angles.items():
            low, high = limits_of(name)
            assert low <= value <= high, name
        seen.append([angles[name] for name in ANGLES])
    spread = dict(zip(ANGLES, np.std(seen, axis=0), strict=True))
    assert spread["right hip flexion"] > 10 and spread["left elbow flexion"] > 20


def test_bones_keep_their_length_in_every_pose() -> None:
    body = Body.draw(Draws("bones"))
    lengths = []
    for seed in range(20):
        joints = keypoints_3d(body, pose_bones(body, draw_angles("arms raised", Draws("p", seed)), 17.0 * seed))
        pairs = [("right elbow", "right wrist"), ("left hip", "left knee"), ("left knee", "left ankle")]
        lengths.append([np.linalg.norm(joints[J[a]] - joints[J[b]]) for a, b in pairs])
    assert np.ptp(lengths, axis=0).max() < 1e-9
    assert lengths[0][0] == pytest.approx(0.14 * body.height_m)


def test_knees_and_elbows_bend_the_human_way() -> None:
    body = Body.draw(Draws("bend"))
    straight = dict.fromkeys(ANGLES, 0.0)
    bent = keypoints_3d(body, pose_bones(body, {**straight, "right knee flexion": 60, "left elbow flexion": 60}, 0))
    assert bent[J["right ankle"], 2] < bent[J["right knee"], 2] - 0.1  # the heel goes back
    assert bent[J["left wrist"], 2] > bent[J["left elbow"], 2] + 0.1  # the hand comes forward


def test_the_nearest_triangle_wins_whatever_the_order() -> None:
    points = np.array([(0, 0), (0, 20), (20, 0)] * 2, dtype=np.float64)
    depth = np.array([2.0] * 3 + [1.0] * 3)
    for faces in (np.array([[0, 1, 2], [3, 4, 5]]), np.array([[3, 4, 5], [0, 1, 2]])):
        pixel, face, share = rasterise(points, depth, faces, np.array([True, True]), (16, 16))
        assert set(faces[face].min(1)) == {3}
        assert len(pixel) == sum(x + y <= 20 for x in range(16) for y in range(16))
        assert share.sum(1) == pytest.approx(np.ones(len(pixel)))


def test_jpeg_artefacts_grow_with_strength() -> None:
    pixels = np.random.RandomState(0).random_sample((32, 16, 3)) * 255
    weak, strong = (np.abs(through_jpeg(pixels, strength) - pixels).mean() for strength in (0.3, 1.5))
    assert weak < strong
    flat = np.full((16, 16, 3), 128.0)
    assert np.abs(through_jpeg(flat, 1.0) - flat).max() < 3


@pytest.mark.parametrize(("look", "band"), [("market", (0.5, 0.8)), ("studio", (0.3, 0.65))])
def test_pose_masks_cover_the_true_silhouette_about_as_far_as_they_should(look: str, band: tuple[float, float]) -> None:
    assert band[0] < mask_iou(look, people=6, views=1) < band[1]


def test_missing_rates_are_about_those_of_market1501() -> None:
    seen = np.mean([person.pose.visible.numpy() for person in people("market")], axis=0)
    missing = {name: 1 - share for name, share in zip(JOINTS, seen, strict=True)}
    assert 0.25 < missing["nose"] < 0.6
    assert 0.2 < (missing["right wrist"] + missing["left wrist"]) / 2 < 0.55
    assert missing["neck"] < 0.12 and missing["right shoulder"] < 0.15 and missing["left hip"] < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"look": "film"}, "look must be one of market, studio, got 'film'"),
        ({"camera": 7}, "camera must be 1 to 6"),
        ({"look": "studio", "camera": 1}, "in the market look only"),
        ({"shot": "wide"}, "shot must be one of full, half, close"),
        ({"action": "flying"}, "action must be one of walking"),
    ],
)
def test_unknown_wishes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        render_person(0, 0, **arguments)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_market1501(tmp_path_factory.mktemp("data") / "market", people=3, test_people=2, views=4, workers=1)


def test_market1501_goes_through_its_reader(market: Path) -> None:
    train, test = (read_market1501(market, split) for split in ("train", "test"))
    assert (len(train), len(set(train.persons)), train.skipped) == (12, 3, ())
    assert (len(test), len(set(test.persons))) == (8, 2)
    assert {skip.kind for skip in test.skipped} == {"junk", "distractor"}
    assert set(train.persons).isdisjoint(test.persons)
    assert len(make_pairs(train)) == 3 * 4 * 3
    assert len(read_pairs(market / "market-pairs-test.csv", test)) == 2 * 4 * 3
    assert train.load(0).size == (64, 128)
    assert len(list((market / "query").iterdir())) == 2
    drawn = render_person(1, 5, "market", camera=1)
    row = train.row("0001_c1s1_000051_01.jpg")
    assert np.abs(np.asarray(train.load(row), dtype=int) - np.asarray(drawn.image)).mean() < 3
    assert (train.pose(row).xy - drawn.pose.xy).abs().nan_to_num().max() <= 0.51


def test_deepfashion_goes_through_its_reader(tmp_path) -> None:
    folder = write_deepfashion(tmp_path / "shop", people=3, test_people=2, views=3, workers=1)
    train, test = (read_deepfashion(folder, split) for split in ("train", "test"))
    assert (len(train), len(set(train.persons))) == (9, 3)
    assert (len(test), len(set(test.persons))) == (6, 2)
    assert [skip.kind for skip in (*train.skipped, *test.skipped)] == ["flat"]
    assert len(read_pairs(folder / "fashion-pairs-test.csv", test)) == 2 * 3 * 2
    lines = (folder / "Eval" / "list_eval_partition.txt").read_text().splitlines()
    assert lines[:2] == ["16", "image_name item_id evaluation_status"]
    assert len(lines) == 18
    assert {line.split()[2] for line in lines[2:]} == {"train", "query", "gallery"}


def test_a_folder_is_used_again_and_never_mixed_with_another(market: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in market.rglob("*")}
    calls: list[tuple[int, int]] = []
    assert write_market1501(market, 3, 2, 4, workers=1, on_progress=lambda *done: calls.append(done)) == market
    assert (before, calls) == ({path: path.stat().st_mtime_ns for path in market.rglob("*")}, [])
    with pytest.raises(DataError, match=r"\bpeople 3\b.*\b4\b"):
        write_market1501(market, 4, 2, 4)
    with pytest.raises(DataError, match="layout 'market1501'.*'deepfashion'"):
        write_deepfashion(market, 3, 2, 4)


def test_a_folder_of_something_else_is_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds no synthetic people"):
        write_market1501(tmp_path, 2, 1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    for content in (b"[]", b"\xff\xfe", b"{"):
        (tmp_path / SYNTHETIC).write_bytes(content)
        with pytest.raises(DataError, match="holds no synthetic people"):
            write_market1501(tmp_path, 2, 1, 2)
        assert (tmp_path / SYNTHETIC).read_bytes() == content


@pytest.mark.parametrize("absolute", [False, True])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch: pytest.MonkeyPatch, absolute: bool) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(DataError, match="is the current folder"):
        write_market1501(here if absolute else ".", 2, 1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["here"] and list(here.iterdir()) == []


def test_an_empty_folder_is_taken_and_a_place_where_none_can_be_made_is_refused(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").write_text("not a folder")
    for place in ("link", "file/people"):
        with pytest.raises(DataError, match=rf"{place} cannot be made .*Not a directory"):
            write_market1501(tmp_path / place, 2, 1, 2, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "link"]
    write_market1501(tmp_path / "empty", 1, 1, 2, workers=1)
    assert len(read_market1501(tmp_path / "link", "train")) == 2


@pytest.mark.parametrize("views", [1, 6])
def test_a_shop_shows_an_outfit_in_two_to_five_views(tmp_path, views: int) -> None:
    with pytest.raises(DataError, match=rf"\bviews\b.*\b{views}\b"):
        write_deepfashion(tmp_path / "shop", views=views)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"people": 0}, {"views": 1}, {"test_people": 5000}, {"seed": -1}])
def test_numbers_that_make_no_data_set_are_refused(tmp_path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(wrong))} must be"):
        write_market1501(tmp_path / "people", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on_and_the_folder_appears_whole(tmp_path) -> None:
    folder, unfinished = tmp_path / "market", tmp_path / ".market.part"
    code = f"from pg2lib.data.synthetic import write_market1501; write_market1501({str(folder)!r}, 12, 3, 3, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code])
    journal = unfinished / "journal.jsonl"
    while not (journal.exists() and journal.read_text().count("\n") >= 2):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    with journal.open("a") as file:
        file.write('{"bounding_box_train/0011')  # the line that a kill cuts short
    done = sum(len(json.loads(line)) for line in journal.read_text().splitlines()[:-1])
    old = {path: path.stat().st_mtime_ns for path in (unfinished / "bounding_box_train").iterdir()}
    calls: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="other parameters"):
        write_market1501(folder, 13, 3, 3)
    write_market1501(folder, 12, 3, 3, workers=1, on_progress=lambda *counts: calls.append(counts))
    assert calls[0] == (done, 50) and calls[-1] == (50, 50)
    assert not unfinished.exists() and not (folder / "journal.jsonl").exists()
    kept = [p for p, when in old.items() if (folder / "bounding_box_train" / p.name).stat().st_mtime_ns == when]
    assert len(kept) >= done
    assert len(read_market1501(folder, "train")) == 36
    assert json.loads((folder / SYNTHETIC).read_text())["people"] == 12


def test_a_run_that_was_killed_before_it_wrote_its_parameters_goes_on(tmp_path) -> None:
    unfinished = tmp_path / ".market.part"
    unfinished.mkdir()
    (unfinished / "photos").mkdir()
    with pytest.raises(DataError, match="other parameters"):
        write_market1501(tmp_path / "market", 1, 1, 2, workers=1)
    (unfinished / "photos").rename(unfinished / f".{SYNTHETIC}.1-0123abcd.part")
    write_market1501(tmp_path / "market", 1, 1, 2, workers=1)
    assert not [path for path in (tmp_path / "market").iterdir() if path.name.startswith(".")]


def test_what_is_drawn_after_a_line_cut_short_is_not_drawn_again(tmp_path) -> None:
    folder, journal = tmp_path / "market", tmp_path / ".market.part" / "journal.jsonl"

    def draw(stop_at: int | None) -> list[tuple[int, int]]:
        calls: list[tuple[int, int]] = []

        def on_progress(done: int, total: int) -> None:
            calls.append((done, total))
            if done == stop_at:
                raise KeyboardInterrupt

        write_market1501(folder, 2, 1, 2, workers=1, on_progress=on_progress)
        return calls

    with pytest.raises(KeyboardInterrupt):
        draw(stop_at=4)
    journal.write_text(journal.read_text()[:-20])  # as a kill leaves it, in the middle of the second person's line
    with pytest.raises(KeyboardInterrupt):
        draw(stop_at=9)
    drawn = {path.relative_to(journal.parent).as_posix() for path in journal.parent.rglob("*.jpg")}
    assert dict(_read_journal(journal)).keys() == drawn and len(drawn) == 9
    assert draw(stop_at=None) == [(9, 9)]


def test_several_processes_write_the_same_files_as_one(tmp_path, market: Path) -> None:
    again = write_market1501(tmp_path / "again", 3, 2, 4, workers=2)
    files = sorted(path.relative_to(market) for path in market.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((market / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_mediapipe_finds_the_people() -> None:
    pytest.importorskip("mediapipe", reason="finding people needs mediapipe: pip install 'pg2lib[pose]'")
    from pg2lib.detect import MediaPipeDetector
    from pg2lib.errors import NoPersonError

    errors = []
    with MediaPipeDetector() as detector:
        for seed in range(20):
            person = render_person(seed, seed, "studio", shot="full")
            try:
                found = detector.detect(person.image).pose
            except NoPersonError:
                continue
            rows = np.flatnonzero(person.silhouette.any(1))
            errors.append(float((found.xy - person.pose.xy).norm(dim=1).nanmean()) / (rows[-1] - rows[0] + 1))
    assert len(errors) >= 16
    assert np.mean(errors) < 0.06
