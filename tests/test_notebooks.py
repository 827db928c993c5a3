"""The notebooks: their form, their stored outputs, and that they run from the first cell to the last."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

import pg2lib
from pg2lib.cli import main
from pg2lib.config import TABLE1_ROWS
from pg2lib.training.checkpoint import list_checkpoints
from pg2lib.training.log import LOG_FIELDS, read_log

nbformat = pytest.importorskip("nbformat", reason="reading notebooks needs the extra 'notebooks'")

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = (
    "00_quickstart",
    "01_data",
    "02_stage1_training",
    "03_stage2_training",
    "04_table1",
    "05_table2_user_study",
)
PARAMETERS = {
    "00_quickstart": {"profile": "full"},
    "01_data": {"profile": "full", "data": "synthetic"},
    "04_table1": {"profile": "laptop", "data": "market1501"},
}
"""The parameters that the outputs are stored for, where they are not {"profile": "fast", "data": "synthetic"}."""

SYNTHETIC = 'profile = "fast"\ndata = "synthetic"'
MADE_WITH = re.compile(r"^Made with pg2lib (\S+), commit (\S+)$", re.MULTILINE)
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


def texts(cell: nbformat.NotebookNode) -> str:
    """The text that a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def test_these_are_all() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(NAMES)


def test_shows_what_one_run_from_top_to_bottom_gave(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}  # no state of widgets
    assert not any(cell.get("attachments") or "base64" in cell.source for cell in notebook.cells)
    live = tagged(notebook, "live")  # progress bars and widgets, which `make notebooks` removes
    for number, cell in enumerate(code_cells(notebook), 1):
        assert cell.execution_count == (None if cell in live else number)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    shown = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs]
    assert not [text for text in shown if MACHINE_PATH.search(text)]
    assert pictures(notebook) >= 4
    assert len(json.dumps(outputs)) < 2_000_000


def test_stored_outputs_are_of_one_commit() -> None:
    lines = {name: MADE_WITH.findall(texts(code_cells(read(name))[-1])) for name in NAMES}
    assert all(len(found) == 1 for found in lines.values()), lines
    assert len({found[0] for found in lines.values()}) == 1, lines
    ((_, commit),) = lines[NAMES[0]]
    assert re.fullmatch("[0-9a-f]{12}", commit), "run the notebooks from a checkout without changes"


@pytest.mark.parametrize("name", ["02_stage1_training", "03_stage2_training", "04_table1", "05_table2_user_study"])
def test_stored_configuration_is_that_of_the_code(name: str) -> None:
    """Fails for outputs that are older than a change of the configuration or of a preset."""
    stored = [texts(cell) for cell in tagged(read(name), "configuration")]
    assert stored
    assert configuration(name)[0] == stored


def configuration(name: str) -> tuple[list[str], dict[str, Any]]:
    """What the cells with the tag "configuration" print when they are run now, and the variables afterwards."""
    notebook = read(name)
    values: dict[str, Any] = {"canvas": (128, 64), "run": Path()}
    exec(notebook.cells[1].source, values)
    exec(notebook.cells[2].source, values)
    values["config_of"] = lambda _: configuration("02_stage1_training")[1]["config"]
    printed = []
    for cell in tagged(notebook, "configuration"):
        with redirect_stdout(io.StringIO()) as stdout:
            exec(cell.source, values)
        printed.append(stdout.getvalue())
    return printed, values


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_04_shows_synthetic_people_only() -> None:
    """Images of the real data sets must not be passed on, and the outputs are stored for one of them."""
    showing = [cell.source for cell in code_cells(read("04_table1")) if "viz.show_" in cell.source]
    assert len(showing) == 3
    for source in showing:
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert names.isdisjoint({"root", "stores", "pairs", "test_pairs", "folder"}), source
    (drawing,) = (cell.source for cell in code_cells(read("04_table1")) if "shown_root =" in cell.source)
    assert re.search(r"shown_root = write_people\(", drawing) and "read_people(shown_root" in drawing


def test_parameters_stand_in_one_cell_after_the_title(notebook: nbformat.NotebookNode) -> None:
    assert notebook.cells[0].source.startswith("# ")
    assert tagged(notebook, "parameters") == [notebook.cells[1]]
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(notebook.cells[1].source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    (name,) = (name for name in NAMES if read(name) == notebook)
    assert values == PARAMETERS.get(name, {"profile": "fast", "data": "synthetic"})


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
    """It may look a value up, `{"full": ..., "fast": ...}[profile]`, or name a folder, but decides no branch."""
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Compare):
                assert "profile" not in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


@pytest.mark.parametrize("name", NAMES[1:])
def test_each_profile_and_data_set_has_a_folder_of_its_own(name: str) -> None:
    """Otherwise training on one data set would resume from a checkpoint of another."""
    notebook = read(name)
    (assigned,) = (
        node.value
        for cell in code_cells(notebook)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "run"
    )
    for profile in ("full", "laptop", "fast"):
        for data, title in (("synthetic", "synthetic"), ("market1501", "market1501"), ("some/people/", "people")):
            values = {"Path": Path, "profile": profile, "data": data}
            assert eval(ast.unparse(assigned), values) == Path(f"runs/notebook/{profile}-{title}")
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert set(re.findall(r"runs/notebook/([^/]*)", prose)) <= {"fast-synthetic"}


