"""RESULTS.md: its figures are those of the reports, its times those of the logs, and what is missing is said to be."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pg2lib import ConfigError, DataError, PG2Config
from pg2lib.cli import main, make_parser
from pg2lib.config import TABLE1_ROWS
from pg2lib.data.read import title_of
from pg2lib.results import SYNTHETIC_TITLE, make_page, read_runs, write_results
from pg2lib.table1 import PUBLISHED
from pg2lib.training.run import _logged_seconds
from tests.conftest import make_market1501

SMALL = {
    "model.base_width": 4, "model.bottleneck": 8, "model.discriminator_width": 4, "evaluation.pairs": 12,
    "stage1.batch_size": 4, "stage2.batch_size": 4, "stage1.steps": 3, "stage2.steps": 2,
}  # fmt: skip
SETTINGS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]

TITLES = {
    "SSIM": ("ssim", 4), "mask-SSIM": ("mask_ssim", 4), "L1": ("l1", 2), "masked L1": ("masked_l1", 2),
    "PSNR": ("psnr", 2), "sharpness": ("sharpness", 3),
}  # fmt: skip
"""Columns of the page: the metric in a report, and its decimals."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In Market-1501's layout, the same people in both splits."""
    root = make_market1501(tmp_path_factory.mktemp("people"))
    shutil.copytree(root / "bounding_box_train", root / "bounding_box_test")
    shutil.copy(root / "market-annotation-train.csv", root / "market-annotation-test.csv")
    return root


