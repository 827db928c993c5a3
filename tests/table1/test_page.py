"""RESULTS.md: what it shows of a run, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from pg2lib import ConfigError, DataError, PG2Config
from pg2lib.cli import main
from pg2lib.config import TABLE1_ROWS
from pg2lib.table1 import read_table1
from pg2lib.table1.page import make_page, write_results
from tests.conftest import make_market1501
from tests.table1.conftest import EPYC, H200, Write, report, write_log, write_starts


@pytest.fixture
def run(write: Write) -> Path:
    """Two rows that are trained and scored, and a third in training."""
    made = report("").provenance
    folder = write(report("G1-L1", provenance={**made, "command": "second"}), report("G1+D", 0.5))
    for row, stage, machine in (("G1-L1", "stage1", H200), ("G1+D", "one-stage", H200), ("G1+G2+D", "stage2", EPYC)):
        config = PG2Config.preset("fast").override({"stage1.steps": 3}).row(row)
        (folder / row / "config.json").parent.mkdir(exist_ok=True)
        (folder / row / "config.json").write_text(config.to_json())
        write_log(folder / row / stage, 30.0, 60.0, 90.0)
        write_starts(folder / row / stage, {"after": 0, **machine, "command": "first"})
    (folder / "figure4.jpg").write_bytes(b"Figure 4")
    return folder


def test_the_page_holds_the_table_and_names_the_rows_that_it_lacks(run: Path) -> None:
    text = make_page([run])
    assert read_table1(run, ["G1-L1", "G1+D"]).to_markdown() in text
    assert "Not scored yet: G1-CE-L1, G1-HME-L1, G1-poseMaskLoss, G1+G2+D." in text


def test_training_has_time_hardware_and_commit(run: Path) -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in make_page([run]).splitlines()]
    assert ["G1-L1/stage1", "3", "3", "1.5", "1.5", "cuda", "1", "NVIDIA H200", "2.9", "abc"] in lines
    assert ["G1+G2+D/stage2", "3", "30", "1.5", "1.5", "cpu", "1", "AMD EPYC, 2 threads", "2.9", "abc"] in lines
    assert "Total: 1.5 CPU-minutes, 3.0 GPU-minutes." in make_page([run])


def test_commands_come_once_in_the_order_in_which_they_were_given(run: Path) -> None:
    assert "```sh\nfirst\nsecond\n```" in make_page([run])


def test_settings_are_told_from_the_nearest_preset(run: Path) -> None:
    paper = PG2Config.preset("market1501").row("G1+D")
    (run / "G1+D" / "config.json").write_text(paper.to_json())
    text = make_page([run])
    assert "- G1-L1, G1+G2+D: preset `fast` with `stage1.steps = 3`." in text
    assert "- G1+D: preset `market1501`, unchanged." in text


def test_a_run_without_any_score_still_has_its_training(run: Path) -> None:
    for path in run.glob("*/report.json"):
        path.unlink()
    text = make_page([run])
    assert f"Not scored yet: {', '.join(TABLE1_ROWS)}." in text
    assert "G1-L1/stage1" in text


def test_a_run_without_logs_still_has_its_scores(run: Path) -> None:
    for path in run.glob("*/*/log.jsonl"):
        path.unlink()
    text = make_page([run], run / "pictures")
    assert read_table1(run, ["G1-L1", "G1+D"]).to_markdown() in text
    assert "Total: no logs." in text


def test_further_lists_of_pairs_have_tables_of_their_own(run: Path, write: Write) -> None:
    write(report("G1+D", 0.625, data="the 12,000 pairs"), also="also/list")
    text = make_page([run])
    assert f"### the 12,000 pairs\n\n{read_table1(run, ['G1+D'], 'list').to_markdown()}" in text


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_figure_4_is_shown_of_synthetic_people_alone(run: Path, write: Write, tmp_path: Path) -> None:
    write_results([run], tmp_path / "real" / "page.md")
    assert not [name for name in files(tmp_path / "real") if "figure4" in name]
    assert f"{run}/figure4.jpg" in (tmp_path / "real" / "page.md").read_text()
    made = {**report("").provenance, "synthetic": True}
    write(report("G1-L1", provenance=made), report("G1+D", provenance=made))
    write_results([run], tmp_path / "drawn" / "page.md")
    assert files(tmp_path / "drawn")["page/1-figure4.jpg"] == b"Figure 4"
    assert "](page/1-figure4.jpg)" in (tmp_path / "drawn" / "page.md").read_text()


def test_the_same_runs_give_the_same_files_and_links_to_every_picture(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "elsewhere" / "other run")
    for name in ("first", "second", "first"):  # a page of ours is replaced
        write_results([run, other], tmp_path / name / "RESULTS.md")
    first = files(tmp_path / "first")
    assert first == files(tmp_path / "second")
    page = first.pop("RESULTS.md").decode()
    assert sorted(re.findall(r"!\[.*\]\((.*)\)", page)) == sorted(first)
    kinds = ("one-stage", "stage1", "stage2")
    assert sorted(first) == [f"results/{number}-{kind}.png" for number in (1, 2) for kind in kinds]
    assert f"## {run.name}\n" in page and "## other run\n" in page


def test_what_is_not_a_page_is_not_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Results\n")
    with pytest.raises(DataError, match=r"notes\.md exists"):
        write_results([run], tmp_path / "notes.md")
    with pytest.raises(ConfigError, match=r"\.md"):
        write_results([run], tmp_path / "results")
    assert (tmp_path / "notes.md").read_text() == "# Results\n"


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(tmp_path), "--out", str(tmp_path / "RESULTS.md")]) == 1
    assert f"{tmp_path} is not a folder of Table 1" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()


@pytest.mark.parametrize("file", ["config.json", "stage1/log.jsonl"])
def test_damaged_files_are_named(file: str, run: Path) -> None:
    path = run / "G1-L1" / file
    path.write_text('{"step": 1}\n')
    with pytest.raises((DataError, ConfigError), match=re.escape(str(path))):
        make_page([run])


def test_the_page_of_a_run_shows_its_command_and_every_start(tmp_path: Path) -> None:
    """From the command table1, given three times and the second time with more steps, to the page."""
    root, out = make_market1501(tmp_path / "people"), tmp_path / "out"
    shutil.copytree(root / "bounding_box_train", root / "bounding_box_test")
    shutil.copy(root / "market-annotation-train.csv", root / "market-annotation-test.csv")
    small = {"model.base_width": 4, "model.bottleneck": 8, "evaluation.pairs": 5, "stage1.batch_size": 4}
    command = ["table1", "--data", str(root), "--profile", "fast", "--rows", "G1-L1", "--cpu", "--out", str(out)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more threads than cores, they wait for each other
    try:
        for steps in (3, 5, 5):
            settings = [f"{key}={value}" for key, value in {**small, "stage1.steps": steps}.items()]
            assert main([*command, *(part for setting in settings for part in ("--set", setting))]) == 0
    finally:
        torch.set_num_threads(threads)
    starts = [json.loads(line) for line in (out / "G1-L1" / "stage1" / "starts.jsonl").read_text().splitlines()]
    assert [(start["after"], start["device"]) for start in starts] == [(0, "cpu"), (3, "cpu")]
    assert main(["results", str(out), "--out", str(tmp_path / "RESULTS.md")]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert f"python -m pg2lib {' '.join(command)} --set model.base_width=4" in text
    assert text.count("python -m pg2lib table1 --data") == 2
    assert re.findall(r"\| G1-L1/stage1 +\| (\d) +\| (\d) ", text) == [("3", "5"), ("2", "5")]
    assert "Market-1501 train, pair rule torso, 12 images, 36 pairs" in text
    assert "Market-1501 test, pairs all, 5 drawn with seed 0" in text
