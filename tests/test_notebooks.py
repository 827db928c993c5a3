"""The notebooks: what they may look like, and that they run from the first cell to the last."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch

import pg2lib
from pg2lib.config import TABLE1_ROWS
from pg2lib.training.checkpoint import list_checkpoints
from pg2lib.training.log import read_log

nbformat = pytest.importorskip("nbformat", reason="reading notebooks needs the extra 'notebooks'")

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("01_data", "02_stage1_training", "03_stage2_training", "04_table1", "05_table2_user_study")
MACHINE_PATH = re.compile(r"""(?<![\w.>])(?:/(?:home|root|Users|work|tmp|mnt|data|content)\b|[A-Z]:\\|~/)""")
FAST = pg2lib.PG2Config.preset("fast")
RUN = Path("runs/notebook/fast-synthetic")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return read(request.param)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_these_are_all() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(NAMES)


def test_shows_what_one_run_from_top_to_bottom_gave(notebook: nbformat.NotebookNode) -> None:
    """On synthetic people: pictures of the real data sets must not be passed on."""
    nbformat.validate(notebook)
    assert not any(cell.get("attachments") or "base64" in cell.source for cell in notebook.cells)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs]
    assert not [text for text in texts if MACHINE_PATH.search(text)]
    assert pictures(notebook) >= 4
    assert len(json.dumps(outputs)) < 1_500_000


def test_parameters_stand_in_one_cell_after_the_title(notebook: nbformat.NotebookNode) -> None:
    assert notebook.cells[0].source.startswith("# ")
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [notebook.cells[1]]
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(tagged[0].source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert values["data"] == "synthetic"
    assert values["profile"] in ("full", "fast")
    assert len(values) == 2


def test_cells_are_short_and_only_use_the_library(notebook: nbformat.NotebookNode) -> None:
    for cell in code_cells(notebook):
        tree = ast.parse(cell.source)
        assert len(cell.source.splitlines()) <= 18, cell.source
        for node in ast.walk(tree):
            assert not isinstance(node, ast.ClassDef | ast.Lambda | ast.AsyncFunctionDef)
            assert not isinstance(node, ast.FunctionDef) or node.name.startswith("plot_")


def test_names_no_folder_of_a_machine(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not MACHINE_PATH.search(cell.source), cell.source


def test_the_profile_changes_values_and_never_the_path(notebook: nbformat.NotebookNode) -> None:
    """It may look a value up, `{"full": ..., "fast": ...}[profile]`, or name a folder; it may decide nothing."""
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Compare):
                assert "profile" not in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def test_each_profile_and_data_set_has_a_folder_of_its_own(notebook: nbformat.NotebookNode) -> None:
    """Or training on one data set would go on from another's checkpoint."""
    (assigned,) = (
        node.value
        for cell in code_cells(notebook)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "run"
    )
    for profile in ("full", "fast"):
        for data, name in (("synthetic", "synthetic"), ("market1501", "market1501"), ("some/people/", "people")):
            values = {"Path": Path, "profile": profile, "data": data}
            assert eval(ast.unparse(assigned), values) == Path(f"runs/notebook/{profile}-{name}")
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert set(re.findall(r"runs/notebook/([^/]*)", prose)) <= {"full-synthetic"}


def test_ends_with_what_was_written_and_what_comes_next(notebook: nbformat.NotebookNode) -> None:
    last = notebook.cells[-1]
    assert last.cell_type == "code"
    assert "Next:" in last.source


# Running them -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace") / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("runs", ".ipynb_checkpoints"))
    return folder


def execute(
    name: str, folder: Path, parameters: str = 'profile = "fast"', then: tuple[str, str] | None = None
) -> nbformat.NotebookNode:
    """The notebook run with other parameters, in a kernel whose current folder is `folder`.

    Args:
        then: a text that one cell has, and code to run after that cell.
    """
    nbclient = pytest.importorskip("nbclient", reason="running notebooks needs the extra 'notebooks'")
    notebook = read(name)
    if then is not None:
        (place,) = (place for place, cell in enumerate(notebook.cells) if then[0] in cell.source)
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(then[1]))
    notebook.cells.insert(2, nbformat.v4.new_code_cell(parameters))
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH")))))
        patch.setenv("HF_HUB_OFFLINE", "1")
        return client.execute()


