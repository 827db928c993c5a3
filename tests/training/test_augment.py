from __future__ import annotations

import colorsys
import dataclasses
import math

import pytest
import torch

from pg2lib.config import AugmentConfig, PG2Config
from pg2lib.data.store import PairBatch
from pg2lib.errors import ConfigError
from pg2lib.pose import flip_permutation, flip_xy
from pg2lib.training.augment import MATTE_ERROR_PX, Augmenter, colour_turn

PAIRS, HEIGHT, WIDTH = 6, 64, 32


@pytest.fixture
def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(PAIRS, *shape, generator=generator)

    matte = torch.zeros(2, PAIRS, 1, HEIGHT, WIDTH)
    matte[..., 16:48, 10:22] = 1
    xy = draw(18, 2) * torch.tensor([WIDTH / 2, HEIGHT / 2]) + torch.tensor([WIDTH / 4, HEIGHT / 4])
    xy[:, 3] = math.nan
    return PairBatch(
        condition_image=draw(3, HEIGHT, WIDTH) - 0.5,
        target_image=draw(3, HEIGHT, WIDTH) - 0.5,
        target_heatmaps=draw(18, HEIGHT, WIDTH),
        target_mask=draw(1, HEIGHT, WIDTH),
        condition_xy=xy,
        target_xy=draw(18, 2) * 30,
        from_rows=torch.arange(PAIRS),
        to_rows=torch.arange(PAIRS),
        condition_matte=matte[0],
        target_matte=matte[1],
    )


def changed(before: PairBatch, after: PairBatch) -> set[str]:
    names = [field.name for field in dataclasses.fields(before)]
    return {
        name
        for name in names
        if not torch.equal(getattr(before, name).nan_to_num(nan=-1), getattr(after, name).nan_to_num(nan=-1))
    }


@pytest.mark.parametrize(
    ("field", "touched"),
    [
        ("recolour", {"condition_image", "target_image"}),
        ("backdrop", {"condition_image", "target_image"}),
        ("shift", {"condition_image", "condition_xy", "condition_matte"}),
        ("matte_missing", {"condition_matte"}),
        ("matte_error", {"condition_matte"}),
    ],
)
def test_each_kind_touches_its_own_parts_and_its_share_of_pairs(batch: PairBatch, field: str, touched: set) -> None:
    everyone = Augmenter(AugmentConfig(**{field: 1.0}), PAIRS, seed=0)(batch, 0)
    assert changed(batch, everyone) == touched
    assert changed(batch, Augmenter(AugmentConfig(), PAIRS, seed=0)(batch, 0)) == set()
    half = Augmenter(AugmentConfig(**{field: 0.5}), PAIRS, seed=0)
    counts = []
    for number in range(30):
        after = half(batch, number)
        image = "condition_image" if "condition_image" in touched else "condition_matte"
        same = (getattr(after, image) == getattr(batch, image)).flatten(1).all(dim=1)
        counts.append(int((~same).sum()))
    assert 0.4 < sum(counts) / (30 * PAIRS) < 0.6


def test_it_is_a_function_of_seed_and_step_and_shared_by_processes(batch: PairBatch) -> None:
    config = PG2Config.preset("deepfashion-compact").augment
    whole = Augmenter(config, PAIRS, seed=3)(batch, 7)
    again = Augmenter(config, PAIRS, seed=3)(batch, 7)
    assert changed(whole, again) == set()
    assert changed(whole, Augmenter(config, PAIRS, seed=3)(batch, 8)) != set()
    assert changed(whole, Augmenter(config, PAIRS, seed=4)(batch, 7)) != set()
    for process in range(2):
        share = slice(process, None, 2)
        part = PairBatch(**{f.name: getattr(batch, f.name)[share] for f in dataclasses.fields(batch)})
        alone = Augmenter(config, PAIRS, 3, share)(part, 7)
        assert torch.equal(alone.condition_image, whole.condition_image[share])
        assert torch.equal(alone.condition_matte, whole.condition_matte[share])


