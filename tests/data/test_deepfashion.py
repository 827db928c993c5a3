"""DeepFashion In-shop in every layout and spelling: one table."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pg2lib import DataError, ImageStore, PersonTable, Pose, make_pairs, read_pairs
from pg2lib.data.deepfashion import audit_split, read_deepfashion, read_list, read_partition
from pg2lib.data.keypoint_csv import write_keypoints
from pg2lib.data.names import DeepFashionName, canonical_name, image_key, parse_deepfashion
from tests.conftest import STANDING

TRAIN = (
    "fashionMENTees_Tanksid0000347017_1front.jpg",
    "fashionMENTees_Tanksid0000347017_3back.jpg",
    "fashionMENTees_Tanksid0000347017_6flat.jpg",
    "fashionWOMENDressesid0000000201_1front.jpg",
    "fashionWOMENDressesid0000000201_2side.jpg",
    "fashionWOMENDressesid0000000202_1front.jpg",
    "fashionWOMENDressesid0000000202_4full.jpg",
)
TEST = (
    "fashionWOMENDressesid0000000203_1front.jpg",
    "fashionWOMENDressesid0000000203_7additional.jpg",
    "fashionWOMENBlouses_Shirtsid0000061901_1front.jpg",
    "fashionWOMENBlouses_Shirtsid0000061901_3back.jpg",
)
"""Item 2 stands on both sides, in another colour."""

COLOURS = dict(zip(TRAIN + TEST, np.random.default_rng(0).integers(0, 256, (11, 3)).tolist(), strict=True))

Rename = Callable[[str], str]


def original(prefix: str) -> Rename:
    def rename(name: str) -> str:
        said = parse(name)
        return f"{prefix}{said.gender}/{said.category}/id_{said.item}/{said.variant}_{said.number}_{said.view}.jpg"

    return rename


def parse(name: str) -> DeepFashionName:
    said = parse_deepfashion(name)
    assert said is not None
    return said


def usual(name: str) -> str:
    return name


def older(name: str) -> str:
    """``fasion``, no underscore in the category."""
    return parse(name).image_key.replace("fashion", "fasion")


def bare(name: str) -> str:
    """``fasion``, no underscore at all."""
    return older(name).replace("_", "")


def as_png(rename: Rename) -> Rename:
    return lambda name: rename(name).replace(".jpg", ".png")


LAYOUTS: dict[str, Rename] = {
    "In-shop": original("In-shop Clothes Retrieval Benchmark/Img/img/"),
    "Img/img": original("Img/img/"),
    "img": original("img/"),
    "img_highres": original("img_highres/"),
    "fashion": original("fashion/"),
    "MEN and WOMEN": original(""),
    "flattened": lambda name: f"images/{name}",
    "flattened by split": lambda name: f"fashion/{'train' if name in TRAIN else 'test'}/{name}",
    "flattened, older": lambda name: f"images/{older(name)}",
    "flattened, bare": lambda name: bare(name),
    "img, PNG": as_png(original("img/")),
    "flattened, PNG": as_png(usual),
}
SPELLINGS: dict[str, Rename] = {
    "usual": usual,
    "older": older,
    "bare": bare,
    "path": original("img/"),
    "PNG": as_png(usual),
    "Windows": lambda name: original("img/")(name).replace("/", "\\"),
}


def pose_of(name: str) -> Pose:
    """Somebody in the middle of 256x256, a little different in every image."""
    shift = torch.tensor([75.0 + (TRAIN + TEST).index(name), 20.0])
    return Pose(torch.tensor(STANDING, dtype=torch.float32) * 1.5 + shift, (256, 256))


def save(path: Path, colour: Iterable[int], size: tuple[int, int] = (256, 256)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(colour)).save(path, quality=95)


def write_csv(path: Path, names: Iterable[str], spell: Rename = usual, shift: float = 0.0) -> Path:
    moved = ((name, pose_of(name)) for name in names)
    shifted = [(spell(name), Pose(pose.xy + torch.tensor([shift, 0.0]), pose.canvas)) for name, pose in moved]
    write_keypoints(path, shifted)
    return path


def lay_out(
    root: Path,
    layout: Rename = LAYOUTS["img"],
    spell: Rename = usual,
    size: tuple[int, int] = (256, 256),
    lists: bool = True,
) -> Path:
    for name, colour in COLOURS.items():
        save(root / layout(name), colour, size)
    for split, names in (("train", TRAIN), ("test", TEST)):
        write_csv(root / f"fashion-annotation-{split}.csv", names, spell)
        if lists:
            (root / f"{split}.lst").write_text("".join(f"{spell(name)}\n" for name in names))
    return root


def write_partition(path: Path, rows: Iterable[tuple[str, str]], count: int | None = None) -> Path:
    lines = [f"{original('img/')(name):<70} id_{parse(name).item}   {status}" for name, status in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "image_name item_id evaluation_status"
    path.write_text("\n".join([str(len(lines) if count is None else count), header, *lines]) + "\n")
    return path


def kinds(table: PersonTable) -> Counter[str]:
    return Counter(skip.kind for skip in table.skipped)


def assert_same(table: PersonTable, names: Iterable[str]) -> None:
    """The table holds these images, with the keypoints, people and pixels that belong to each."""
    assert {image_key(name) for name in table.names} == {image_key(name) for name in names}
    for name in names:
        row = table.row(name)
        assert row is not None
        assert torch.equal(table.xy[row], pose_of(name).xy.round())
        assert image_key(table.persons[row] + "_1front.jpg") == parse(name).outfit_key + "_1front.jpg"
        image = np.asarray(table.load(row))
        assert image.shape == (256, 256, 3)
        assert np.abs(image[128, 128].astype(int) - COLOURS[name]).max() <= 4


def kept(names: Iterable[str]) -> list[str]:
    return [name for name in names if "flat" not in name.rpartition("_")[2]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_layout_and_spelling_gives_one_table(tmp_path, layout: str, spelling: str) -> None:
    size = (750, 1101) if layout == "img_highres" else (256, 256)
    root = lay_out(tmp_path / "deepfashion", LAYOUTS[layout], SPELLINGS[spelling], size)
    for split, names in (("train", TRAIN), ("test", TEST)):
        table = read_deepfashion(root, split)
        assert_same(table, kept(names))
        assert (table.canvas, len(set(table.persons))) == ((256, 256), 3 if split == "train" else 2)
        assert len(make_pairs(table)) == (6 if split == "train" else 4)
        assert table.names == tuple(canonical_name(path.as_posix()) for path in table.paths or ())
    pairs = root / "pairs.csv"
    for spell in SPELLINGS.values():
        pairs.write_text(f"from,to\n{spell(TEST[0])},{spell(TEST[1])}\n")
        read = read_pairs(pairs, table)
        assert [image_key(name) for name in read.names(0)] == [image_key(name) for name in TEST[:2]]


@pytest.mark.parametrize(
    "below", [".", "In-shop Clothes Retrieval Benchmark", "x", "x/Img", "x/Img/img", "x/Img/img/WOMEN"]
)
def test_the_root_may_be_any_folder_on_the_way(tmp_path, monkeypatch, below: str) -> None:
    top = "In-shop Clothes Retrieval Benchmark"
    lay_out(tmp_path / "above" / "deepfashion", LAYOUTS["In-shop"])
    root = tmp_path / "above" / "deepfashion" / below.replace("x", top, 1)
    women = [name for name in kept(TRAIN) if "WOMEN" in name]
    assert_same(read_deepfashion(root, "train"), women if below.endswith("WOMEN") else kept(TRAIN))
    monkeypatch.chdir(root)
    assert len(read_deepfashion(".", "train")) == (4 if below.endswith("WOMEN") else 6)


def test_the_root_may_lie_two_above(tmp_path) -> None:
    lay_out(tmp_path / "a" / "b", LAYOUTS["In-shop"])
    assert_same(read_deepfashion(tmp_path, "test"), TEST)


def test_a_link_to_the_images_has_its_lists_beside_it(tmp_path) -> None:
    store = lay_out(tmp_path / "store" / "deep" / "down" / "there")
    here = tmp_path / "here"
    here.mkdir()
    for file in (*store.glob("*.csv"), *store.glob("*.lst")):
        file.rename(here / file.name)
    (here / "img").symlink_to(store / "img", target_is_directory=True)
    (here / "again").symlink_to(here, target_is_directory=True)  # a loop
    for root in (here, here / "img"):
        table = read_deepfashion(root, "test")
        assert_same(table, TEST)
        assert not table.skipped


def test_images_lie_in_several_places_and_the_same_one_is_taken_once(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    for name in TEST[:2]:
        path = root / "img" / original("")(name)
        shutil.copy(path, root / older(name))
    (root / "more").mkdir()
    moved = root / LAYOUTS["img"](TEST[2])
    moved.rename(root / "more" / TEST[2])
    table = read_deepfashion(root, "test")
    assert_same(table, TEST)
    assert [skip.reason for skip in table.skipped] == [f"the same image as {older(name)}" for name in TEST[:2]]
    assert [skip.name for skip in table.skipped] == [LAYOUTS["img"](name) for name in TEST[:2]]
    assert len(set(table.persons)) == 2  # one outfit lies in two places, under two spellings


def test_images_cut_to_176_and_keypoints_on_them_move_by_40(tmp_path, caplog) -> None:
    root = lay_out(tmp_path / "deepfashion", LAYOUTS["flattened"], size=(176, 256))
    wide = read_deepfashion(root, "train")
    image = np.asarray(wide.load(0)).astype(int)
    assert (image[:, :40] == 255).all()
    assert (image[:, 216:] == 255).all()
    assert np.abs(image[:, 40:216] - COLOURS[wide.names[0]]).max() <= 4

    narrow = write_csv(tmp_path / "fasion-resize-annotation-train.csv", TRAIN, shift=-40)
    with caplog.at_level(logging.INFO, "pg2lib.data.deepfashion"):
        for width in (None, 176):
            assert torch.equal(read_deepfashion(root, "train", narrow, keypoints_width=width).xy, wide.xy)
    assert "176 pixels wide (inferred from the keypoints)" in caplog.text
    assert "176 pixels wide (as given)" in caplog.text
    left = wide.xy - torch.tensor([40.0, 0.0])
    assert torch.equal(read_deepfashion(root, "train", narrow, keypoints_width=256).xy, left)
    poses = [(name, Pose(pose_of(name).xy - torch.tensor([40.0, 0.0]), (256, 256))) for name in TRAIN]
    hand = poses[0][1].xy.clone()
    hand[4, 0] = 176.0
    write_keypoints(narrow, [(TRAIN[0], Pose(hand, (256, 256))), *poses[1:]])
    assert torch.equal(read_deepfashion(root, "train", narrow).xy[1:], left[1:])  # one x tells that all are 256 wide


def test_the_store_holds_letterboxed_images(tmp_path) -> None:
    table = read_deepfashion(lay_out(tmp_path / "deepfashion", LAYOUTS["img_highres"], size=(75, 110)), "test")
    images = ImageStore.open(table, tmp_path / "cache").images(torch.arange(len(table)))
    for row, image in enumerate(images):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(table.load(row)))


def test_the_first_csv_with_a_joint_wins(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    (root / "fashion-annotation-train.csv").unlink()
    nobody = Pose(torch.full((18, 2), torch.nan), (256, 256))
    moved = {name: Pose(pose_of(name).xy + 3, (256, 256)) for name in TRAIN}
    published = [(TRAIN[0], pose_of(TRAIN[0])), (TRAIN[1], nobody), (TRAIN[3], nobody)]
    detected = [(older(name), pose) for name, pose in moved.items() if name != TRAIN[3]]
    write_keypoints(root / "keypoints-train-mediapipe.csv", detected)  # before "partial" in the alphabet
    write_keypoints(root / "keypoints-train-partial.csv", published)
    for keypoints in (None, [root / f"keypoints-train-{kind}.csv" for kind in ("partial", "mediapipe")]):
        table = read_deepfashion(root, "train", keypoints)
        xy = {name: table.xy[row] for row, name in enumerate(table.names)}
        assert torch.equal(xy[TRAIN[0]], pose_of(TRAIN[0]).xy.round())
        assert torch.equal(xy[TRAIN[1]], moved[TRAIN[1]].xy.round())
        assert xy[TRAIN[3]].isnan().all()
    table = read_deepfashion(root, "train", keypoints[::-1])
    assert torch.equal(table.xy[table.names.index(TRAIN[0])], moved[TRAIN[0]].xy.round())


def test_what_is_left_out_is_counted(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    (root / LAYOUTS["img"](TRAIN[0])).unlink()
    csv = write_csv(tmp_path / "mine.csv", (*TRAIN[:4], TEST[0]))
    table = read_deepfashion(root, "train", csv)
    assert table.names == (TRAIN[1], TRAIN[3])
    assert kinds(table) == {
        "no image": 1,
        "flat": 1,
        "no keypoints": 3,
        "other split": 1,
    }
    assert TRAIN[2] in read_deepfashion(root, "train", csv, flat=True).names


def test_a_person_is_an_outfit_or_an_item(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    outfits, items = (read_deepfashion(root, "train", person=person) for person in ("outfit", "item"))
    assert set(outfits.persons) == {name.rpartition("_")[0] for name in TRAIN}
    assert set(items.persons) == {"fashionMENTees_Tanksid00003470", "fashionWOMENDressesid00000002"}
    assert (len(make_pairs(outfits)), len(make_pairs(items))) == (6, 14)


def test_without_lists_the_partition_says_the_split_and_without_it_the_csv(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion", lists=False)
    for split, names in (("train", TRAIN), ("test", TEST)):
        assert_same(read_deepfashion(root, split), kept(names))
    rows = [(name, "train") for name in TRAIN[:2]] + [(TRAIN[3], "query"), (TRAIN[4], "gallery")]
    for place in ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "../list_eval_partition.txt"):
        partition = write_partition(root / place, rows)
        both = [root / f"fashion-annotation-{split}.csv" for split in ("train", "test")]
        assert read_deepfashion(root, "train", both).names == TRAIN[:2]
        assert read_deepfashion(root, "test", both).names == TRAIN[3:5]
        partition.unlink()


def test_keypoints_of_both_splits_are_read_where_a_list_tells_them_apart(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion", lists=False)
    write_csv(root / "keypoints.csv", TRAIN + TEST)
    for split in ("train", "test"):
        (root / f"fashion-annotation-{split}.csv").unlink()
    write_csv(root / "keypoints-train-mine.shard-1-of-2.csv", TRAIN)  # waits to be merged
    with pytest.raises(DataError, match="no keypoints: none of fashion-annotation-train"):
        read_deepfashion(root, "train")
    write_partition(root / "list_eval_partition.txt", [(name, "train") for name in TRAIN] + [(TEST[0], "query")])
    assert_same(read_deepfashion(root, "train"), kept(TRAIN))
    assert_same(read_deepfashion(root, "test"), TEST[:1])


def test_leak_free_drops_the_items_of_the_test_split_from_train_alone(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    train, test = (read_deepfashion(root, split) for split in ("train", "test"))
    clean = read_deepfashion(root, "train", leak_free=True)
    assert clean.names == TRAIN[:2]
    assert kinds(clean)["shared item"] == 4
    assert read_deepfashion(root, "test", leak_free=True).names == test.names
    leaky = audit_split(train, test)
    assert (leaky.outfits, leaky.items, leaky.item_numbers) == ((), ("fashionWOMENDressesid00000002",), ("00000002",))
    assert str(leaky) == (
        "6 train and 4 test images; of the test split, 0 of 2 outfits and 1 of 2 items are also in train "
        "(1 by item number alone)"
    )
    assert audit_split(clean, test).item_numbers == ()
    assert audit_split([older(TEST[0])], TEST[:1]).outfits == ("fashionWOMENDressesid0000000203",)

    elsewhere = "fashionWOMENTees_Tanksid0000061902_1front.jpg"  # the number of a blouse of the test split
    save(root / LAYOUTS["img"](elsewhere), (0, 0, 0))
    with (root / "train.lst").open("a") as file:
        file.write(f"{elsewhere}\n")
    dropped = read_deepfashion(root, "train", leak_free=True)
    assert dropped.names == clean.names
    assert kinds(dropped)["shared item"] == 5

    for split in ("train", "test"):
        (root / f"{split}.lst").unlink()
    assert read_deepfashion(root, "train", leak_free=True).names == clean.names
    (root / "fashion-annotation-test.csv").unlink()
    with pytest.raises(DataError, match=r"leak_free .*test\.lst"):
        read_deepfashion(root, "train", leak_free=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "img/WOMEN/Dresses/id_00000002/02_1_front.jpg train",
            r":5: expected image_name item_id evaluation_status, got",
        ),
        (
            "img/WOMEN/Dresses/02_1_front.jpg id_00000002 train",
            r":5: 'img/WOMEN/Dresses/02_1_front.jpg' is not the name",
        ),
        (
            "img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000003 train",
            r":5: item_id is id_00000003, but .* id_00000002",
        ),
        ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000002 val", r":5: evaluation_status must be one of train"),
        (
            "img/WOMEN/Dresses/id_00000002/01_1_front.jpg id_00000002 train",
            r":5: img/.*01_1_front\.jpg is in the file",
        ),
    ],
)
def test_a_bad_line_of_the_partition_is_named(tmp_path, line: str, message: str) -> None:
    path = write_partition(tmp_path / "list_eval_partition.txt", [(TRAIN[3], "train"), (TRAIN[4], "query")])
    assert list(read_partition(path).values()) == ["train", "query"]
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt" + message):
        read_partition(path)


def test_a_partition_that_is_not_whole_is_refused(tmp_path) -> None:
    path = write_partition(tmp_path / "list_eval_partition.txt", [(TRAIN[3], "train")], count=52_712)
    with pytest.raises(DataError, match=r"\bline 1\b.*\b52712\b.*\b1\b"):
        read_partition(path)
    path.write_text("image_name item_id evaluation_status\n")
    with pytest.raises(DataError, match=r"txt:1: expected the number of images, got 'image_name"):
        read_partition(path)
    path.write_text("0\nname status\n")
    with pytest.raises(DataError, match=r"txt:2: expected the header 'image_name item_id"):
        read_partition(path)
    with pytest.raises(DataError, match=r"no file .*nowhere\.txt"):
        read_partition(tmp_path / "nowhere.txt")


def test_errors_say_what_was_looked_for(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        read_deepfashion(tmp_path / "nowhere", "train")
    with pytest.raises(
        DataError, match=r"no DeepFashion In-shop image.*id_00000002/02_1_front\.jpg.*img_highres.*fasionMEN"
    ):
        read_deepfashion(tmp_path, "train")
    root = lay_out(tmp_path / "deepfashion")
    with pytest.raises(DataError, match=r"^split.*train, test.*'val'"):
        read_deepfashion(root, "val")
    with pytest.raises(DataError, match=r"^person.*outfit, item.*'face'"):
        read_deepfashion(root, "train", person="face")
    with pytest.raises(DataError, match=r"^keypoints_width.*256, 176, None.*\b200\b"):
        read_deepfashion(root, "train", keypoints_width=200)
    csv = root / "fashion-annotation-test.csv"
    with pytest.raises(
        DataError, match=r"of the train split: of 11 .*, 7 are .* and 4 have .*is that the CSV of the train"
    ):
        read_deepfashion(root, "train", csv)
    (root / "test.lst").write_text(f"{TEST[0]}\nholiday.jpg\n")
    with pytest.raises(DataError, match=r"test\.lst:2: .*'holiday\.jpg'"):
        read_deepfashion(root, "test")
    (root / "test.lst").unlink()
    with pytest.raises(DataError, match=r"train\.lst .*without a test\.lst"):
        read_deepfashion(root, "test")
    csv.unlink()
    (root / "train.lst").unlink()
    with pytest.raises(DataError, match=r"no keypoints: none of fashion-annotation-test\.csv, .*is in .*deepfashion"):
        read_deepfashion(root, "test")
    save(root / "img/WOMEN/Dresses/id_00000002/02_9_upside.jpg", (0, 0, 0))
    with pytest.raises(DataError, match=r"02_9_upside\.jpg: expected .*front, side.*got 'upside'"):
        read_deepfashion(root, "train")


def test_keypoints_of_other_images_are_refused(tmp_path) -> None:
    root = lay_out(tmp_path / "deepfashion")
    large = tmp_path / "large.csv"
    write_keypoints(large, [(name, Pose(pose_of(name).xy * 4, (1101, 1101))) for name in TRAIN])
    with pytest.raises(DataError, match=r"large\.csv: fashionMEN.*\b6\b.*\b256x256\b"):
        read_deepfashion(root, "train", large)
    with pytest.raises(DataError, match=r"outside 176x256"):
        read_deepfashion(root, "train", write_csv(tmp_path / "wide.csv", TRAIN, shift=60), keypoints_width=176)
    strange = tmp_path / "strange.csv"
    write_keypoints(strange, [("0002_c1s1_000451_03.jpg", pose_of(TRAIN[0]))])
    with pytest.raises(DataError, match=r"strange\.csv:2: '0002_c1s1_000451_03\.jpg'"):
        read_deepfashion(root, "train", strange)


def test_one_image_under_two_spellings_is_no_table() -> None:
    names = (TRAIN[0], older(TRAIN[0]))
    with pytest.raises(DataError, match=f"{', '.join(sorted(names))}"):
        PersonTable(names, ("a", "a"), torch.zeros(2, 18, 2), (256, 256))


def test_the_usual_split_shares_503_of_930_items(deepfashion_root: Path) -> None:
    lists = [deepfashion_root / f"{split}.lst" for split in ("train", "test")]
    if not all(path.is_file() for path in lists):
        pytest.skip(f"needs train.lst and test.lst in {deepfashion_root}")
    audit = audit_split(*(read_list(path) for path in lists))
    assert (audit.train_images, audit.test_images) == (48_674, 4_038)
    assert (len(audit.outfits), audit.test_outfits) == (0, 1_000)
    assert (len(audit.items), audit.test_items) == (503, 930)
    assert len(audit.item_numbers) == 513


def test_the_real_images_make_the_known_pairs(deepfashion_root: Path) -> None:
    if not (deepfashion_root / "keypoints-train-mediapipe.csv").is_file():
        pytest.skip(f"{deepfashion_root} is not the part whose counts are known")
    train = read_deepfashion(deepfashion_root, "train")
    assert (len(train), len(make_pairs(train))) == (7_474, 17_176)
    test = read_deepfashion(deepfashion_root, "test")
    assert (len(test), kinds(test)["flat"]) == (842 + 404 - 18, 18)
    pairs = deepfashion_root / "pairs-test.csv"
    assert len(read_pairs(pairs, read_deepfashion(deepfashion_root, "test", flat=True))) == 2_708
    assert len(read_pairs(pairs, test, skip_unknown=True)) == 2_708 - 18
    clean = read_deepfashion(deepfashion_root, "train", leak_free=True)
    assert audit_split(train, test).items
    assert not audit_split(clean, test).item_numbers


def test_a_few_real_images_in_every_layout(tmp_path, deepfashion_root: Path) -> None:
    whole = read_deepfashion(deepfashion_root, "test")
    some = whole.select(range(0, len(whole), 60))
    for layout, rename in LAYOUTS.items():
        root = tmp_path / layout.replace("/", " ")
        for name, path in zip(some.names, some.paths or (), strict=True):
            copy = root / rename(name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if layout == "flattened":
                with Image.open(path) as image:
                    image.convert("RGB").crop((40, 0, 216, 256)).save(copy, quality=100, subsampling=0)
            else:
                copy.symlink_to(path)
        table = read_deepfashion(root, "test", deepfashion_root / "keypoints-test.csv")
        assert {image_key(name) for name in table.names} == {image_key(name) for name in some.names}
        for row, name in enumerate(some.names):
            there = table.row(name)
            assert there is not None
            assert torch.equal(table.xy[there].nan_to_num(-1), some.xy[row].nan_to_num(-1))
            ours, theirs = (np.asarray(image).astype(int)[:, 40:216] for image in (table.load(there), some.load(row)))
            assert np.abs(ours - theirs).mean() < 1
