from __future__ import annotations

import dataclasses

import pytest
import torch

from pg2lib import PG2Config, build_models, pose_presets, render_heatmaps
from pg2lib.backdrop import backdrop_of
from pg2lib.config import AugmentConfig, ModelConfig
from pg2lib.models import Discriminator
from pg2lib.models.blending import OVERSHOOT, without_grid
from pg2lib.models.blocks import DoubleConv
from pg2lib.models.generators import coordinates, g1_input

SMALL = {
    size: ModelConfig(*size, base_width=4, bottleneck=8, discriminator_width=4) for size in ((128, 64), (256, 256))
}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("preset", "g1", "g2", "d"),
    [
        ("market1501", 70_795_075, 6_058_883, 4_324_737),
        ("deepfashion", 122_103_235, 12_696_067, 10_896_257),
    ],
)
def test_parameter_counts_of_the_released_models(preset: str, g1: int, g2: int, d: int) -> None:
    """At h = 128; D's count is that of the released D, which sees single images. Times three, at 256x256: 437.09 M."""
    config = dataclasses.replace(PG2Config.preset(preset).model, discriminator_input="single")
    with torch.device("meta"):
        assert [parameters(model) for model in build_models(config)] == [g1, g2, d]
    if preset == "deepfashion":
        assert round(3 * (g1 + g2 + d) / 1e6, 2) == 437.09


def test_the_papers_discriminator_sees_three_channels_more() -> None:
    with torch.device("meta"):
        d = build_models(PG2Config.preset("market1501"))[2]
    assert parameters(d) == 4_324_737 + 3 * 64 * 5 * 5


@pytest.mark.parametrize("preset", ["market1501", "deepfashion"])
def test_decoder_widths_of_the_released_g1(preset: str) -> None:
    with torch.device("meta"):
        g1 = build_models(PG2Config.preset(preset))[0]
    widths = [block.conv1.in_channels for block in g1.decoder]
    assert widths == ([768, 1024, 768, 512, 256] if preset == "market1501" else [896, 1280, 1024, 768, 512, 256])


@pytest.mark.parametrize("size", SMALL)
def test_shapes(size: tuple[int, int]) -> None:
    g1, g2, d = build_models(SMALL[size])
    image, heatmaps = torch.zeros(2, 3, *size), torch.zeros(2, 18, *size)
    coarse = g1(image, heatmaps)
    assert coarse.shape == g2(image, coarse).shape == (2, 3, *size)
    assert d(torch.cat((image, coarse), dim=1)).shape == (2,)


def test_every_parameter_learns() -> None:
    """No layer is left out of the way from input to loss."""
    g1, g2, d = build_models(SMALL[128, 64])
    image, heatmaps = torch.randn(2, 3, 128, 64), torch.rand(2, 18, 128, 64)
    coarse = g1(image, heatmaps)
    d(torch.cat((image, coarse + g2(image, coarse)), dim=1)).sum().backward()
    for model in (g1, g2, d):
        silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # A convolution's bias ahead of batch norm is taken out again.
        assert [name for name in silent if not (model is d and name.endswith("bias"))] == []


def test_no_output_activation_and_no_normalisation_in_the_generators() -> None:
    for model in build_models(SMALL[128, 64])[:2]:
        forbidden = torch.nn.modules.batchnorm._NormBase, torch.nn.modules.dropout._DropoutNd, torch.nn.Tanh
        assert not any(isinstance(module, forbidden) for module in model.modules())
        torch.nn.init.constant_(model.last.bias, 7.0)
        torch.nn.init.zeros_(model.last.weight)
        out = model(torch.zeros(1, 3, 128, 64), torch.zeros(1, 18 if hasattr(model, "squeeze") else 3, 128, 64))
        assert torch.equal(out, torch.full_like(out, 7.0))


def test_a_residual_block_adds_its_input_after_the_second_relu() -> None:
    block = DoubleConv(3, 3, residual=True)
    torch.nn.init.constant_(block.conv2.bias, -1e6)  # the second ReLU gives 0
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(block(x), x)
    with pytest.raises(ValueError, match="channels_in = channels_out"):
        DoubleConv(3, 4, residual=True)


def test_the_outermost_skip_of_g2_is_a_choice() -> None:
    without = build_models(SMALL[128, 64])[1]
    with_skip = build_models(dataclasses.replace(SMALL[128, 64], g2_outer_skip=True))[1]
    assert [b.conv1.in_channels for b in without.decoder] == [24, 12, 4]
    assert [b.conv1.in_channels for b in with_skip.decoder] == [24, 12, 8]