def flipped(batch: PairBatch) -> PairBatch:
    """The batch, flipped left to right as `ImageStore` does it."""
    images = {
        name: getattr(batch, name).flip(-1)
        for name in ("condition_image", "target_image", "target_mask", "condition_matte", "target_matte")
    }
    heatmaps = batch.target_heatmaps.flip(-1)[:, flip_permutation()]
    xy = {name: flip_xy(getattr(batch, name), WIDTH) for name in ("condition_xy", "target_xy")}
    return dataclasses.replace(batch, **images, **xy, target_heatmaps=heatmaps)


@pytest.mark.parametrize("field", ["recolour", "backdrop", "shift", "matte_missing", "matte_error"])
def test_it_commutes_with_flips(batch: PairBatch, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    augment = Augmenter(AugmentConfig(**{field: 0.7}), PAIRS, seed=0)
    expected = flipped(augment(batch, 4))
    draws = augment._draw(4)
    draws[:, 6] = 1 - draws[:, 6]  # a shift to the other side
    monkeypatch.setattr(augment, "_draw", lambda number: draws)
    after = augment(flipped(batch), 4)
    for name in changed(batch, augment(batch, 4)):
        torch.testing.assert_close(getattr(after, name), getattr(expected, name), equal_nan=True, rtol=0, atol=1e-4)


def test_one_turn_of_the_colours_for_both_images(batch: PairBatch) -> None:
    """The same colour in both images stays the same colour."""
    patch = torch.tensor([0.4, -0.2, 0.1])[:, None, None]
    same = dataclasses.replace(
        batch, condition_image=patch.expand(PAIRS, 3, HEIGHT, WIDTH), target_image=patch.expand(PAIRS, 3, HEIGHT, WIDTH)
    )
    after = Augmenter(AugmentConfig(recolour=1.0), PAIRS, seed=0)(same, 0)
    assert torch.equal(after.condition_image, after.target_image)
    assert len({round(float(image[0, 0, 0]), 3) for image in after.condition_image}) == PAIRS


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5])
def test_colours_turn_about_grey(angle: float) -> None:
    """Grey stays, brightness stays, a third of a turn exchanges the primaries, saturation scales the distance."""
    turn = colour_turn(torch.tensor([angle]), torch.tensor([0.5]))[0]
    grey = torch.full((3,), 0.3)
    assert torch.allclose(turn @ grey, grey, atol=1e-6)
    colour = torch.tensor([0.9, 0.1, -0.4])
    turned = turn @ colour
    assert float(turned.mean()) == pytest.approx(float(colour.mean()), abs=1e-6)
    assert float((turned - turned.mean()).norm()) == pytest.approx(
        0.5 * float((colour - colour.mean()).norm()), rel=1e-5
    )
    third = colour_turn(torch.tensor([2 * math.pi / 3]), torch.ones(1))[0]
    assert torch.allclose(third @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)
    assert colorsys.rgb_to_hsv(*(third @ torch.tensor([1.0, 0, 0])).clamp(0, 1).tolist())[0] == pytest.approx(1 / 3)


def test_the_backdrop_changes_outside_the_matte_alone_and_alike_in_both_images(batch: PairBatch) -> None:
    after = Augmenter(AugmentConfig(backdrop=1.0), PAIRS, seed=0)(batch, 0)
    person = batch.condition_matte.bool().expand(-1, 3, -1, -1)
    assert torch.equal(after.condition_image[person], batch.condition_image[person])
    outside = after.condition_image[:, :, 0, 0]
    assert torch.equal(outside, after.target_image[:, :, 63, 31])
    assert len(outside.unique(dim=0)) == PAIRS