def pictures(notebook: nbformat.NotebookNode) -> int:
    shown = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in data or "image/jpeg" in data for data in shown)


@pytest.fixture(scope="module")
def data_run(workplace: Path) -> nbformat.NotebookNode:
    return execute("01_data", workplace)


@pytest.fixture(scope="module")
def stage1_run(workplace: Path, data_run: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return execute("02_stage1_training", workplace)


@pytest.fixture(scope="module")
def stage2_run(workplace: Path, stage1_run: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return execute("03_stage2_training", workplace)


@pytest.mark.notebook
@pytest.mark.slow
def test_01_data_shows_people_and_writes_the_store(workplace: Path, data_run: nbformat.NotebookNode) -> None:
    assert pictures(data_run) == 9
    people = pg2lib.read_market1501(workplace / RUN / "people", "train")
    (pixels,) = (workplace / RUN / "cache/train").glob("images-*.u8")
    assert pixels.stat().st_size == len(people) * 128 * 64 * 3


@pytest.mark.notebook
@pytest.mark.slow
def test_02_stage1_learns_and_leaves_a_checkpoint(workplace: Path, stage1_run: nbformat.NotebookNode) -> None:
    assert pictures(stage1_run) == 4
    folder = workplace / RUN / "stage1"
    newest = list_checkpoints(folder)[-1]
    assert newest.name == f"step-{FAST.stage1.steps:08d}.safetensors"
    log = read_log(folder / "log.jsonl")
    assert log["step"].tolist() == list(range(1, FAST.stage1.steps + 1))
    assert log["l1"][-10:].mean() < 0.9 * log["l1"][:3].mean()


@pytest.mark.notebook
@pytest.mark.slow
def test_02_run_again_trains_nothing_anew(workplace: Path, stage1_run: nbformat.NotebookNode) -> None:
    """A kernel that died costs what came after the newest checkpoint and no more; here that is nothing."""
    folder = workplace / RUN
    trained = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".safetensors", ".jsonl")}
    assert len(trained) == 6  # the run and two short ones, each a checkpoint and a log
    execute("02_stage1_training", workplace)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