def table1(data: Path, out: Path, *more: str) -> None:
    """Gives the command."""
    command = ["table1", "--data", str(data), "--profile", "fast", *SETTINGS, "--cpu", "--out", str(out), *more]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other more than they do
    try:
        assert main(command) == 0
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all six rows; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "market all"
    table1(data, folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed, with what the page is made of."""
    return shutil.copytree(
        finished, tmp_path / "market all", ignore=shutil.ignore_patterns("cache", "*.safetensors", "samples")
    )


def page(*folders: Path) -> str:
    return make_page(read_runs(folders), {})


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table as rows of cells, the head first."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def columns_of(text: str, first: str, other: str) -> dict[str, dict[str, list[str]]]:
    """The table whose head begins with `first` and has `other`: by row, then by title, the cells under it."""
    [table] = [table for table in tables(text) if table[0][0] == first and other in table[0]]
    rows: dict[str, dict[str, list[str]]] = {}
    for cells in table[1:]:
        row = rows.setdefault(cells[0], {})
        for title, cell in zip(table[0], cells, strict=True):
            row.setdefault(title, []).append(cell)
    return rows


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """A JSON file, edited in place."""
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def change_reports(run: Path, edit: Callable[[dict[str, Any]], None], row: str = "*") -> None:
    for path in run.glob(f"{row}/report.json"):
        change(path, edit)


def write_log(folder: Path, seconds: list[float], stage: int = 1) -> None:
    """A log of as many steps as there are times."""
    lines = [{"stage": stage, "step": step, "l1": 0.5, "seconds": time} for step, time in enumerate(seconds, 1)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_starts(folder: Path, *starts: dict[str, Any]) -> None:
    common = {"processes": 1, "torch": "2.9", "commit": "abc", "command": None}
    (folder / "starts.jsonl").write_text("".join(json.dumps({**common, **start}) + "\n" for start in starts))


H200 = {"device": "cuda", "hardware": "NVIDIA H200"}
EPYC = {"device": "cpu", "hardware": "AMD EPYC, 2 threads"}


def training_lines(text: str, row: str) -> list[list[str]]:
    [table] = [table for table in tables(text) if "device time" in table[0]]
    return [line[1:] for line in table[1:] if line[0] == row]


def test_the_figures_are_those_of_the_reports(finished: Path) -> None:
    text = page(finished)
    shown = [columns_of(text, "model", title) for title in ("mask-SSIM", "PSNR")]
    for row in TABLE1_ROWS:
        figures = json.loads((finished / row / "report.json").read_text())["figures"]["refined"]
        cells = {**shown[0][row], **shown[1][row]}
        for title, (metric, decimals) in TITLES.items():
            figure = figures[metric]
            numbers = [f"{number:.{decimals}f}" for number in (figure["mean"], figure["std"], *figure["interval"])]
            assert cells[title] == ["{} ± {} [{}, {}]".format(*numbers)]
        assert cells["IS"] == cells["mask-IS"] == ["no Inception network"]
        assert cells["PCKh@0.5"] == ["not measured"]


def test_published_figures_stand_beside_their_rows(finished: Path) -> None:
    rows = columns_of(page(finished), "model", "mask-SSIM")
    for row, (ssim, inception, mask_ssim, mask_inception) in PUBLISHED["market1501"].items():
        expected = (ssim, mask_ssim, inception, mask_inception)  # the order of the page
        assert rows[row]["published"] == [f"{figure:.3f}" for figure in expected]
    assert rows["G1-CE-L1"]["published"] == ["–"] * 4


def test_deepfashion_has_its_own_published_figures_and_drawn_people_none(run: Path) -> None:
    change_reports(run, lambda report: report.update(data="DeepFashion In-shop test, pairs all"))
    assert columns_of(page(run), "model", "mask-SSIM")["G1+D"]["published"] == ["0.761", "–", "3.091", "–"]
    change_reports(run, lambda report: report.update(data=f"{SYNTHETIC_TITLE}market1501 layout) test, pairs all"))
    assert "published" not in columns_of(page(run), "model", "mask-SSIM")["G1+D"]
    assert "no figures for these data" in page(run)


def test_drawn_people_are_called_what_the_page_looks_for(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "people")
    assert not title_of(root).startswith(SYNTHETIC_TITLE)
    (root / "synthetic.json").write_text("{}")
    assert title_of(root).startswith(SYNTHETIC_TITLE)


def test_missing_rows_are_said_to_be_missing(run: Path) -> None:
    shutil.rmtree(run / "G1-HME-L1")
    (run / "G1-L1" / "report.json").unlink()
    (run / "G1+G2+D" / "report.json").unlink()
    shutil.rmtree(run / "G1+G2+D" / "pipeline")
    write_log(run / "G1+G2+D" / "stage2", [1.0], stage=2)
    text = page(run)
    rows = columns_of(text, "model", "mask-SSIM")
    assert set(rows) == set(TABLE1_ROWS)
    missing = [row for row in TABLE1_ROWS if rows[row]["SSIM"] == ["missing"]]
    assert missing == ["G1-HME-L1", "G1-L1", "G1+G2+D"]
    states = "G1-HME-L1 (not trained), G1-L1 (trained, not scored), G1+G2+D (in training: stage II, 1 of 2 steps)"
    assert f"Missing: {states}." in text
    assert rows["G1+G2+D"]["published"][0] == "0.253"
    assert "Not measured: G1-poseMaskLoss IS" in text
    assert "cannot be judged in 3" in text
    assert training_lines(text, "G1-HME-L1") == [["not trained", *[""] * 7]]


def test_a_run_without_any_score_has_no_figures(run: Path) -> None:
    for report in run.glob("*/report.json"):
        report.unlink()
    text = page(run)
    assert "No row has been scored yet." in text
    assert "What they say" not in text
    assert "1 to 3 of 3" in text


def test_minutes_are_seconds_over_sixty_times_the_processes_of_each_machine(run: Path) -> None:
    stage = run / "G1-L1" / "stage1"
    write_log(stage, [20.0, 40.0, 60.0, 10.0, 30.0, 6.0, 12.0])
    write_starts(
        stage, {"after": 0, **H200}, {"after": 3, **H200, "processes": 2}, {"after": 3, **H200, "processes": 4},
        {"after": 5, **EPYC},
    )  # fmt: skip
    lines = training_lines(page(run), "G1-L1")
    assert [line[1:6] for line in lines] == [
        ["1 to 3 of 3", "0", "60.0", "1.0 GPU-minutes", "NVIDIA H200"],
        ["4 to 5 of 3", "0", "30.0", "2.0 GPU-minutes", "4 x NVIDIA H200"],
        ["6 to 7 of 3", "0", "12.0", "0.2 CPU-minutes", "AMD EPYC, 2 threads"],
    ]


def test_the_pieces_of_a_stage_add_up(run: Path) -> None:
    """Stopped twice, once on steps that the log does not show; "seconds" begins anew each time."""
    stage = run / "G1-L1" / "stage1"
    write_log(stage, [20.0, 50.0, 10.0, 30.0, 90.0, 40.0])
    write_starts(stage, {"after": 0, **H200}, {"after": 2, **H200}, {"after": 5, **H200})
    [line] = training_lines(page(run), "G1-L1")
    assert line[3:5] == ["180.0", "3.0 GPU-minutes"]
    assert _logged_seconds(stage / "log.jsonl") == 180.0


def test_a_stage_that_rows_share_counts_once(run: Path) -> None:
    for path in run.glob("*/*/log.jsonl"):
        write_log(path.parent, [60.0])
        write_starts(path.parent, {"after": 0, **H200})
    text = page(run)
    stages = [line[:2] for line in training_lines(text, "G1+G2+D")]
    assert stages == [["stage I", "as G1-poseMaskLoss"], ["stage II", "1 to 1 of 2"]]
    assert "In all 6.0 GPU-minutes:" in text  # five first stages or one-stage trainings, and one second stage
    assert "CPU-minutes" not in text


def test_older_runs_show_the_machine_of_their_last_start(run: Path) -> None:
    for path in run.glob("*/*/starts.jsonl"):
        path.unlink()
    change(run / "G1-L1/pipeline/config.json", lambda values: values["training"].update(hardware="NVIDIA A100"))
    change(run / "G1+D/pipeline/config.json", lambda values: values["training"].update(hardware="AMD EPYC, 8 threads"))
    text = page(run)
    [gpu], [cpu] = training_lines(text, "G1-L1"), training_lines(text, "G1+D")
    assert gpu[5] == "NVIDIA A100 ¹"
    assert gpu[4].endswith(" GPU-minutes")
    assert cpu[5] == "AMD EPYC, 8 threads ¹"
    assert cpu[4].endswith(" CPU-minutes")
    assert "¹ Not written down when the training began" in text


def test_training_notes_where_it_ran_only_when_it_ran(data: Path, tmp_path: Path) -> None:
    table1(data, tmp_path, "--rows", "G1-L1")
    longer = ("--rows", "G1-L1", "--set", "stage1.steps=5")
    table1(data, tmp_path, *longer)
    table1(data, tmp_path, *longer)
    lines = (tmp_path / "G1-L1" / "stage1" / "starts.jsonl").read_text().splitlines()
    starts = [json.loads(line) for line in lines]
    assert [start["after"] for start in starts] == [0, 3]
    assert [start["device"] for start in starts] == ["cpu", "cpu"]
    assert starts[1]["command"].endswith("--rows G1-L1 --set stage1.steps=5")
    assert "1 to 5 of 5" in page(tmp_path)


def test_the_command_is_the_one_that_was_given(data: Path, run: Path, finished: Path) -> None:
    settings = " ".join(SETTINGS)
    command = f"python -m pg2lib table1 --data {data} --profile fast {settings} --cpu --out '{finished}'"
    assert f"{', '.join(TABLE1_ROWS)}:\n\n```sh\n{command}\n```" in page(run)
    change_reports(run, lambda report: report["provenance"].update(command="another"), row="G1-L1")
    (run / "G1+D" / "report.json").unlink()
    text = page(run)
    assert "G1-L1:\n\n```sh\nanother\n```" in text
    assert f"G1-poseMaskLoss, G1+D, G1+G2+D:\n\n```sh\n{command}\n```" in text


def test_other_pairs_that_were_scored_have_a_table_of_their_own(run: Path) -> None:
    rows = list(TABLE1_ROWS)[:2]
    for number, row in enumerate(rows):
        folder = run / row / "also" / "list"
        folder.mkdir(parents=True)
        shutil.copy(run / row / "report.json", folder)
        change(folder / "report.json", lambda report: report.update(data="the 12,000 pairs", pairs=12_000))
        mean = 0.25 + number / 100
        change(folder / "report.json", lambda r, m=mean: r["figures"]["refined"]["ssim"].update(mean=m, interval=None))
    text = page(run)
    [table] = [t for t in tables(text.partition("On the 12,000 pairs, 12,000 pairs:")[2]) if "PSNR" in t[0]]
    assert [line[0] for line in table[1:]] == rows
    assert [line[1].partition(" ")[0] for line in table[1:]] == ["0.2500", "0.2600"]
    change(run / rows[1] / "also" / "list" / "report.json", lambda report: report.update(pairs_digest="others"))
    with pytest.raises(DataError, match=f"{rows[1]} and {rows[0]} were scored on other pairs"):
        page(run)


def test_scores_on_other_pairs_of_weights_that_are_no_more_are_refused(run: Path) -> None:
    folder = run / "G1-L1" / "also" / "list"
    folder.mkdir(parents=True)
    shutil.copy(run / "G1-L1" / "report.json", folder)
    (folder / "report.stamp.json").write_text(json.dumps({"weights": "others"}))
    assert page(run).count("| PCKh@0.5 |") == 2  # the weights are not here, so nobody can tell
    (run / "G1-L1" / "pipeline" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(DataError, match="is of weights that the row had before, .* Give the command"):
        page(run)


def test_without_a_recorded_command_one_is_composed_that_makes_the_same_row(run: Path) -> None:
    change_reports(run, lambda report: report["provenance"].pop("command"))
    lines = [line for line in page(run).splitlines() if line.startswith("python -m pg2lib table1 --data DATA")]
    assert len(lines) == len(TABLE1_ROWS)
    for row, line in zip(TABLE1_ROWS, lines, strict=True):
        options = make_parser().parse_args(shlex.split(line)[3:])
        assert (options.rows, options.pairs, options.test_pairs, options.profile) == ([row], "torso", ["all"], "full")
        assert (
            PG2Config.load(options.config).row(row).to_dict()
            == json.loads((run / row / "report.json").read_text())["model"]["config"]
        )


def test_settings_are_told_from_the_nearest_preset(run: Path) -> None:
    text = page(run)
    changed = re.search(r"- Preset `fast`, with (.*); 128x64 pixels, base width 4\.", text)
    assert changed
    assert set(changed[1].split(", ")) == {f"`{key} = {value}`" for key, value in SMALL.items()}
    assert "- stage I: 3 steps of 4 pairs, learning rate 0.001, constant." in text
    assert "- one stage: 5 steps of 4 pairs, learning rate 0.001, constant, lambda of Eq. 4 10." in text
    assert "Not the paper's settings" in text
    assert "Trained on Market-1501 train, pair rule torso (12 images, 36 pairs)." in text
    assert "Scored on Market-1501 test, pairs all, 12 drawn with seed 0: 12 pairs" in text


def test_rows_with_other_settings_or_data_are_told_apart(run: Path) -> None:
    paper = PG2Config.preset("market1501").row("G1-L1").to_dict()
    change_reports(run, lambda report: report["model"].update(config=paper), row="G1-L1")
    change(run / "G1-L1/pipeline/config.json", lambda values: values["training"].update(data="elsewhere"))
    text = page(run)
    assert "- G1-L1: Preset `market1501`, nothing set otherwise; 128x64 pixels, base width 128." in text
    assert "- G1-L1: Trained on elsewhere (12 images, 36 pairs)." in text
    assert "- G1-CE-L1, G1-HME-L1, G1-poseMaskLoss, G1+D, G1+G2+D: Preset `fast`" in text
    assert "G1-CE-L1, G1-HME-L1, G1-poseMaskLoss, G1+D, G1+G2+D: Not the paper's settings" in text


def score(value: float, network: str) -> dict[str, Any]:
    return {"mean": value, "std": 0.1, "splits": 10, "images": 12, "network": network, "resize": "to 299"}


def give_scores(report: dict[str, Any], network: str) -> None:
    figures = (score(3.49, network), score(3.0, network))
    report["sets"] = {"refined": dict(zip(("inception_score", "mask_inception_score"), figures, strict=True), fid=None)}


def test_published_figures_are_reached_or_not(run: Path) -> None:
    def edit(report: dict[str, Any]) -> None:
        report["figures"]["refined"]["ssim"]["mean"] = 0.28251  # the published one is 0.283
        report["figures"]["refined"]["mask_ssim"]["mean"] = 0.8024
        give_scores(report, "inception2015")

    change_reports(run, edit)
    text = page(run)
    assert "G1+D SSIM (0.283, published 0.283)" in text.partition("Not reached")[0]
    assert "G1+D IS (3.490, published 3.490)" in text.partition("Not reached")[0]
    assert "G1+D mask-SSIM (0.802, published 0.803)" in text.partition("Not reached")[2]
    assert "G1-poseMaskLoss SSIM (0.283, published 0.340)" in text.partition("Not reached")[2]
    reached = re.search(r"Published figures reached: (\d+) of 12\.", text)
    assert reached
    assert int(reached[1]) == 7
    assert columns_of(text, "model", "mask-SSIM")["G1+D"]["IS"] == ["3.490 ± 0.100"]


def test_scores_of_another_network_are_set_against_nothing(run: Path) -> None:
    change_reports(run, lambda report: give_scores(report, "mine.pt"))
    text = page(run)
    assert columns_of(text, "model", "mask-SSIM")["G1+D"]["IS"] == ["3.490 ± 0.100 (not comparable)"]
    assert "IS and mask-IS: mine.pt, to 299, 12 images, ± over 10 splits." in text
    assert "not the Inception network of 2015" in text
    assert "Not measured: G1-poseMaskLoss IS, G1-poseMaskLoss mask-IS, G1+D IS" in text


def shift(run: Path, row: str, column: str, by: Callable[[int], float]) -> None:
    """The scores of a row's pairs in one column made 0.5 and something by the number of the pair."""
    path = run / row / "pairs.csv"
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for number, line in enumerate(lines):
        line[column] = str(0.5 + by(number))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def test_the_order_of_rows_is_judged_pair_by_pair(run: Path) -> None:
    for row in TABLE1_ROWS:
        for metric in ("ssim", "mask_ssim", "sharpness"):
            shift(run, row, f"refined_{metric}", lambda number: 0.0)
    shift(run, "G1-CE-L1", "refined_ssim", lambda number: -0.02 - number / 1000)
    shift(run, "G1-poseMaskLoss", "refined_mask_ssim", lambda number: -0.01)
    shift(run, "G1+G2+D", "refined_sharpness", lambda number: 0.1 * (-1) ** number)
    text = page(run)
    assert "against 3 that the paper reports: agrees in 1, disagrees in 1, undecided in 1." in text
    assert "below the heatmaps in SSIM: **agrees**" in text
    assert "above plain L1 in mask-SSIM: **disagrees**" in text
    assert "sharper than its stage I: **undecided**" in text


def test_without_the_scores_of_pairs_the_means_are_compared(run: Path) -> None:
    for path in run.glob("*/pairs.csv"):
        path.unlink()
    change_reports(run, lambda r: r["figures"]["refined"]["mask_ssim"].update(mean=0.8), row="G1-poseMaskLoss")
    change_reports(run, lambda r: r["figures"]["refined"]["mask_ssim"].update(mean=0.7), row="G1-L1")
    assert (
        "mask-SSIM: **agrees** (G1-poseMaskLoss minus G1-L1: +0.10000; no interval, as the scores of the pairs are "
        "missing)" in page(run)
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_runs_give_the_same_files(finished: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert main(["results", str(finished), "--out", str(tmp_path / name / "RESULTS.md")]) == 0
    first = files(tmp_path / "first")
    assert first == files(tmp_path / "second")
    linked = re.findall(r"!\[.*\]\((.*)\)", first["RESULTS.md"].decode())
    assert sorted(["RESULTS.md", *linked]) == sorted(first)
    assert "results/market-all-curves-stage-i-plain-l1.png" in linked
    assert len(linked) == 4


def test_figure_4_is_shown_of_drawn_people_alone(run: Path, tmp_path: Path) -> None:
    write_results([run], tmp_path / "real" / "page.md")
    assert not [name for name in files(tmp_path / "real") if "figure4" in name]
    assert f"Look at `{run}/figure4.jpg`" in (tmp_path / "real" / "page.md").read_text()
    change_reports(run, lambda report: report.update(data=f"{SYNTHETIC_TITLE}market1501 layout) test, pairs all"))
    write_results([run], tmp_path / "drawn" / "page.md")
    assert files(tmp_path / "drawn")["page/market-all-figure4.jpg"] == (run / "figure4.jpg").read_bytes()
    assert "(page/market-all-figure4.jpg)" in (tmp_path / "drawn" / "page.md").read_text()


def test_runs_of_the_same_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "elsewhere" / "market all")
    shutil.rmtree(other / "G1+G2+D")
    runs = columns_of(page(run, other), "run", "rows scored")
    links = ["[market-all](#market-all-market-1501-test)", "[market-all-2](#market-all-2-market-1501-test)"]
    assert list(runs) == links
    assert [runs[link]["rows scored"] for link in links] == [["6 of 6"], ["5 of 6"]]
    assert runs[links[1]]["SSIM"] == ["missing"]
    assert "## market-all-2: Market-1501 test" in page(run, other)


def test_what_is_no_run_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(tmp_path), "--out", str(tmp_path / "RESULTS.md")]) == 1
    assert f"{tmp_path} is no run of Table 1" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()
    with pytest.raises(ConfigError, match="given twice"):
        page(finished, finished / ".." / finished.name)
    with pytest.raises(ConfigError, match=r"end it in \.md"):
        write_results([finished], tmp_path / "results")