def test_heatmaps_of_minus_one_and_one_are_a_choice() -> None:
    """The released code shows G1 -1/+1 heatmaps; callers give 0/1 either way."""
    config = dataclasses.replace(SMALL[128, 64], discriminator_input="single")
    released = build_models(dataclasses.replace(config, heatmap_background=-1))[0]
    paper = build_models(config)[0]
    paper.load_state_dict(released.state_dict())
    image, heatmaps = torch.randn(1, 3, 128, 64), (torch.rand(1, 18, 128, 64) > 0.9).float()
    assert torch.allclose(released(image, heatmaps), paper(image, heatmaps * 2 - 1), atol=1e-5)
    assert not torch.allclose(released(image, heatmaps), paper(image, heatmaps), atol=1e-3)


def test_g1_moves_far_apart_parts_through_the_bottleneck() -> None:
    """With the fully connected layer one pixel at the top reaches the bottom row; without it G2 cannot."""
    torch.manual_seed(0)
    g1, g2, _ = build_models(SMALL[128, 64])
    image, heatmaps = torch.zeros(1, 3, 128, 64), torch.zeros(1, 18, 128, 64)
    changed = image.clone()
    changed[..., 0, 0] = 50.0
    assert (g1(changed, heatmaps) - g1(image, heatmaps))[..., -1, -1].abs().sum() > 0
    assert (g2(changed, image) - g2(image, image))[..., -1, -1].abs().sum() == 0


def test_coordinates_are_where_the_discs_are() -> None:
    xy = torch.full((1, 18, 2), torch.nan)
    xy[0, 0], xy[0, 5] = torch.tensor([20.0, 40.0]), torch.tensor([44.0, 100.0])
    places = coordinates(render_heatmaps(xy, (128, 64)))
    assert torch.allclose(places[0, 0], torch.tensor([20 / 64, 40 / 128]))
    assert torch.allclose(places[0, 5], torch.tensor([44 / 64, 100 / 128]))
    assert (places[0, [joint for joint in range(18) if joint not in (0, 5)]] == -1).all()


@pytest.mark.parametrize("size", SMALL, ids=str)
@pytest.mark.parametrize("embedding", ["coordinates", "heatmap-encoder"])
def test_other_pose_embeddings_join_at_the_bottleneck(size: tuple[int, int], embedding: str) -> None:
    """The pose reaches every pixel through it, and no pixel in any other way."""
    torch.manual_seed(0)
    g1 = build_models(dataclasses.replace(SMALL[size], pose_embedding=embedding))[0]
    assert g1.first.in_channels == 3
    image = torch.rand(1, 3, *size)
    here, there = (render_heatmaps(torch.full((1, 18, 2), place), size) for place in (16.0, 24.0))
    with torch.no_grad():
        first, second = g1(image, here), g1(image, there)
        assert first.shape == (1, 3, *size)
        assert (first != second).float().mean() > 0.5
        g1.expand.weight[:, g1.squeeze.out_features :] = 0
        assert torch.equal(g1(image, here), g1(image, there))


@pytest.mark.parametrize("size", SMALL, ids=str)
def test_the_papers_symmetric_decoder_is_a_choice(size: tuple[int, int]) -> None:
    """Widths of the encoder mirrored, 3x3 convolutions throughout; the released decoder has neither."""
    g1 = build_models(dataclasses.replace(SMALL[size], g1_decoder="symmetric"))[0]
    assert [block.conv1.in_channels for block in g1.decoder] == [b.conv1.in_channels for b in g1.encoder][::-1]
    assert {conv.kernel_size for conv in g1.modules() if isinstance(conv, torch.nn.Conv2d)} == {(3, 3)}
    released = build_models(SMALL[size])[0]
    assert {conv.kernel_size for conv in released.up} == {(1, 1)}
    assert g1(torch.zeros(1, 3, *size), torch.zeros(1, 18, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("size", SMALL, ids=str)
def test_every_block_of_g2_halves_the_resolution_where_the_paper_is_followed(size: tuple[int, int]) -> None:
    lowest = {}
    for last_down in (False, True):
        g2 = build_models(dataclasses.replace(SMALL[size], g2_last_down=last_down))[1]
        seen: list[int] = []
        for down in g2.down:
            down.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output.shape[2]))
        image = torch.rand(1, 3, *size)
        assert g2(image, image).shape == image.shape
        lowest[last_down] = (len(seen), seen[-1])
    blocks = SMALL[size].blocks - 2
    assert lowest[False] == (blocks - 1, size[0] >> (blocks - 1))
    assert lowest[True] == (blocks, size[0] >> blocks)


