"""Poses from a video, and animations."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pg2lib.errors import DataError, NoPersonError
from pg2lib.framing import Framing
from pg2lib.images import Crop
from pg2lib.pose import Pose, pose_presets
from pg2lib.video import MAX_GAP, _upright, frame_poses, read_frames, read_video_poses, smooth, write_animation

pytest.importorskip("av", reason="videos need the extra 'video'")

FRONT = pose_presets()["standing, front"].resize((96, 96))


def dots(count: int, size: tuple[int, int] = (96, 96)) -> list[Image.Image]:
    """A dark picture on which a white square moves four pixels to the right per frame."""
    pictures = []
    for number in range(count):
        picture = Image.new("RGB", size, "black")
        ImageDraw.Draw(picture).rectangle((4 * number, 40, 4 * number + 11, 51), fill="white")
        pictures.append(picture)
    return pictures


def square(picture: Image.Image) -> float:
    """Where the square begins."""
    row = np.asarray(picture.convert("L"))[46]
    return float((row > 128).argmax())


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_an_animation_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    path = write_animation(dots(10), tmp_path / f"dots{suffix}", fps=10)
    frames = list(read_frames(path, fps=10))
    assert len(frames) == 10
    assert [square(frame) for frame in frames] == pytest.approx([4.0 * n for n in range(10)], abs=1.1)


def test_frames_are_taken_at_a_steady_rate(tmp_path: Path) -> None:
    path = write_animation(dots(20), tmp_path / "dots.mp4", fps=20)
    frames = list(read_frames(path, fps=5))
    assert [square(frame) for frame in frames] == pytest.approx([0, 16, 32, 48, 64], abs=1.1)
    assert len(list(read_frames(path, fps=5, max_frames=3))) == 3


def test_large_frames_are_reduced_and_odd_sides_are_written(tmp_path: Path) -> None:
    path = write_animation([Image.new("RGB", (1301, 651), "red")], tmp_path / "red.mp4")
    (frame,) = read_frames(path)
    assert frame.size == (640, 320)


@pytest.mark.parametrize(
    ("pictures", "name", "word"),
    [([], "a.gif", "at least one"), (dots(1), "a.avi", ".mp4"), (dots(1) + dots(1, (50, 50)), "a.gif", "picture 2")],
)
def test_what_is_no_animation_is_refused(tmp_path: Path, pictures: list[Image.Image], name: str, word: str) -> None:
    with pytest.raises(DataError, match=word):
        write_animation(pictures, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.mp4"):
        list(read_frames(tmp_path / "notes.mp4"))
    with pytest.raises(DataError, match="missing"):
        list(read_frames(tmp_path / "missing.mp4"))


def test_junk_in_the_metadata_is_harmless(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mkv"), "w", format="matroska") as container:
        container.metadata["title"] = "title of the video"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for picture in dots(3):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    content = (tmp_path / "a.mkv").read_bytes()
    assert b"title of the video" in content
    (tmp_path / "a.mkv").write_bytes(content.replace(b"title of the video", b"\xff" * 18))
    assert len(list(read_frames(tmp_path / "a.mkv"))) == 3


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_animation(dots(3), tmp_path / "secret.mp4", fps=10)
    address = (tmp_path / "secret.mp4").as_uri()
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(text)
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    for name in ("list.m3u8", "list.ffconcat"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read as a video"):
            list(read_frames(tmp_path / name))
    with pytest.raises(DataError, match="is not a file"):
        list(read_frames(tmp_path))


def test_frames_of_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_animation(dots(2), tmp_path / "dots.mp4")
    monkeypatch.setattr("pg2lib.video.MAX_PIXELS", 96 * 96 - 1)
    with pytest.raises(DataError, match=r"dots\.mp4: has frames of 96x96 pixels"):
        list(read_frames(path))


def test_one_person_is_followed_even_when_another_one_is_larger(tmp_path: Path) -> None:
    path = write_animation(dots(8), tmp_path / "dots.mp4", fps=8)
    seen = []

    def find(picture: Image.Image) -> list[Pose]:
        left = square(picture)
        followed, other = Pose(FRONT.xy * 0.2 + left, (96, 96)), Pose(FRONT.xy + 60, (96, 96))
        seen.append(left)
        return [followed] if len(seen) == 1 else [other, followed]

    done: list[int] = []
    poses = read_video_poses(path, find, fps=8, on_frame=done.append)
    assert done == list(range(1, 9))
    necks = [float(pose.xy[1, 0] - poses[0].xy[1, 0]) for pose in poses]
    assert necks == pytest.approx([place - 2 for place in (2, 6, 10, 14, 18, 22, 26, 30)], abs=3)


def test_frames_before_the_person_comes_and_after_they_leave_are_left_out(tmp_path: Path) -> None:
    path = write_animation(dots(6), tmp_path / "dots.mp4", fps=8)

    def find(picture: Image.Image) -> list[Pose]:
        if not 4 <= square(picture) <= 14:
            raise NoPersonError("nobody")
        return [FRONT]

    assert len(read_video_poses(path, find, fps=8)) == 3
    with pytest.raises(NoPersonError, match="dots"):
        read_video_poses(path, lambda picture: [], fps=8)


def test_smoothing_removes_a_spike_and_leaves_an_even_motion_alone() -> None:
    poses = [Pose(FRONT.xy + float(n), FRONT.canvas) for n in range(9)]
    steady = smooth(poses)
    for before, after in zip(poses[2:-2], steady[2:-2], strict=True):
        torch.testing.assert_close(after.xy, before.xy, rtol=0, atol=1e-4)
    spiked = poses[4].xy.clone()
    spiked[4] += 40
    steady = smooth([*poses[:4], Pose(spiked, FRONT.canvas), *poses[5:]])
    assert float((steady[4].xy[4] - poses[4].xy[4]).norm()) < 2


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    poses = [Pose(FRONT.xy + float(n), FRONT.canvas) for n in range(20)]

    def without(wrist: int, frames: range) -> list[Pose]:
        changed = []
        for number, pose in enumerate(poses):
            xy = pose.xy.clone()
            if number in frames:
                xy[wrist] = math.nan
            changed.append(Pose(xy, pose.canvas))
        return changed

    filled = smooth(without(4, range(5, 5 + MAX_GAP)))
    torch.testing.assert_close(filled[7].xy[4], poses[7].xy[4], rtol=0, atol=1e-3)
    open_gap = smooth(without(4, range(5, 6 + MAX_GAP)))
    assert [bool(pose.visible[4]) for pose in open_gap] == [n not in range(5, 6 + MAX_GAP) for n in range(20)]
    at_the_end = smooth(without(4, range(17, 20)))
    assert not bool(at_the_end[18].visible[4])


def test_poses_of_several_canvases_are_refused() -> None:
    with pytest.raises(DataError, match="canvas"):
        smooth([FRONT, FRONT.resize((128, 128))])


def test_smoothing_knows_neither_past_and_future_nor_left_and_right() -> None:
    generator = torch.Generator().manual_seed(0)
    poses = []
    for _ in range(15):
        xy = FRONT.xy + 3 * torch.randn(18, 2, generator=generator)
        xy[torch.rand(18, generator=generator) < 0.2] = math.nan
        poses.append(Pose(xy, FRONT.canvas))
    steady = smooth(poses)
    backwards, mirrored = smooth(poses[::-1])[::-1], [pose.flip() for pose in smooth([pose.flip() for pose in poses])]
    for others in (backwards, mirrored):
        for pose, other in zip(steady, others, strict=True):
            torch.testing.assert_close(other.xy, pose.xy, equal_nan=True, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("fps", "milliseconds"), [(10, 100), (12, 80), (25, 40), (1000, 20)])
def test_a_gif_shows_its_pictures_for_as_long_as_asked(tmp_path: Path, fps: float, milliseconds: int) -> None:
    """GIFs count hundredths of a second, and browsers slow down those of less than two."""
    path = write_animation(dots(3), tmp_path / "dots.gif", fps=fps)
    with Image.open(path) as gif:
        assert gif.info["duration"] == milliseconds
        assert gif.info["loop"] == 0  # for ever


def test_a_frame_is_turned_counterclockwise_as_the_file_says() -> None:
    """FFmpeg's display matrix: a quarter turn counterclockwise brings the right edge to the top."""
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (30, 0, 40, 20))
    for turn, box in ((90, (0, 0, 20, 10)), (-90, (0, 30, 20, 40)), (180, (0, 0, 10, 20)), (0, (30, 0, 40, 20))):
        upright = _upright(SimpleNamespace(to_image=picture.copy, rotation=turn))
        assert upright.convert("L").getbbox() == box