def test_image_matte_and_keypoints_shift_together(batch: PairBatch) -> None:
    """A bright spot under a joint stays under it."""
    spots = torch.full((PAIRS, 3, HEIGHT, WIDTH), -1.0)
    place = torch.tensor([13, 30])
    spots[:, :, place[1] - 1 : place[1] + 2, place[0] - 1 : place[0] + 2] = 1
    xy = batch.condition_xy.clone()
    xy[:, 0] = place
    moved = Augmenter(AugmentConfig(shift=1.0), PAIRS, seed=0)(
        dataclasses.replace(batch, condition_image=spots, condition_xy=xy), 0
    )
    bright = (moved.condition_image[:, 0] + 1) / 2
    columns, rows = torch.arange(WIDTH), torch.arange(HEIGHT)
    mass = bright.sum(dim=(1, 2))
    centre = torch.stack(((bright.sum(1) * columns).sum(1) / mass, (bright.sum(2) * rows).sum(1) / mass), dim=-1)
    assert (centre - moved.condition_xy[:, 0]).abs().max() < 0.15
    assert (moved.condition_xy[:, 0] - place).norm(dim=-1).min() > 0.05
    assert moved.condition_xy[:, 3].isnan().all()


def test_a_joint_that_leaves_the_canvas_is_missing(batch: PairBatch) -> None:
    xy = batch.condition_xy.clone()
    xy[:, 0] = torch.tensor([0.0, 0.0])
    augment = Augmenter(AugmentConfig(shift=1.0), PAIRS, seed=0)
    corner = torch.cat([augment(dataclasses.replace(batch, condition_xy=xy), n).condition_xy[:, 0] for n in range(20)])
    assert 0.2 < corner.isnan().any(dim=1).float().mean() < 0.95
    inside = corner[~corner.isnan().any(dim=1)]
    assert inside.min() > -0.5


def test_wrong_mattes_are_a_few_pixels_too_large_or_too_small(batch: PairBatch) -> None:
    augment = Augmenter(AugmentConfig(matte_error=1.0), PAIRS, seed=0)
    mattes = torch.cat([augment(batch, number).condition_matte for number in range(3)])
    sizes = {(int(matte[0].amax(0).sum()), int(matte[0].amax(1).sum())) for matte in mattes}
    grown, shrunk = ((12 + s * 2 * MATTE_ERROR_PX, 32 + s * 2 * MATTE_ERROR_PX) for s in (1, -1))
    assert sizes == {grown, shrunk}


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"augment\.recolour must lie in \[0, 1\], got 1\.5"):
        AugmentConfig(recolour=1.5)
    with pytest.raises(ConfigError, match=r"augment\.backdrop.*need model\.matte"):
        PG2Config().override({"augment.backdrop": 0.5})


