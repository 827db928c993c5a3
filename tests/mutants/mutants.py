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
    Mutant(
        "a run whose learning rate falls may be lengthened",
        "pg2lib/training/loop.py",
        'if not settings["lr_decay_steps"]:',
        "if True:",
        (
            "tests/training/test_loop.py::test_a_stage_is_known_by_the_models_that_it_trains_and_by_its_steps_where_the_rate_falls",
        ),
    ),
    Mutant(
        "the one-stage model is known without its D",
        "pg2lib/training/loop.py",
        "if number == 1 else ()",
        "if number != 2 else ()",
        (
            "tests/training/test_loop.py::test_a_stage_is_known_by_the_models_that_it_trains_and_by_its_steps_where_the_rate_falls",
        ),
    ),
    Mutant(
        "samples of stage II show the live weights",
        "pg2lib/training/stages.py",
        "generate(generator.average, batch).images",
        "generate(generator, batch).images",
        ("tests/training/test_loop.py::test_samples_of_stage_two_show_the_moving_average_of_g2",),
    ),
    Mutant(
        "D learns first in the released turns",
        "pg2lib/training/stages.py",
        "[(2 * step, (generator,)), (2 * step + 1, (d,))]",
        "[(2 * step, (d,)), (2 * step + 1, (generator,))]",
        ("tests/training/test_stages.py::test_only_the_one_whose_turn_it_is_learns",),
    ),
    Mutant(
        "few wrong mattes are all too small",
        "pg2lib/training/augment.py",
        "config.matte_error, draws[:, 12])",
        "config.matte_error, draws[:, 11])",
        ("tests/training/test_augment.py::test_the_share_of_pairs_has_no_say_in_what_happens_to_them",),
    ),
    Mutant(
        "few backdrops are all dark",
        "pg2lib/training/augment.py",
        "config.backdrop, draws[:, 1:4])",
        "config.backdrop, draws[:, 0:3])",
        ("tests/training/test_augment.py::test_the_share_of_pairs_has_no_say_in_what_happens_to_them",),
    ),
    Mutant(
        "few recoloured pairs are all turned a little",
        "pg2lib/training/augment.py",
        "config.recolour, draws[:, 9:11])",
        "config.recolour, draws[:, 8:10])",
        ("tests/training/test_augment.py::test_the_share_of_pairs_has_no_say_in_what_happens_to_them",),
    ),
    # Poses and pictures
    Mutant(
        "keypoints are rounded for the heatmaps",
        "pg2lib/raster.py",
        "clamp(-FARTHEST_PX, FARTHEST_PX).trunc()",
        "clamp(-FARTHEST_PX, FARTHEST_PX).round()",
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
        "pg2lib/backdrop.py",
        "(_widened(person, F.max_pool2d, reach=2) < 0.05)",
        "(person < 0.05)",
        ("tests/test_cutout.py::test_no_rim_of_the_person_is_left_where_the_matte_is_a_little_too_small",),
    ),
    Mutant(
        "the framing is off to the wrong side",
        "pg2lib/framing.py",
        "middle_x + (0.5 - self.x)",
        "middle_x + (self.x - 0.5)",
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
    Mutant(
        "the framing counts from the corner of a pixel",
        "pg2lib/framing.py",
        "float((x + 0.5) / canvas[1])",
        "float(x / canvas[1])",
        ("tests/test_framing.py::test_a_photo_is_cropped_so_that_the_person_stands_off_the_middle_as_in_the_data",),
    ),
    Mutant(
        "one hip is the middle of the body",
        "pg2lib/framing.py",
        "xy[:, list(joints)].mean(dim=1)",
        "xy[:, list(joints)].nanmean(dim=1)",
        ("tests/test_framing.py::test_a_point_between_two_joints_needs_both",),
    ),
    Mutant(
        "a crop has no room above a raised hand",
        "pg2lib/framing.py",
        "top - SIDES * unit, right",
        "top, right",
        ("tests/test_framing.py::test_the_crop_has_room_for_the_hands",),
    ),
    Mutant(
        "pixels that show half of the person fill the background",
        "pg2lib/backdrop.py",
        "F.max_pool2d, reach=2) < 0.05)",
        "F.max_pool2d, reach=2) < 0.5)",
        ("tests/test_cutout.py::test_a_pixel_that_shows_a_little_of_the_person_is_filled_too",),
    ),
    Mutant(
        "what is behind a matte of ones counts as a backdrop",
        "pg2lib/models/blending.py",
        "output[:, -1:].sigmoid() * (backdrop.known > 0)",
        "output[:, -1:].sigmoid()",
        ("tests/models/test_networks.py::test_without_a_known_backdrop_g1_paints_it",),
    ),
    Mutant(
        "painted colours far out of range cover up what is copied",
        "pg2lib/models/blending.py",
        "inside = painted.clamp(-1, 1)",
        "inside = painted",
        ("tests/models/test_networks.py::test_painted_colours_cannot_cover_up_what_is_copied",),
    ),
    Mutant(
        "mist surrounds a person in a new background",
        "pg2lib/cutout.py",
        "background.lerp(person, edge * edge * (3 - 2 * edge))",
        "background.lerp(person, matte)",
        ("tests/test_cutout.py::test_where_the_matte_is_unsure_there_is_no_mist",),
    ),
    Mutant(
        "the plain backdrop shows beside a person in a new background",
        "pg2lib/cutout.py",
        "matte = _without_backdrop(image, matte, backdrop)",
        "pass",
        ("tests/test_cutout.py::test_the_plain_backdrop_does_not_show_where_the_matte_is_too_wide",),
    ),
    Mutant(
        "other people are copied into the place of a person",
        "pg2lib/cutout.py",
        "people = matte if others is None else matte.maximum(others)",
        "people = matte",
        ("tests/test_cutout.py::test_other_people_are_not_copied",),
    ),
    Mutant(
        "texture is copied from the hole itself",
        "pg2lib/inpaint.py",
        "usable = usable & ~hole",
        "pass",
        ("tests/test_inpaint.py::test_the_hole_is_never_copied",),
    ),
    Mutant(
        "photos are painted as much as images of the data set",
        "pg2lib/pipeline.py",
        "0.0 if view.crop is None else PHOTO_COPYING",
        "0.0",
        ("tests/test_pipeline.py::test_photos_are_copied_more_than_images_of_the_data_set",),
    ),
    Mutant(
        "half-length portraits get invented legs",
        "pg2lib/pipeline.py",
        "portraits=model.part_warp",
        "portraits=False",
        ("tests/test_pipeline.py::test_a_half_length_portrait_stays_one",),
    ),
    Mutant(
        "raised arms leave a half-length picture",
        "pg2lib/framing.py",
        "if not boxes:",
        "if boxes:",
        ("tests/test_framing.py::test_a_target_pose_is_placed_like_the_portrait",),
    ),
    Mutant(
        "the prior towards copying overlooks what the backdrop hides",
        "pg2lib/models/blending.py",
        "blend = output[:, RGB : RGB + config.part_warp] * (1 - share)",
        "blend = output[:, RGB : RGB + config.part_warp]",
        ("tests/models/test_networks.py::test_the_backdrop_of_the_condition_image_is_blended",),
    ),
    Mutant(
        "an arm in front of the torso has gaps along its edge",
        "pg2lib/warp.py",
        "sure[..., 1:-1] &= sure[..., :-2] & sure[..., 2:]",
        "pass",
        ("tests/test_warp.py::test_no_gaps_at_the_edge_of_an_arm_in_front_of_the_torso",),
    ),
    Mutant(
        "the stem shows as a grid",
        "pg2lib/models/generators.py",
        "if self.config.stem_px > 1:\n            result = without_grid(",
        "if self.config.stem_px > 1:\n            result = (",
        ("tests/models/test_networks.py::test_a_stem_gives_every_pixel_of_its_own",),
    ),
    Mutant(
        "the backdrop shows where parts of the person meet",
        "pg2lib/backdrop.py",
        "return torch.where(known > 0, image, continued)",
        "return image",
        ("tests/models/test_networks.py::test_the_backdrop_does_not_show_where_parts_of_the_person_meet",),
    ),
    Mutant(
        "grey levels of a matte are truncated",
        "pg2lib/matte.py",
        "(person * 255).round()",
        "(person * 255)",
        ("tests/test_matte.py::test_grey_levels_of_a_matte_are_the_nearest",),
    ),
    Mutant(
        "the crop of a video jumps with every gesture",
        "pg2lib/video.py",
        ".rolling(9,",
        ".rolling(1,",
        ("tests/test_video.py::test_one_frame_with_a_wide_gesture_neither_shrinks_the_person_nor_makes_them_jump",),
    ),
    Mutant(
        "the widest gesture of a video decides its scale",
        "pg2lib/video.py",
        "height = statistics.median(",
        "height = max(",
        ("tests/test_video.py::test_one_frame_with_a_wide_gesture_neither_shrinks_the_person_nor_makes_them_jump",),
    ),
    Mutant(
        "detected landmarks count from the corner of the picture",
        "pg2lib/detect/blazepose.py",
        "torch.tensor(picture.size) - 0.5",
        "torch.tensor(picture.size)",
        (
            "tests/detect/test_blazepose.py::test_fractions_of_the_picture_become_pixels_whose_centres_are_whole_numbers",
        ),
    ),
    Mutant(
        "people who touch are one person",
        "pg2lib/detect/person.py",
        "_core_box(b.pose)) > 0.5",
        "_core_box(b.pose)) > 0.1",
        ("tests/detect/test_person.py::test_two_detections_are_one_person_if_more_than_half_of_one_lies_in_the_other",),
    ),
    Mutant(
        "a person in a tile may be unsure",
        "pg2lib/detect/tiles.py",
        "MIN_CONFIDENCE = 0.8",
        "MIN_CONFIDENCE = 0.0",
        ("tests/detect/test_tiles.py::test_who_is_seen_unsurely_in_a_tile_does_not_count",),
    ),
    Mutant(
        "in the surroundings of a tile, the hair of a person is enough",
        "pg2lib/detect/tiles.py",
        "MIN_HEIGHT_AGAIN = 0.15, 0.3",
        "MIN_HEIGHT_AGAIN = 0.15, 0.0",
        ("tests/detect/test_tiles.py::test_of_whom_little_is_seen_in_their_surroundings_does_not_count",),
    ),
    Mutant(
        "any number of people is found in tiles",
        "pg2lib/detect/tiles.py",
        "most_prominent(people)[:MAX_PEOPLE]",
        "most_prominent(people)",
        ("tests/detect/test_tiles.py::test_at_most_four_people_are_found_in_tiles",),
    ),
    Mutant(
        "who sits with a leaning trunk lies",
        "pg2lib/detect/turns.py",
        "LYING, LEANING = 60.0, 45.0",
        "LYING, LEANING = 60.0, 20.0",
        ("tests/detect/test_turns.py::test_who_sits_with_stretched_legs_has_an_upright_trunk_up_to_45_degrees",),
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
    Mutant(
        "a keypoint at (-1, -1) is a joint",
        "pg2lib/data/pose_formats/found.py",
        "not in ((0, 0), (-1, -1))",
        "not in ((0, 0),)",
        ("tests/data/test_pose_files.py::test_keypoints_that_formats_mark_as_missing_are_missing_at_any_threshold",),
    ),
    Mutant(
        "at the threshold 0, a score of 0 is enough",
        "pg2lib/data/pose_formats/found.py",
        "max(min_score, 1e-6)",
        "min_score",
        ("tests/data/test_pose_files.py::test_keypoints_that_formats_mark_as_missing_are_missing_at_any_threshold",),
    ),
    Mutant(
        "a neck is as sure as the surer shoulder",
        "pg2lib/data/pose_formats/found.py",
        "scores.append(min((min(",
        "scores.append(max((min(",
        ("tests/data/test_pose_files.py::test_a_neck_is_no_surer_than_the_less_sure_shoulder",),
    ),
    Mutant(
        "two drawn skeletons are one",
        "pg2lib/data/pose_formats/skeleton.py",
        "len(found) > 1 for found",
        "len(found) > 2 for found",
        ("tests/data/test_pose_files.py::test_skeletons_that_cannot_be_read_ask_for_json",),
    ),
    Mutant(
        "a store that moves forgets which images it leaves out",
        "pg2lib/data/store.py",
        "device, stored.mattes, self._stored_rows)",
        "device, stored.mattes)",
        ("tests/data/test_store.py::test_a_store_that_leaves_images_out_keeps_its_rows_when_it_moves",),
    ),
    Mutant(
        "a photo that was turned by 270 degrees has no recipe",
        "pg2lib/recipe.py",
        'if values["turn"] in (90, 270) else size',
        'if values["turn"] == 90 else size',
        ("tests/test_recipe.py::test_a_recipe_survives_json_to_the_last_bit",),
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
    Mutant(
        "intervals ignore the seed",
        "pg2lib/evaluation/scores.py",
        "bootstrap_intervals(self.values, seed=seed)",
        "bootstrap_intervals(self.values)",
        ("tests/evaluation/test_compare.py::test_the_intervals_of_a_report_are_drawn_with_its_seed",),
    ),
    Mutant(
        "of an odd rest, one more column is cut off at the left",
        "pg2lib/evaluation/scoring.py",
        "left = (width - columns) // 2",
        "left = (width - columns + 1) // 2",
        ("tests/evaluation/test_score.py::test_the_middle_of_a_batch_has_its_poses_in_its_own_pixels",),
    ),
    Mutant(
        "poses are detected in the same pairs for every seed",
        "pg2lib/evaluation/scoring.py",
        "len(pairs)), options.seed)",
        "len(pairs)), 0)",
        ("tests/evaluation/test_score.py::test_poses_are_detected_in_pairs_that_the_seed_draws",),
    ),
    Mutant(
        "a row that was scored with another seed is not scored again",
        "pg2lib/table1/make.py",
        "list(options.judged), options.seed]",
        "list(options.judged)]",
        ("tests/table1/test_make.py::test_other_scoring_is_done_again_on_the_same_weights",),
    ),
    Mutant(
        "a row that was scored at another width is not scored again",
        "pg2lib/table1/make.py",
        "if options.width is not None:",
        "if False:",
        ("tests/table1/test_make.py::test_other_scoring_is_done_again_on_the_same_weights",),
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
