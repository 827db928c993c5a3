"""The mutants: faults to put into the code, and the tests that should notice each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        name: what is wrong with the mutant.
        file: path from the root of the repository.
        sound: the text to replace, which occurs exactly once in the file.
        broken: what stands there instead.
        tests: arguments of pytest that select the tests which should notice.
    """

    name: str
    file: str
    sound: str
    broken: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """The file's text with the fault in it.

        Raises:
            ValueError: the text to replace does not occur exactly once.
        """
        if (count := text.count(self.sound)) != 1:
            raise ValueError(f"{self.name}: {self.sound!r} occurs {count} times in {self.file}; it must occur once")
        return text.replace(self.sound, self.broken)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        'the EMA decay is inverted',
        'pg2lib/training/learner.py',
        'get_ema_multi_avg_fn(min(',
        'get_ema_multi_avg_fn(1 - min(',
        ('tests/training/test_learner.py::test_a_step_of_the_moving_average',),
    ),
    Mutant(
        "Adam's betas are ignored",
        'pg2lib/training/learner.py',
        ', betas=(stage.beta1, stage.beta2)',
        '',
        ('tests/training/test_learner.py::test_three_steps_of_adam',),
    ),
    Mutant(
        'flips are never drawn',
        'pg2lib/training/loop.py',
        'stage.seed, stage.flip, share)',
        'stage.seed, False, share)',
        ('tests/training/test_stages.py::test_the_batches_of_a_run_are_flipped_by_its_coins',),
    ),
    Mutant(
        "D's LeakyReLU has another slope",
        'pg2lib/models/discriminator.py',
        'self.norms[i - 1](x), 0.2)',
        'self.norms[i - 1](x), 0.01)',
        ('tests/models/test_forward_by_hand.py::test_d',),
    ),
    Mutant(
        "D's initial weights are ten times too large",
        'pg2lib/models/discriminator.py',
        'std=0.02, a=-0.04, b=0.04',
        'std=0.2, a=-0.4, b=0.4',
        ('tests/models/test_forward_by_hand.py::test_d_is_initialised_as_dcgan',),
    ),
    Mutant(
        'the framing is off to the wrong side',
        'pg2lib/framing.py',
        '(0.5 - self.x)',
        '(self.x - 0.5)',
        ('tests/test_framing.py::test_a_photo_is_cropped_so_that_the_person_stands_off_the_middle_as_in_the_data',),
    ),
    Mutant(
        'the coarse result is clamped before the difference map is added',
        'pg2lib/models/generators.py',
        '(coarse + difference_map).clamp(-1, 1), matte',
        '(coarse.clamp(-1, 1) + difference_map).clamp(-1, 1), matte',
        ('tests/test_pipeline.py::test_refined_is_coarse_plus_difference_map_clamped_once',),
    ),
    Mutant(
        'the running variance of batch norm is biased',
        'pg2lib/models/blocks.py',
        'variance * values / (values - 1)',
        'variance',
        ('tests/models',),
    ),
    Mutant(
        'the generators see the warped image where nothing covers it',
        'pg2lib/models/generators.py',
        '[warped * coverage, coverage]',
        '[warped, coverage]',
        ('tests/models/test_networks.py', 'tests/training/test_part_warp.py',),
    ),
    Mutant(
        'the losses of matte and blend exchange their weights',
        'pg2lib/training/stages.py',
        '{"matte": stage.matte_weight, "blend": stage.blend_weight}',
        '{"matte": stage.blend_weight, "blend": stage.matte_weight}',
        ('tests/training/test_part_warp.py',),
    ),
    Mutant(
        "D's step reaches the generator",
        'pg2lib/training/stages.py',
        'refined.detach(), kind)',
        'refined, kind)',
        ('tests/training/test_stages.py::test_only_the_one_whose_turn_it_is_learns',),
    ),
    Mutant(
        'the learning rate falls a step too early',
        'pg2lib/training/learner.py',
        '(stage.steps - step) /',
        '(stage.steps - step - 1) /',
        ('tests/training/test_learner.py::test_learning_rates_fall_to_zero_where_asked',),
    ),
    Mutant(
        'samples are of the live weights',
        'pg2lib/training/stages.py',
        'generate(g1.average, batch).images',
        'generate(g1, batch).images',
        ('tests/training/test_loop.py', 'tests/training/test_run.py',),
    ),
    Mutant(
        'batches are not augmented',
        'pg2lib/training/loop.py',
        'return self.augment(self.feed(number), number)',
        'return self.feed(number)',
        ('tests/training/test_part_warp.py', 'tests/training/test_augment.py',),
    ),
    Mutant(
        'every sample shows other pairs',
        'pg2lib/training/loop.py',
        'manual_seed(self.stage.seed))[:count]',
        'manual_seed(done))[:count]',
        ('tests/training/test_loop.py', 'tests/training/test_run.py',),
    ),
    Mutant(
        'the speed counts steps, not images',
        'pg2lib/training/loop.py',
        'len(rows) * self.stage.pairs_per_step',
        'len(rows)',
        ('tests/training/test_loop.py', 'tests/training/test_run.py',),
    ),
    Mutant(
        'condition images shift half as far as configured',
        'pg2lib/training/augment.py',
        '* SHIFT * 2  #',
        '* SHIFT  #',
        ('tests/training/test_augment.py',),
    ),
    Mutant(
        'the saturation grows further than documented',
        'pg2lib/training/augment.py',
        'SATURATION = (0.5, 1.5)',
        'SATURATION = (0.5, 2.5)',
        ('tests/training/test_augment.py',),
    ),
    Mutant(
        'backdrops are bright only',
        'pg2lib/training/augment.py',
        'draws[:, :1] * 2 - 1 +',
        'draws[:, :1] +',
        ('tests/training/test_augment.py',),
    ),
    Mutant(
        'a missing matte is all zeros',
        'pg2lib/training/augment.py',
        '1.0, batch.condition_matte)',
        '0.0, batch.condition_matte)',
        ('tests/training/test_augment.py',),
    ),
    Mutant(
        'a shifted matte is continued beyond the image',
        'pg2lib/training/augment.py',
        'F.grid_sample(matte, grid, align',
        'F.grid_sample(matte, grid, padding_mode="border", align',
        ('tests/training/test_augment.py',),
    ),
    Mutant(
        'keypoints are rounded for the heatmaps',
        'pg2lib/raster.py',
        'clamp(-1e6, 1e6).trunc()',
        'clamp(-1e6, 1e6).round()',
        ('tests/test_raster.py::test_a_disc_has_49_pixels',),
    ),
    Mutant(
        'affine parts stretch without a bound',
        'pg2lib/warp.py',
        'MAX_STRETCH = 2.5',
        'MAX_STRETCH = 250.0',
        ('tests/test_warp.py',),
    ),
    Mutant(
        'similar parts scale without a bound',
        'pg2lib/warp.py',
        'SCALE_BOUNDS = (0.6, 1.6)',
        'SCALE_BOUNDS = (0.006, 160.0)',
        ('tests/test_warp.py',),
    ),
    Mutant(
        'a matte of a tenth of the picture is discarded',
        'pg2lib/matte.py',
        'MIN_SHARE = 0.01',
        'MIN_SHARE = 0.1',
        ('tests/test_matte.py',),
    ),
    Mutant(
        'pictures are padded with black for the matte',
        'pg2lib/matte.py',
        'mode="edge"',
        'mode="constant"',
        ('tests/test_matte.py',),
    ),
    Mutant(
        'a distant person claims as much of the matte as a near one',
        'pg2lib/cutout.py',
        'return distance / max(1.0, right - left, bottom - top)',
        'return distance',
        ('tests/test_cutout.py',),
    ),
    Mutant(
        'a rim of the person stays in the background',
        'pg2lib/cutout.py',
        '1 - F.max_pool2d(matte[None], 9, stride=1, padding=4)',
        '1 - matte[None]',
        ('tests/test_cutout.py',),
    ),
    Mutant(
        'a landmark at the threshold is missing',
        'pg2lib/pose.py',
        'visibility >= threshold, canvas, BLAZEPOSE',
        'visibility > threshold, canvas, BLAZEPOSE',
        ('tests/test_pose.py',),
    ),
    Mutant(
        'a misplaced keypoint stretches a limb without a bound',
        'pg2lib/retarget.py',
        'RATIOS = (0.6, 1.6)',
        'RATIOS = (0.6, 16.0)',
        ('tests/test_retarget.py',),
    ),
    Mutant(
        'the face does not grow with the head',
        'pg2lib/retarget.py',
        'scale.update(dict.fromkeys((14, 15, 16, 17), scale[0]))',
        'scale.update(dict.fromkeys((14, 15, 16, 17), 1.0))',
        ('tests/test_retarget.py',),
    ),
    Mutant(
        'written keypoints are truncated',
        'pg2lib/data/keypoint_csv.py',
        'else round(value) for value',
        'else int(value) for value',
        ('tests/data/test_keypoint_csv.py', 'tests/data/test_prepare.py',),
    ),
    Mutant(
        'keypoints of narrow images are taken for wide ones',
        'pg2lib/data/deepfashion.py',
        '(CANVAS[1] + _NARROW) / 4',
        '(CANVAS[1] - _NARROW) / 4',
        ('tests/data/test_deepfashion.py',),
    ),
    Mutant(
        'pairs come in one order only',
        'pg2lib/data/pairs.py',
        'both[:, 0] != both[:, 1]',
        'both[:, 0] < both[:, 1]',
        ('tests/data/test_pairs.py::test_pairs_are_all_ordered_pairs_of_one_person',),
    ),
    Mutant(
        'long limbs of the mask have gaps',
        'pg2lib/data/store.py',
        'lengths.nan_to_num(nan=0.0).max()',
        'lengths.nan_to_num(nan=0.0).mean()',
        ('tests/data/test_store.py::test_a_batch_is_what_it_says',),
    ),
    Mutant(
        'a higher L1 counts as better',
        'pg2lib/evaluation/report.py',
        'Metric("L1", 2, "lower")',
        'Metric("L1", 2, "higher")',
        ('tests/evaluation',),
    ),
    Mutant(
        'the constant of SSIM is scaled wrongly',
        'pg2lib/metrics/ssim.py',
        'n * (n - 1) * C2',
        'n * n * C2',
        ('tests/metrics/test_ssim.py',),
    ),
    Mutant(
        'reports with other LPIPS networks are compared',
        'pg2lib/evaluation/compare.py',
        'first.lpips != second.lpips',
        'first.lpips == second.lpips',
        ('tests/evaluation/test_compare.py',),
    ),
    Mutant(
        'a limb of twice a torso is plausible',
        'pg2lib/detect/person.py',
        'longest <= 1.4 * torso',
        'longest <= 2.2 * torso',
        ('tests/detect/test_person.py',),
    ),
    Mutant(
        'somebody who leans by 60 degrees is plausible',
        'pg2lib/detect/person.py',
        '>= 0.8 * torso',
        '>= 0.5 * torso',
        ('tests/detect/test_person.py',),
    ),
    Mutant(
        'somebody who fills a third of the crop is plausible',
        'pg2lib/detect/person.py',
        '>= 0.5 * canvas[0]',
        '>= 0.33 * canvas[0]',
        ('tests/detect/test_person.py',),
    ),
    Mutant(
        'the odds of a back are those of a front',
        'pg2lib/detect/backs.py',
        'return float(load',
        'return -float(load',
        ('tests/detect',),
    ),
    Mutant(
        'a published figure is mistyped',
        'pg2lib/table1/table.py',
        '(0.340, 3.326,',
        '(0.304, 3.326,',
        ('tests/table1/test_table.py',),
    ),
    Mutant(
        'Figure 6 shows the best pairs',
        'pg2lib/table1/make.py',
        '["refined_mask_ssim"].argsort()[:16]',
        '["refined_mask_ssim"].argsort(descending=True)[:16]',
        ('tests/table1/test_make.py',),
    ),
    Mutant(
        'extremes are exchanged',
        'pg2lib/table1/make.py',
        '(score - others).argsort',
        '(others - score).argsort',
        ('tests/table1/test_make.py',),
    ),
    Mutant(
        'the percentiles of the exposure are quartiles',
        'pg2lib/user_study/result.py',
        '(5, 50, 95)',
        '(25, 50, 75)',
        ('tests/user_study/test_result.py',),
    ),
    Mutant(
        'the bootstrap over raters has a 90 % interval',
        'pg2lib/user_study/result.py',
        '(2.5, 97.5)',
        '(5.0, 95.0)',
        ('tests/user_study/test_result.py',),
    ),
    Mutant(
        'written files are private',
        'pg2lib/files.py',
        'temporary.chmod(0o666 & ~_UMASK)',
        'temporary.chmod(0o600)',
        ('tests/test_files.py', 'tests/test_pipeline_folder.py',),
    ),
    Mutant(
        'the lock is touched too rarely',
        'pg2lib/training/lock.py',
        'BEAT_SECONDS = 30.0',
        'BEAT_SECONDS = 3000.0',
        ('tests/training/test_lock.py',),
    ),
    Mutant(
        "a checkpoint's live weights go before its average",
        'pg2lib/training/checkpoint.py',
        '_with_prefix(tensors, f"model.{name}_average.") or _with_prefix(tensors, f"model.{name}.")',
        '_with_prefix(tensors, f"model.{name}.")',
        ('tests/training/test_learner.py::test_the_moving_average_follows',),
    ),
    Mutant(
        'a GIF runs ten times too fast',
        'pg2lib/video.py',
        'round(1000 / fps)',
        'round(100 / fps)',
        ('tests/test_video.py',),
    ),
    Mutant(
        'a turned video lies on its other side',
        'pg2lib/video.py',
        'picture.rotate(turn,',
        'picture.rotate(-turn,',
        ('tests/test_video.py',),
    ),
    Mutant(
        'a gap of seven frames is filled',
        'pg2lib/video.py',
        '> MAX_GAP), column',
        '> MAX_GAP + 1), column',
        ('tests/test_video.py',),
    ),
    Mutant(
        "the person's matte covers what lies beyond the photo",
        'pg2lib/condition.py',
        'for person in people[1:]]) * inside',
        'for person in people[1:]])',
        ('tests/test_pipeline.py',),
    ),
    Mutant(
        'a request from a foreign site is taken',
        'demo/guard.py',
        'if any(origin.lower() not in',
        'if all(origin.lower() not in',
        ('tests/test_demo_security.py',),
    ),
    Mutant(
        'a link out of the upload folder is followed',
        'demo/uploads.py',
        'if not path.is_relative_to(Path(cache).resolve()):',
        'if path.is_relative_to("/proc"):',
        ('tests/test_demo_security.py',),
    ),
    Mutant(
        'sides of the body have no room',
        'pg2lib/framing.py',
        'SHOES_BELOW, SIDES = 0.35, 0.2, 0.1',
        'SHOES_BELOW, SIDES = 0.35, 0.2, 0.0',
        ('tests/test_framing.py',),
    ),
    Mutant(
        'the time of a batch is that of each picture',
        'pg2lib/output.py',
        'seconds=self.seconds / len(self)',
        'seconds=self.seconds',
        ('tests/test_pipeline.py',),
    ),
)