@pytest.mark.parametrize("size", SMALL, ids=str)
def test_residual_blocks_in_g2_are_a_choice(size: tuple[int, int]) -> None:
    """With them a block whose convolutions are silent hands on its input; without, nothing."""
    image = torch.rand(1, 3, *size)
    for residual in (False, True):
        config = dataclasses.replace(SMALL[size], g2_residual=residual, g2_outer_skip=True)
        g2 = build_models(config)[1]
        assert g2(image, image).shape == image.shape
        for block in (*g2.encoder, *g2.decoder):
            torch.nn.init.zeros_(block.conv2.weight)
        changed = g2(image, image) - g2(1 - image, image)
        assert bool(changed.abs().sum() > 0) == residual


def test_g2_may_see_the_target_pose() -> None:
    image, heatmaps = torch.rand(1, 3, 128, 64), torch.zeros(1, 18, 128, 64)
    moved = heatmaps.clone()
    moved[:, 4, 60:68, 30:38] = 1
    for sees in (False, True):
        g2 = build_models(dataclasses.replace(SMALL[128, 64], g2_pose=sees))[1]
        assert torch.equal(g2(image, image, heatmaps), g2(image, image, moved)) != sees
    with pytest.raises(ValueError, match="g2_pose"):
        g2(image, image)


def test_spectral_norm_takes_the_place_of_batch_norm() -> None:
    d = Discriminator(ModelConfig(height=32, width=32, discriminator_width=4, discriminator_norm="spectral"))
    x = torch.randn(3, 6, 32, 32)
    for _ in range(50):
        d(x)  # each pass in training refines the estimate by one power iteration
    for layer in (*d.convs, d.last):
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)
    d.eval()
    assert torch.allclose(d(x)[:1], d(x[:1]), atol=1e-6)  # no image's logit depends on the others
    d.last.bias.data += 1
    copied = Discriminator(
        ModelConfig(height=32, width=32, discriminator_width=4, discriminator_norm="spectral")
    ).eval()
    copied.load_state_dict(d.state_dict())
    assert torch.equal(copied(x), d(x))


def test_what_the_paper_says_of_the_networks_trains() -> None:
    config = PG2Config(
        dataclasses.replace(
            SMALL[128, 64], g1_decoder="symmetric", g2_last_down=True, g2_residual=True, g2_outer_skip=True
        )
    )
    torch.manual_seed(0)
    g1, g2, _ = build_models(config)
    image, heatmaps = torch.randn(2, 3, 128, 64), torch.rand(2, 18, 128, 64)
    coarse = g1(image, heatmaps)
    (coarse + g2(image, coarse)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for model in (g1, g2) for p in model.parameters())


WARPING = dataclasses.replace(SMALL[128, 64], part_warp=True, matte=True, stem_px=2, g2_pose=True)
BACKDROP = dataclasses.replace(WARPING, backdrop=True)


def seen(size: tuple[int, int] = (128, 64)) -> list[torch.Tensor]:
    """Condition image, heatmaps, warped image, coverage and matte."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, channels, *size, generator=generator) for channels in (3, 18, 3, 1, 1)]


def test_what_is_beyond_the_paper_is_off_in_the_papers_presets() -> None:
    for name in ("market1501", "deepfashion", "market1501-released", "deepfashion-released", "compact", "fast"):
        config = PG2Config.preset(name)
        assert not (config.model.part_warp or config.model.matte or config.model.backdrop), name
        assert config.model.stem_px == 1, name
        assert config.augment == AugmentConfig(), name


@pytest.mark.parametrize("config", [SMALL[128, 64], WARPING, BACKDROP], ids=["paper", "part warp", "backdrop"])
def test_a_batch_is_its_images_in_any_order(config: ModelConfig) -> None:
    torch.manual_seed(0)
    g1, g2, _ = build_models(config)
    order = [1, 0]
    inputs = [*seen()[:4], with_person(), *seen()[:1]]

    def generate(rows: list[int]) -> torch.Tensor:
        image, heatmaps, warped, coverage, matte, coarse = (tensor[rows] for tensor in inputs)
        beyond = (warped, coverage, matte) if config.part_warp else ()
        return torch.cat((g1(image, heatmaps, *beyond), g2(image, coarse, heatmaps, *beyond[:2])), dim=1)

    with torch.no_grad():
        alone = torch.cat([generate([row]) for row in range(2)])
        torch.testing.assert_close(generate(order), alone[order], rtol=0, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_channels_of_the_part_warp_behind_a_stem() -> None:
    """26 channels in and 5 out, four times as many behind a stem of 2, and N one less."""
    g1, g2, _ = build_models(WARPING)
    assert (g1.first.in_channels, g1.last.out_channels) == (4 * 26, 4 * 5)
    assert len(g1.encoder) == 4 and len(g2.encoder) == 3
    assert g2.first.in_channels == 3 + 3 + 18 + 3 + 1


def test_a_stem_is_a_convolution_over_blocks_of_pixels() -> None:
    g1 = build_models(dataclasses.replace(SMALL[128, 64], stem_px=2))[0]
    x = torch.rand(2, 21, 128, 64)
    blocks = torch.nn.functional.pixel_unshuffle(x, 2)
    expected = torch.nn.functional.conv2d(blocks, g1.first.weight, g1.first.bias, padding=1)
    assert torch.allclose(g1.first(x), expected, atol=1e-5)


def test_a_stem_gives_every_pixel_of_its_own() -> None:
    """The last convolution's channels become blocks of pixels again, which are smoothed."""
    g1 = build_models(dataclasses.replace(SMALL[128, 64], stem_px=2))[0]
    image = torch.rand(1, 3, 128, 64)
    g1.last.register_forward_hook(lambda *_: torch.nn.functional.pixel_unshuffle(image, 2))
    smooth = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = torch.nn.functional.conv2d(image, smooth.expand(3, 1, 3, 3), groups=3)
    result = g1(image, torch.zeros(1, 18, 128, 64))
    torch.testing.assert_close(result[:, :, 1:-1, 1:-1], expected)


