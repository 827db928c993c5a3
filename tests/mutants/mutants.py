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
    # Networks
    Mutant(
        "D's LeakyReLU has a slope of 0.01",
        "pg2lib/models/discriminator.py",
        "self.norms[i - 1](x), 0.2)",
        "self.norms[i - 1](x), 0.01)",
        ("tests/models/test_forward_by_hand.py::test_d",),
    ),
    Mutant(
        "D's initial weights are ten times too large",
        "pg2lib/models/discriminator.py",
        "std=0.02, a=-0.04, b=0.04",
        "std=0.2, a=-0.4, b=0.4",
        ("tests/models/test_forward_by_hand.py::test_d_is_initialised_as_dcgan",),
    ),
    Mutant(
        "the running variance of batch norm over several processes is biased",
        "pg2lib/models/blocks.py",
        "variance * values / (values - 1)",
        "variance",
        ("tests/models/test_blocks.py::test_batch_norm_of_two_processes_is_torchs_own_of_the_whole_batch",),
    ),
    Mutant(
        "the coarse result is clamped before the difference map is added",
        "pg2lib/models/generators.py",
        "(coarse + difference_map).clamp(-1, 1), matte",
        "(coarse.clamp(-1, 1) + difference_map).clamp(-1, 1), matte",
        ("tests/test_pipeline.py::test_refined_is_coarse_plus_difference_map_clamped_once",),
    ),
    # Losses and training
    Mutant(
        "the losses of matte and blend exchange their weights",
        "pg2lib/training/stages.py",
        '{"matte": stage.matte_weight, "blend": stage.blend_weight}',
        '{"matte": stage.blend_weight, "blend": stage.matte_weight}',
        ("tests/training/test_part_warp.py::test_stage_one_learns_from_the_weighted_sum_of_its_losses",),
    ),
    Mutant(
        "the EMA decay is inverted",
        "pg2lib/training/learner.py",
        "get_ema_multi_avg_fn(min(",
        "get_ema_multi_avg_fn(1 - min(",
        ("tests/training/test_learner.py::test_a_step_of_the_moving_average",),
    ),
    Mutant(
        "Adam's betas are ignored",
        "pg2lib/training/learner.py",
        ", betas=(stage.beta1, stage.beta2)",
        "",
        ("tests/training/test_learner.py::test_three_steps_of_adam",),
    ),
    Mutant(
        "the learning rate falls one step too early",
        "pg2lib/training/learner.py",
        "(stage.steps - step) /",
        "(stage.steps - step - 1) /",
        ("tests/training/test_learner.py::test_learning_rates_fall_to_zero_where_asked",),
    ),
    Mutant(
        "flips are never drawn by the training loop",
        "pg2lib/training/loop.py",
        "stage.seed, stage.flip, share)",
        "stage.seed, False, share)",
        ("tests/training/test_stages.py::test_the_batches_of_a_run_are_flipped_by_its_coins",),
    ),
    Mutant(
        "batches are not augmented by the training loop",
        "pg2lib/training/loop.py",
        "return self.augment(self.feed(number), number)",
        "return self.feed(number)",
        ("tests/training/test_part_warp.py::test_the_batches_of_a_run_are_augmented_by_their_number",),
    ),
    Mutant(
        "samples show the live weights in place of their average",
        "pg2lib/training/stages.py",
        "generate(g1.average, batch).images",
        "generate(g1, batch).images",
        ("tests/training/test_loop.py::test_samples_show_the_moving_average_on_the_same_pairs_throughout",),
    ),
    Mutant(
        "speed counts one step per reading",
        "pg2lib/training/loop.py",
        "len(rows) * self.stage.pairs_per_step",
        "self.stage.pairs_per_step",
        ("tests/training/test_loop.py::test_speed_is_pairs_per_second",),
    ),
    Mutant(
        "a loaded generator is not the moving average",
        "pg2lib/training/checkpoint.py",
        '_with_prefix(tensors, f"model.{name}_average.") or ',
        "",
        ("tests/training/test_learner.py::test_the_moving_average_follows",),
    ),
    Mutant(
        "a lock is touched less often than it expires",
        "pg2lib/training/lock.py",
        "BEAT_SECONDS = 30.0",
        "BEAT_SECONDS = 3000.0",
        ("tests/training/test_lock.py::test_a_process_that_misses_a_few_touches_is_not_taken_for_dead",),
    ),
    Mutant(
        "condition images shift half as far as documented",
        "pg2lib/training/augment.py",
        "* SHIFT * 2  #",
        "* SHIFT  #",
        (
            "tests/training/test_augment.py::test_the_condition_image_is_scaled_by_a_fifth_and_shifted_by_a_twelfth_at_most",
        ),
    ),
    Mutant(
        "a missing matte is all zeros",
        "pg2lib/training/augment.py",
        "1.0, batch.condition_matte)",
        "0.0, batch.condition_matte)",
        ("tests/training/test_augment.py::test_a_missing_matte_is_all_ones_and_the_others_stay",),
    ),
    # Poses and pictures
    Mutant(
        "keypoints are rounded for the heatmaps",
        "pg2lib/raster.py",
        "clamp(-1e6, 1e6).trunc()",
        "clamp(-1e6, 1e6).round()",
        ("tests/test_raster.py::test_a_disc_has_49_pixels",),
    ),
    Mutant(
        "the torso is stretched without a bound",
        "pg2lib/warp.py",
        "MAX_STRETCH = 2.5",
        "MAX_STRETCH = 250.0",
        ("tests/test_warp.py::test_a_torso_is_stretched_up_to_a_bound",),
    ),
    Mutant(
        "a person who covers a tenth of the picture has no matte",
        "pg2lib/matte.py",
        "MIN_SHARE = 0.01",
        "MIN_SHARE = 0.1",
        ("tests/test_matte.py::test_specks_are_no_matte_and_small_people_are",),
    ),
    Mutant(
        "a distant person claims as much of a matte as a near one",
        "pg2lib/cutout.py",
        "return distance / max(1.0, right - left, bottom - top)",
        "return distance",
        ("tests/test_cutout.py::test_somebody_far_away_claims_little",),
    ),
    Mutant(
        "a rim of the person stays in the background",
        "pg2lib/cutout.py",
        "1 - F.max_pool2d(matte[None], 9, stride=1, padding=4)",
        "1 - matte[None]",
        ("tests/test_cutout.py::test_no_rim_of_the_person_is_left_where_the_matte_is_a_little_too_small",),
    ),
    Mutant(
        "the framing is off to the wrong side",
        "pg2lib/framing.py",
        "(0.5 - self.x)",
        "(self.x - 0.5)",
        ("tests/test_framing.py::test_a_photo_is_cropped_so_that_the_person_stands_off_the_middle_as_in_the_data",),
    ),
    Mutant(
        "hips keep their width",
        "pg2lib/limbs.py",
        "middle + scale[joint] * (xy[joint] - middle)",
        "xy[joint]",
        ("tests/test_limbs.py::test_hips_widen_about_their_middle_and_take_the_legs_along",),
    ),
    Mutant(
        "somebody who leans by 60 degrees is plausible",
        "pg2lib/detect/person.py",
        ">= 0.8 * torso",
        ">= 0.5 * torso",
        ("tests/detect/test_person.py::test_the_bounds_of_what_is_plausible",),
    ),
    Mutant(
        "the odds of a back are those of a front",
        "pg2lib/detect/backs.py",
        "return float(load",
        "return -float(load",
        ("tests/detect/test_backs.py::test_the_odds_are_the_mean_of_the_crop_and_its_mirror_image",),
    ),
    Mutant(
        "a video is turned to the wrong side",
        "pg2lib/video.py",
        "picture.rotate(turn,",
        "picture.rotate(-turn,",
        ("tests/test_video.py::test_a_frame_is_turned_counterclockwise_as_the_file_says",),
    ),
    # Data and files
    Mutant(
        "written keypoints are truncated",
        "pg2lib/data/keypoint_csv.py",
        "else round(value) for value",
        "else int(value) for value",
        ("tests/data/test_keypoint_csv.py::test_coordinates_are_written_as_the_nearest_whole_pixel",),
    ),
    Mutant(
        "pairs come in one order only",
        "pg2lib/data/pairs.py",
        "both[:, 0] != both[:, 1]",
        "both[:, 0] < both[:, 1]",
        ("tests/data/test_pairs.py::test_pairs_are_all_ordered_pairs_of_one_person",),
    ),
    Mutant(
        "long limbs of the pose mask have gaps",
        "pg2lib/data/store.py",
        "lengths.nan_to_num(nan=0.0).max()",
        "lengths.nan_to_num(nan=0.0).mean()",
        ("tests/data/test_store.py::test_a_batch_is_what_it_says",),
    ),
    Mutant(
        "written files are private",
        "pg2lib/files.py",
        "temporary.chmod(0o666 & ~_UMASK)",
        "temporary.chmod(0o600)",
        ("tests/test_files.py::test_a_file_has_the_permissions_of_any_other_new_file",),
    ),
    # Scores and tables
    Mutant(
        "SSIM scales its second constant wrongly",
        "pg2lib/metrics/ssim.py",
        "n * (n - 1) * C2",
        "n * n * C2",
        ("tests/metrics/test_ssim.py::test_same_figures_as_scikit_image",),
    ),
    Mutant(
        "a higher L1 counts as better",
        "pg2lib/evaluation/report.py",
        'Metric("L1", 2, "lower")',
        'Metric("L1", 2, "higher")',
        ("tests/evaluation/test_report.py::test_the_better_score_is_that_of_the_better_picture",),
    ),
    Mutant(
        "Figure 6 shows the best pairs",
        "pg2lib/table1/make.py",
        '["refined_mask_ssim"].argsort()[:16]',
        '["refined_mask_ssim"].argsort(descending=True)[:16]',
        ("tests/table1/test_make.py::test_figures_show_the_pairs_that_they_name",),
    ),
    Mutant(
        "the interval over raters holds for 90 %",
        "pg2lib/user_study/result.py",
        "(2.5, 97.5)",
        "(5.0, 95.0)",
        ("tests/user_study/test_result.py::test_the_interval_over_raters_is_that_of_their_mean",),
    ),
    # Demo
    Mutant(
        "the page answers to any name",
        "demo/guard.py",
        "if len(hosts) != 1 or hosts[0]",
        "if len(hosts) != 1 and hosts[0]",
        ("tests/test_guard_and_uploads.py::test_the_page_answers_to_its_own_names_alone",),
    ),
    Mutant(
        "a link out of the uploads is followed",
        "demo/uploads.py",
        "if not path.is_relative_to(Path(cache).resolve()):",
        "if not path.is_absolute():",
        ("tests/test_guard_and_uploads.py::test_nothing_else_is_found",),
    ),
)