def test_poses_of_a_video_are_framed_at_one_size_and_followed() -> None:
    framing, canvas = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88}), (128, 64)
    nobody = Pose(torch.full((18, 2), math.nan), FRONT.canvas)
    walk = [Pose(FRONT.xy + torch.tensor((3.0 * step, 0.0)), FRONT.canvas) for step in range(20)]
    walk[7] = nobody
    framed = frame_poses(walk, framing, canvas)
    tall = [float(pose.xy[10, 1] - pose.xy[1, 1]) for pose in framed if bool(pose.visible.any())]
    assert tall == pytest.approx([tall[0]] * 19, rel=1e-4) and {pose.canvas for pose in framed} == {canvas}
    assert not bool(framed[7].visible.any())
    assert all(abs(float(pose.xy[1, 0]) - 31.5) < 12 for pose in framed if bool(pose.visible.any())), "in the middle"
    with pytest.raises(DataError, match="one joint"):
        frame_poses([nobody], framing, canvas)


def test_a_video_for_a_half_length_portrait_keeps_its_size_and_shows_raised_hands() -> None:
    framing, canvas = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88}), (256, 256)
    standing, raised = pose_presets()["standing, front"], pose_presets()["arms raised"]
    part = Crop(58.0, 20.0, 198.0, 160.0, canvas)
    poses = [standing, standing, raised, standing]
    usual, framed = (frame_poses(poses, framing, canvas, shown) for shown in (None, part))
    zooms = [
        float((new.xy[8] - new.xy[1]).norm() / (old.xy[8] - old.xy[1]).norm())
        for new, old in zip(framed, usual, strict=True)
    ]
    assert zooms == pytest.approx([zooms[0]] * 4, rel=1e-4) and 1.05 < zooms[0] < 256 / 140
    for new, old in zip(framed, usual, strict=True):
        assert torch.equal(new.inside().visible[[4, 7]], old.inside().visible[[4, 7]])
    wild = standing.xy.clone()
    wild[7, 0] += 500  # far beyond the usual frame
    far = [standing] * 20 + [Pose(wild, standing.canvas)]
    shown, all_of_it = frame_poses(far, framing, canvas, part)[0], frame_poses(far, framing, canvas)[0]
    assert (shown.xy[8] - shown.xy[1]).norm() >= 0.999 * (all_of_it.xy[8] - all_of_it.xy[1]).norm()