def test_a_grid_of_the_stem_is_smoothed_away() -> None:
    """A pattern that repeats from cell to cell becomes its mean; a plain image stays."""
    grid = torch.tensor([[0.9, -0.3], [0.1, 0.5]]).repeat(1, 1, 8, 8)
    torch.testing.assert_close(without_grid(grid)[:, :, 1:-1, 1:-1], torch.full((1, 1, 14, 14), 0.3))
    torch.testing.assert_close(without_grid(torch.full((1, 2, 6, 4), 0.7)), torch.full((1, 2, 6, 4), 0.7))


def test_the_backdrop_does_not_show_where_parts_of_the_person_meet() -> None:
    """Pixels at the edge of the matte are warped in the person's colours."""
    image, matte = torch.full((1, 3, 128, 64), 0.8), torch.zeros(1, 1, 128, 64)
    matte[:, :, 20:120, 15:50] = 0.5
    matte[:, :, 22:118, 17:48] = 1.0
    image = torch.where(matte == 1, -0.5, torch.where(matte > 0, 0.15, image))
    xy = pose_presets()["standing, front"].xy[None]
    given = g1_input(WARPING, image, torch.zeros(1, 18, 128, 64), xy, xy, matte)
    edge = given.coverage == 0.5
    assert edge.sum() > 50
    torch.testing.assert_close(given.warped[:, :1][edge], torch.full((int(edge.sum()),), -0.5))


def test_the_warped_image_is_blended_where_it_covers() -> None:
    g1 = build_models(WARPING)[0]
    image, heatmaps, warped, coverage, matte = seen()
    coverage[:, :, :64] = 0
    with torch.no_grad():
        colour = g1.split(g1(image, heatmaps, warped, torch.zeros_like(coverage), matte)).coarse
        g1.last.weight[12:16], g1.last.bias[12:16] = 0, 100.0  # the blend's logits: copy
        coarse, blend, _ = g1.split(g1(image, heatmaps, warped, coverage, matte))
        assert torch.allclose(blend, coverage)
        g1.last.bias[12:16] = -100.0  # copy nothing
        painted = g1.split(g1(image, heatmaps, warped, coverage, matte)).coarse
    assert torch.allclose(coarse, coverage * warped + (1 - coverage) * painted, atol=1e-5)
    assert not torch.allclose(painted[:, :, 64:], colour[:, :, 64:], atol=1e-4)  # G1 sees the warped image, too


def test_more_is_copied_on_request() -> None:
    """The logit of the blend rises by `copying`; elsewhere nothing changes."""
    g1 = build_models(WARPING)[0]
    image, heatmaps, warped, coverage, matte = seen()
    coverage[:, :, :64] = 0
    with torch.no_grad():
        usual = g1.split(g1(image, heatmaps, warped, coverage, matte))
        more = g1.split(g1(image, heatmaps, warped, coverage, matte, torch.full_like(coverage, 2.0)))
    expected = ((usual.blend / coverage).logit() + 2).sigmoid() * coverage
    torch.testing.assert_close(more.blend[:, :, 64:], expected[:, :, 64:], atol=1e-4, rtol=1e-4)
    assert torch.equal(more.coarse[:, :, :64], usual.coarse[:, :, :64])
    closer = (more.coarse - warped).abs()[:, :, 64:] <= (usual.coarse - warped).abs()[:, :, 64:] + 1e-6
    assert closer.all() and not torch.equal(more.coarse, usual.coarse)