def test_ends_with_what_was_written_and_what_comes_next(notebook: nbformat.NotebookNode) -> None:
    last = notebook.cells[-1]
    assert last.cell_type == "code"
    assert "Next:" in last.source
    assert 'print("Made with pg2lib {pg2lib}, commit {commit}".format_map(provenance()))' in last.source


# Running them -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace") / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("runs", ".ipynb_checkpoints"))
    return folder


def execute(
    name: str, folder: Path, parameters: str = SYNTHETIC, then: tuple[str, str] | None = None
) -> nbformat.NotebookNode:
    """Run a notebook with other parameters, in a kernel whose current folder is `folder`.

    Args:
        then: A text that occurs in one cell, and code to run after that cell.
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


DRIVE = """
made, repose = [], pipe.repose
pipe.repose = lambda *arguments: made.append(repose(*arguments)[0]) or made[-1:]
preset.value = "sitting"
assert len(made) == 1
strength.value = 0.0
assert made[1].target_pose == pipe.frame_pose(presets["sitting"]) != made[0].target_pose
example.value = "example 2"
assert made[2].condition_pose == pipe.look(examples["example 2"]).condition_pose != made[1].condition_pose
for photo in (examples["example 4"], Image.new("RGB", (256, 256))):
    assert message.value == ""
    photo.save(file := io.BytesIO(), "PNG")
    content = memoryview(file.getvalue())
    sent = {"name": "me.png", "type": "image/png", "size": len(content), "content": content, "last_modified": 0}
    upload.set_state({"value": [sent]})  # as the browser does
assert "person" in message.value
assert len(made) == 4
assert made[3].condition_pose == pipe.look(examples["example 4"]).condition_pose
assert picture.value == made[3]._repr_png_()
pipe.repose = repose
"""
"""Moves every control of the quickstart, and uploads two photos, of which the second shows nobody."""


@pytest.mark.notebook
@pytest.mark.slow
def test_00_its_controls_change_the_picture(workplace: Path) -> None:
    pytest.importorskip("ipywidgets", reason="the controls need the extra 'notebooks'")
    pytest.importorskip("mediapipe", reason="finding people in photos needs the extra 'pose'")
    run = execute("00_quickstart", workplace, then=("control.observe", DRIVE))
    assert pictures(run) == 3
    assert len(list((workplace / "runs/notebook/fast-quickstart").glob("*.png"))) == 4


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
    assert log["l1"].tail(10).mean() < 0.9 * log["l1"].head(3).mean()


@pytest.mark.notebook
@pytest.mark.slow
def test_02_run_again_trains_nothing(workplace: Path, stage1_run: nbformat.NotebookNode) -> None:
    """A notebook that is interrupted loses the steps after the newest checkpoint; here there are none."""
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
    assert set(read_log(run / "stage2" / "log.jsonl")) - set(LOG_FIELDS) == {"adversarial", "d", "g2"}

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
    assert pictures(run) == 5
    folder = workplace / RUN / "table1"
    rows = [json.loads((folder / row / "report.json").read_text(encoding="utf-8")) for row in TABLE1_ROWS]
    assert [row["pairs"] for row in rows] == [200] * len(TABLE1_ROWS)
    assert len({row["pairs_digest"] for row in rows}) == 1
    assert (folder / "table1.md").read_text(encoding="utf-8").count("| –") > 0  # no Inception Score without its network


@pytest.mark.notebook
@pytest.mark.slow
def test_04_reads_what_the_command_line_made(workplace: Path, stage2_run: nbformat.NotebookNode) -> None:
    """The other way round, which takes less time: the command finds all rows of the notebook trained and scored."""
    folder = workplace / RUN / "table1"
    if not (folder / "table1.md").is_file():
        execute("04_table1", workplace)
    kept = ("step-*.safetensors", "log.jsonl", "starts.jsonl", "report.json")
    made = {path: path.stat().st_mtime_ns for name in kept for path in folder.rglob(name)}
    assert len(made) == 6 * 3 + 6
    command = ["table1", "--config", "fast", "--set", "evaluation.pairs=200", "--out", str(folder)]
    assert main([*command, "--data", str(workplace / RUN / "people")]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; on a CPU the full profile takes hours")
def test_the_full_profile_runs_on_a_gpu(tmp_path: Path) -> None:
    """Complete, except that notebook 04 trains its six wide models for a few steps each."""
    full = SYNTHETIC.replace("fast", "full")
    execute("02_stage1_training", tmp_path, full)
    stage2 = execute("03_stage2_training", tmp_path, full)
    printed = [output.get("text", "") for cell in code_cells(stage2) for output in cell.outputs]
    assert any("ms on cuda" in text for text in printed)
    few = 'config = config.override({"stage1.steps": 40, "stage2.steps": 20})'
    table = execute("04_table1", tmp_path, full, then=("config = choose_config", few))
    assert (pictures(stage2), pictures(table)) == (5, 5)
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
    """A script presses the buttons; the answers go into the database of this test's own folder."""
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