def test_one_frame_with_a_wide_gesture_neither_shrinks_the_person_nor_makes_them_jump() -> None:
    framing, canvas = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88}), (128, 64)
    walk = [Pose(FRONT.xy + torch.tensor((3.0 * step, 0.0)), FRONT.canvas) for step in range(20)]
    plain = frame_poses(walk, framing, canvas)
    wide = walk[10].xy.clone()
    wide[7, 0] += 80  # the left wrist
    framed = frame_poses([*walk[:10], Pose(wide, FRONT.canvas), *walk[11:]], framing, canvas)
    for one, other in zip(framed, plain, strict=True):
        body = [joint for joint in range(18) if joint != 7]
        # The crop of that frame moves by some 40 pixels, of which each frame sees a ninth.
        torch.testing.assert_close(one.xy[body], other.xy[body], rtol=0, atol=6.0)
        torch.testing.assert_close(one.xy[10] - one.xy[1], other.xy[10] - other.xy[1], rtol=0, atol=1e-3)


def test_a_gif_has_the_colours_of_all_its_pictures(tmp_path: Path) -> None:
    """Its pictures share one palette."""
    colours = [(0, 0, 0), (200, 30, 30), (20, 160, 40), (30, 40, 220)]
    path = write_animation([Image.new("RGB", (32, 32), colour) for colour in colours], tmp_path / "colours.gif")
    with Image.open(path) as gif:
        for index, colour in enumerate(colours):
            gif.seek(index)
            assert gif.convert("RGB").getpixel((5, 5)) == pytest.approx(colour, abs=4)