@pytest.mark.parametrize(
    ("file", "text", "way_out"),
    [
        ("report.json", "{", "Remove it and make the table again"),
        ("report.json", b"\xff\xfe\x00", "Remove it and make the table again"),
        ("pipeline/config.json", "[]", "Give the command of the run again"),
        ("stage1/log.jsonl", '{"step": 1, "seconds": 1}\n{"step": 2}\n', "line 2, is damaged"),
        ("stage1/starts.jsonl", '{"after": "now"}\n', "line 1, is damaged"),
    ],
)
def test_damaged_files_are_named_with_the_way_out(file: str, text: str | bytes, way_out: str, run: Path) -> None:
    path = run / "G1-L1" / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=way_out) as error:
        page(run)
    assert str(error.value).startswith(str(path))


def test_a_line_that_a_kill_cut_short_is_left_out(run: Path, tmp_path: Path) -> None:
    log = run / "G1-L1" / "stage1" / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    write_results([run], tmp_path / "RESULTS.md")
    assert training_lines((tmp_path / "RESULTS.md").read_text(), "G1-L1")[0][1] == "1 to 2 of 3"


def test_rows_that_were_not_scored_alike_are_refused(run: Path) -> None:
    change_reports(run, lambda report: report.update(pairs_digest="other"), row="G1+D")
    with pytest.raises(DataError, match=r"G1\+D and G1-CE-L1 were scored on other pairs"):
        page(run)
