"""What names say: one key for every spelling and layout of an image."""

from __future__ import annotations

from itertools import combinations

import pytest

from pg2lib.data.names import canonical_name, image_key, parse_deepfashion, person_of

ONE_IMAGE = (
    "fashionMENTees_Tanksid0000347017_3back.jpg",
    "fasionMENTeesTanksid0000347017_3back.jpg",
    "fasionMENTeesTanksid00003470173back.jpg",
    "test_flattened/fashionMENTees_Tanksid0000347017_3back.jpg",
    "MEN/Tees_Tanks/id_00003470/17_3_back.jpg",
    "img/MEN/Tees_Tanks/id_00003470/17_3_back.jpg",
    "In-shop Clothes Retrieval Benchmark/Img/img/MEN/Tees_Tanks/id_00003470/17_3_back.jpg",
    "/data/img_highres/MEN/Tees_Tanks/id_00003470/17_3_back.jpg",
    "fashion/MEN/Tees_Tanks/id_00003470/17_3_back.jpg",
    "img\\MEN\\Tees_Tanks\\id_00003470\\17_3_back.jpg",
    "img/MEN/Tees_Tanks/id_00003470/17_3_back.png",
    "fashionMENTees_Tanksid0000347017_3back.PNG",
)

OTHER_IMAGES = (
    "fashionWOMENTees_Tanksid0000347017_3back.jpg",
    "fashionMENSweatersid0000347017_3back.jpg",
    "fashionMENTees_Tanksid0000347117_3back.jpg",
    "fashionMENTees_Tanksid0000347018_3back.jpg",
    "fashionMENTees_Tanksid0000347017_4back.jpg",
    "fashionMENTees_Tanksid0000347017_3side.jpg",
)


def test_every_spelling_and_path_of_an_image_has_one_key() -> None:
    assert {image_key(name) for name in ONE_IMAGE} == {"fashionMENTeesTanksid0000347017_3back.jpg"}
    for first, second in combinations((ONE_IMAGE[0], *OTHER_IMAGES), 2):
        assert image_key(first) != image_key(second)


@pytest.mark.parametrize("image", ["0224_c6s1_055726_02", "-1_c1s1_000401_03", "0005_c8_f0046985"])
def test_every_suffix_and_path_of_a_reid_image_has_one_key(image: str) -> None:
    names = (".jpg", ".jpg.jpg", ".png", ".JPEG") if "s1" in image else (".jpg", ".png", ".JPEG")
    for suffix in names:
        for folder in ("", "bounding_box_train/", "C:\\data\\bounding_box_train\\"):
            assert image_key(folder + image + suffix) == f"{image}.jpg"
            assert person_of(folder + image + suffix) == image.partition("_")[0]
    assert image_key(image) == image, "a name without a suffix is no file"


def test_a_name_says_item_outfit_and_view() -> None:
    for spelling in ONE_IMAGE:
        parsed = parse_deepfashion(spelling)
        assert parsed is not None
        assert (parsed.gender, parsed.item, parsed.variant, parsed.number, parsed.view) == (
            "MEN", "00003470", "17", "3", "back",
        )  # fmt: skip
        assert (parsed.item_key, parsed.outfit_key) == (
            "fashionMENTeesTanksid00003470",
            "fashionMENTeesTanksid0000347017",
        )


@pytest.mark.parametrize(
    ("relative", "name"),
    [
        ("bounding_box_train/0224_c6s1_055726_02.jpg", "0224_c6s1_055726_02.jpg"),
        ("Img/img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "fashionWOMENDressesid0000000202_1front.jpg"),
        ("MEN/Tees_Tanks/id_00007301/04_1_front.jpg", "fashionMENTees_Tanksid0000730104_1front.jpg"),
        ("x/fasionMENTeesTanksid0000347017_3back.jpg", "fasionMENTeesTanksid0000347017_3back.jpg"),
        ("anna/beach.jpg", "anna/beach.jpg"),
        ("WOMEN/portrait.jpg", "WOMEN/portrait.jpg"),
    ],
)
def test_the_canonical_name_is_the_csvs(relative: str, name: str) -> None:
    assert canonical_name(relative) == name
    assert canonical_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "holiday.jpg",
        "0224_c6s1_055726_02.jpg",
        "fashionCHILDRENDressesid0000000202_1front.jpg",
        "fashionWOMENDressesid000000202_1front.jpg",
        "WOMEN/Dresses/id_0000002/02_1_front.jpg",
        "OLDWOMEN/Dresses/id_00000002/02_1_front.jpg",
        "WOMEN/Dresses/id_00000002/02_1_front.jpg.txt",
        "WOMEN/Dresses/id_00000002/._02_1_front.jpg",
    ],
)
def test_other_names_are_not_deepfashions(name: str) -> None:
    assert parse_deepfashion(name) is None
    assert image_key(name) == name


def test_the_person_is_everything_before_the_view() -> None:
    assert person_of(ONE_IMAGE[0]) == "fashionMENTees_Tanksid0000347017"
    assert person_of("0224_c6s1_055726_02.jpg") == "0224"
    assert person_of("holiday.jpg") is None


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("0224_c6s1_055726_02.jpg", "0224"),
        ("-1_c1s1_000401_03.jpg", "-1"),
        ("1488_c5s3_071737_01.jpg.jpg", "1488"),
        ("fashionWOMENTees_Tanksid0000783805_7additional.jpg", "fashionWOMENTees_Tanksid0000783805"),
        ("fasionMENTeesTanksid0000347017_3back.jpg", "fasionMENTeesTanksid0000347017"),
        ("0224_c7s1_055726_02.jpg", None),
        ("0005_c9_f0046985.jpg", None),
        ("Thumbs.db", None),
    ],
)
def test_whose_image_a_file_name_says(name: str, person: str | None) -> None:
    assert person_of(name) == person