@pytest.mark.notebook
@pytest.mark.slow
def test_03_stage2_leaves_a_pipeline_that_generates(workplace: Path, stage2_run: nbformat.NotebookNode) -> None:
    assert pictures(stage2_run) == 5
    run = workplace / RUN
    assert list_checkpoints(run / "stage2")[-1].name == f"step-{FAST.stage2.steps:08d}.safetensors"
    assert sorted(read_log(run / "stage2" / "log.jsonl")) == ["adversarial", "d", "g2", "step"]

    pipe = pg2lib.PG2Pipeline.from_pretrained(run / "pipeline", "cpu")
    assert pipe.config == FAST.override({"stage1.lr_decay_steps": FAST.stage1.steps // 3})
    people = pg2lib.read_market1501(run / "people", "test")
    assert people.paths is not None
    pairs = pg2lib.make_pairs(people, "torso")
    out = pipe(people.paths[int(pairs.from_rows[0])], people.pose(int(pairs.to_rows[0])), crop=False)
    assert out.to_pil().size == (64, 128)
    assert torch.allclose(out.refined, (out.coarse + out.difference_map).clamp(-1, 1), atol=1e-6)


@pytest.mark.notebook
@pytest.mark.slow
def test_03_scores_what_it_says_it_scores(workplace: Path, stage2_run: nbformat.NotebookNode) -> None:
    folder = workplace / RUN / "evaluation"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert report["pairs"] == len(rows) == 64
    mean = sum(float(row["refined_ssim"]) for row in rows) / len(rows)
    assert report["figures"]["refined"]["ssim"]["mean"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.notebook
@pytest.mark.slow
def test_04_scores_every_row_on_the_same_pairs(workplace: Path, stage2_run: nbformat.NotebookNode) -> None:
    run = execute("04_table1", workplace)
    assert pictures(run) == 4
    folder = workplace / RUN / "table1"
    rows = [json.loads((folder / row / "report.json").read_text(encoding="utf-8")) for row in TABLE1_ROWS]
    assert [row["pairs"] for row in rows] == [200] * len(TABLE1_ROWS)
    assert len({row["pairs_digest"] for row in rows}) == 1
    assert (folder / "table1.md").read_text(encoding="utf-8").count("| –") > 0  # no Inception Score without its network


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; on a CPU the full profile takes hours")
def test_the_full_profile_runs_on_a_gpu(tmp_path: Path) -> None:
    """All of it, but that notebook 04 trains its six wide models for a few steps each."""
    full = 'profile = "full"'
    execute("02_stage1_training", tmp_path, full)
    stage2 = execute("03_stage2_training", tmp_path, full)
    printed = [output.get("text", "") for cell in code_cells(stage2) for output in cell.outputs]
    assert any("ms on cuda" in text for text in printed)
    few = 'config = config.override({"stage1.steps": 40, "stage2.steps": 20})'
    table = execute("04_table1", tmp_path, full, then=("config = choose_config", few))
    assert (pictures(stage2), pictures(table)) == (5, 4)
    folder = tmp_path / "runs/notebook/full-synthetic/table1"
    for row in TABLE1_ROWS:
        assert pg2lib.PG2Pipeline.from_pretrained(folder / row / "pipeline").config.model.base_width == 128


@pytest.fixture(scope="module")
def study_run(workplace: Path, stage2_run: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return execute("05_table2_user_study", workplace)


@pytest.mark.notebook
@pytest.mark.slow
def test_05_without_a_rater_gives_a_table_without_raters(study_run: nbformat.NotebookNode) -> None:
    assert pictures(study_run) == 5
    (table,) = (
        output.data["text/markdown"]
        for cell in code_cells(study_run)
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    )
    assert re.search(r"\| G1\+G2\+D +\| 0 +\| 0 ", table) and "0 raters, 0 answers" in table


@pytest.mark.notebook
@pytest.mark.slow
def test_05_pressing_its_buttons_fills_the_table(workplace: Path, study_run: nbformat.NotebookNode) -> None:
    """A script in place of the reader, in the database of this test's own folder."""
    pytest.importorskip("ipywidgets", reason="rating in a notebook needs the extra 'notebooks'")
    press = (
        "rating.start.click()\n"
        "for number in range(protocol.images):\n"
        "    (rating.generated if number % 3 else rating.real).click()"
    )
    execute("05_table2_user_study", workplace, then=("RaterWidget(study", press))
    run = workplace / RUN
    result = json.loads((run / "table2" / "table2.json").read_text(encoding="utf-8"))
    known = json.loads((run / "study" / "study.json").read_text(encoding="utf-8"))
    with closing(sqlite3.connect(run / "study" / "answers.sqlite3")) as database:
        rows = database.execute("SELECT position, image, says_real, exposure_ms FROM answers").fetchall()
    assert result["answers"] == len(rows) == 12
    assert [says_real for _, _, says_real, _ in sorted(rows)] == [number % 3 == 0 for number in range(12)]
    counted = [(image in known["real"], says) for place, image, says, ms in rows if place >= 2 and 160 <= ms <= 260]
    judged = result["models"]["G1+G2+D"]
    assert judged["r2g"]["shown"] == sum(real for real, _ in counted)
    assert judged["r2g"]["wrong"] == sum(real and not says for real, says in counted)
    assert judged["g2r"]["shown"] == sum(not real for real, _ in counted)
    assert judged["g2r"]["wrong"] == sum(not real and bool(says) for real, says in counted)