def test_painted_colours_cannot_cover_up_what_is_copied() -> None:
    """Colours far beyond the range of images leave 19 of 20 parts of the warped image, and can still be learned."""
    g1 = build_models(WARPING)[0]
    image, heatmaps, warped, coverage, matte = seen()
    with torch.no_grad():
        g1.last.weight[:16], g1.last.bias[:12] = 0, 3.0  # the colours
        g1.last.bias[12:16] = torch.tensor(19.0).log()  # the blend's logits
    coarse = g1.split(g1(image, heatmaps, warped, torch.ones_like(coverage), matte)).coarse
    assert torch.allclose(coarse, 0.95 * warped + 0.05 * (1 + 2 * OVERSHOOT), atol=1e-5)
    coarse.sum().backward()
    assert (g1.last.bias.grad[:12] > 0).all()


def with_person() -> torch.Tensor:
    """Mattes of a person in the middle of the image."""
    matte = torch.zeros(2, 1, 128, 64)
    matte[:, :, 40:90, 24:40] = 1
    return matte


def test_the_backdrop_of_the_condition_image_is_blended() -> None:
    """With the last channel far above zero the result is the backdrop, and nothing of the warped image is left."""
    g1 = build_models(BACKDROP)[0]
    image, heatmaps, warped, coverage, _ = seen()
    with torch.no_grad():
        g1.last.weight[20:], g1.last.bias[20:] = 0, 100.0  # the logits of the backdrop's share
        coarse, blend, matte_logits = g1.split(g1(image, heatmaps, warped, coverage, with_person()))
        torch.testing.assert_close(coarse, backdrop_of(image, with_person()).image)
        assert (blend == 0).all() and matte_logits.shape == (2, 1, 128, 64)
        g1.last.bias[20:] = -100.0
        g1.last.weight[12:16], g1.last.bias[12:16] = 0, 100.0  # copy the warped image
        copied = g1(image, heatmaps, warped, torch.ones_like(coverage), with_person())
        torch.testing.assert_close(g1.split(copied).coarse, warped)


def test_without_a_known_backdrop_g1_paints_it() -> None:
    """A matte of ones hides the backdrop: its share counts for nothing."""
    g1 = build_models(BACKDROP)[0]
    image, heatmaps, warped, coverage, _ = seen()
    everything = torch.ones(2, 1, 128, 64)
    with torch.no_grad():
        expected = g1(image, heatmaps, warped, coverage, everything)
        g1.last.bias[20:] += 5
        assert torch.equal(g1(image, heatmaps, warped, coverage, everything), expected)
        g1.last.bias[20:] -= 5
        some = g1(image, heatmaps, warped, coverage, with_person())
        g1.last.bias[20:] += 5
        assert not torch.allclose(g1(image, heatmaps, warped, coverage, with_person()), some, atol=1e-3)


def test_what_the_configuration_asks_for_must_come() -> None:
    g1, g2, _ = build_models(WARPING)
    image, heatmaps, warped, coverage, matte = seen()
    with pytest.raises(ValueError, match="warped image and coverage"):
        g1(image, heatmaps, matte=matte)
    with pytest.raises(ValueError, match="matte"):
        g1(image, heatmaps, warped, coverage)
    with pytest.raises(ValueError, match="warped image and coverage"):
        g2(image, image, heatmaps)
    with pytest.raises(ValueError, match="condition_xy and target_xy"):
        g1_input(WARPING, image, heatmaps)


def test_a_matte_that_is_missing_is_all_ones() -> None:
    image, heatmaps, *_ = seen()
    xy = torch.full((2, 18, 2), torch.nan)
    made = g1_input(WARPING, image, heatmaps, xy, xy)
    assert made.matte.shape == (2, 1, 128, 64) and (made.matte == 1).all() and (made.coverage == 0).all()
    assert g1_input(SMALL[128, 64], image, heatmaps, matte=image[:, :1]).matte is None


def test_every_parameter_learns_with_part_warp_matte_and_stem() -> None:
    torch.manual_seed(0)
    g1, g2, _ = build_models(WARPING)
    image, heatmaps, warped, coverage, matte = seen()
    coarse, _, matte_logits = g1.split(g1(image, heatmaps, warped, coverage, matte))
    (coarse + g2(image, coarse, heatmaps, warped, coverage)).square().mean().backward(retain_graph=True)
    matte_logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for model in (g1, g2) for p in model.parameters())