def shifts(batch: PairBatch, count: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale (draws,), shift (draws, 2) in pixels, and mattes, of condition images whose matte is all ones."""
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    xy = batch.condition_xy.clone()
    xy[:, 0], xy[:, 1] = middle, middle + torch.tensor([8.0, 0.0])
    ones = torch.ones_like(batch.condition_matte)
    augment = Augmenter(AugmentConfig(shift=1.0), PAIRS, seed=0)
    moved = [augment(dataclasses.replace(batch, condition_xy=xy, condition_matte=ones), n) for n in range(count)]
    places = torch.cat([batch.condition_xy for batch in moved])
    scale = (places[:, 1, 0] - places[:, 0, 0]) / 8
    return scale, places[:, 0] - middle, torch.cat([batch.condition_matte for batch in moved])


def test_the_condition_image_is_scaled_by_a_fifth_and_shifted_by_a_twelfth_at_most(batch: PairBatch) -> None:
    """As `AugmentConfig` says: by 0.8 to 1.2, and by up to 8 % of height and width."""
    scale, shift, _ = shifts(batch)
    assert 0.8 <= scale.min() < 0.82 and 1.18 < scale.max() <= 1.2
    for share in (shift[:, 0] / WIDTH, shift[:, 1] / HEIGHT):
        assert -0.08 <= share.min() < -0.076 and 0.076 < share.max() <= 0.08


def test_nobody_is_beyond_the_edge_of_a_shifted_image(batch: PairBatch) -> None:
    """A matte of ones covers what of the image is still on the canvas, and nothing of the border's continuation."""
    scale, shift, mattes = shifts(batch, count=5)
    for one, (x, y), matte in zip(scale, shift.tolist(), mattes, strict=True):
        sides = []
        for side, moved in ((WIDTH, x), (HEIGHT, y)):
            start, end = side / 2 - float(one) * side / 2 + moved, side / 2 + float(one) * side / 2 + moved
            sides.append(min(end, side) - max(start, 0))
        assert float(matte.sum()) == pytest.approx(sides[0] * sides[1], rel=0.02)


def test_a_missing_matte_is_all_ones_and_the_others_stay(batch: PairBatch) -> None:
    after = Augmenter(AugmentConfig(matte_missing=0.5), PAIRS, seed=0)(batch, 0).condition_matte
    missing = (after == 1).flatten(1).all(dim=1)
    assert 0 < missing.sum() < PAIRS
    assert torch.equal(after[~missing], batch.condition_matte[~missing])


@pytest.mark.parametrize("field", ["recolour", "backdrop", "shift", "matte_error"])
def test_the_share_of_pairs_has_no_say_in_what_happens_to_them(batch: PairBatch, field: str) -> None:
    """Of the few pairs that are chosen, some are at each end of the range, as if all were."""
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    red = torch.tensor([0.3, -0.1, -0.1])[:, None, None].expand(PAIRS, 3, HEIGHT, WIDTH)
    xy = batch.condition_xy.clone()
    xy[:, 0], xy[:, 1] = middle, middle + torch.tensor([8.0, 0.0])
    batch = dataclasses.replace(batch, condition_image=red, condition_xy=xy)
    augment = Augmenter(AugmentConfig(**{field: 0.2}), PAIRS, seed=0)
    outcomes = []
    for after in (augment(batch, number) for number in range(60)):
        pixel = after.condition_image[:, :, 0, 0]
        outcomes.append(
            {
                "recolour": torch.atan2(pixel[:, 1] - pixel[:, 2], pixel[:, 0] - pixel.mean(dim=1)),
                "backdrop": pixel.mean(dim=1),
                "shift": (after.condition_xy[:, 1] - after.condition_xy[:, 0])[:, 0],
                "matte_error": after.condition_matte.mean(dim=(1, 2, 3)),
            }[field]
        )
    values = torch.cat(outcomes)
    unchanged = values.median()  # four in five
    changed = values[(values - unchanged).abs() > 1e-5]
    assert 40 < len(changed) < 110
    assert 0.3 < (changed < unchanged).float().mean() < 0.7


def test_saturation_is_multiplied_by_a_half_to_three_halves(batch: PairBatch) -> None:
    colour = torch.tensor([0.2, -0.1, 0.05])  # so little of it that no channel is clamped
    same = dataclasses.replace(batch, condition_image=colour[:, None, None].expand(PAIRS, 3, HEIGHT, WIDTH))
    augment = Augmenter(AugmentConfig(recolour=1.0), PAIRS, seed=0)
    after = torch.cat([augment(same, number).condition_image[:, :, 0, 0] for number in range(40)])
    factor = (after - after.mean(dim=1, keepdim=True)).norm(dim=1) / (colour - colour.mean()).norm()
    assert 0.499 < factor.min() < 0.52 and 1.48 < factor.max() < 1.501


def test_backdrops_go_from_black_to_white_with_a_slight_tint(batch: PairBatch) -> None:
    augment = Augmenter(AugmentConfig(backdrop=1.0), PAIRS, seed=0)
    colours = torch.cat([augment(batch, number).target_image[:, :, 0, 0] for number in range(40)])
    assert colours.min() < -0.95 and colours.max() > 0.95
    assert float(colours.mean()) == pytest.approx(0, abs=0.1)
    assert 0 < (colours.amax(dim=1) - colours.amin(dim=1)).max() <= 0.3
