"""RESULTS.md: one page on runs of Table 1, made from the files of their folders without training or scoring."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from pg2lib.config import TABLE1_ROWS, PG2Config, all_presets
from pg2lib.errors import ConfigError, DataError
from pg2lib.files import atomic_path, atomic_write
from pg2lib.table1.folder import ALSO, logged_stages, read_report, scores_folder
from pg2lib.table1.history import read_history
from pg2lib.table1.table import group_rows, read_table1
from pg2lib.tables import markdown_table
from pg2lib.viz import plot_losses

MARK = "<!-- Written by `python -m pg2lib results`. Run that command again instead of editing this page. -->"
"""First line of every page, by which a page is recognised before it is replaced."""


def write_results(folders: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> None:
    """Write the page, and its pictures into a folder of the same name next to it (results/ for RESULTS.md).

    Args:
        folders: Folders that `make_table1` filled, finished or not.
        out: Page to write; its name ends in .md.

    Raises:
        ConfigError: `out` has another ending.
        DataError: A folder is not one of Table 1, its rows cannot share a table, or a file in it is damaged; or `out`
            exists and is not such a page.
    """
    out = Path(out)
    if out.suffix != ".md":
        raise ConfigError(f"{out}: expected a name that ends in .md, since the page is Markdown")
    if out.exists() and not out.read_bytes().startswith(MARK.encode()):
        raise DataError(f"{out} exists and was not written by this command: name another file")
    text = make_page([Path(folder) for folder in folders], out.parent / out.stem.lower())
    with atomic_write(out) as file:
        file.write(text)


def make_page(folders: Sequence[Path], pictures: Path | None = None) -> str:
    """Return the page as Markdown, and write its pictures into a folder next to it, unless that is None."""
    blocks = [MARK, "# Results", "Table 1 of Ma et al. 2017 as pg2lib makes it."]
    for number, folder in enumerate(folders, start=1):
        blocks += [f"## {folder.resolve().name}", *_figures(folder), *_training(folder)]
        blocks += _pictures(folder, pictures, number) if pictures is not None else ()
    return "\n\n".join(blocks) + "\n"


def _figures(folder: Path) -> Iterator[str]:
    """Yield the table, the rows that it lacks, and the tables of further lists of pairs."""
    scored = _scored(folder)
    if not scored and not logged_stages(folder):
        raise DataError(f"{folder} is not a folder of Table 1: give one that `python -m pg2lib table1 --out` wrote")
    if scored:
        yield read_table1(folder, scored).to_markdown().strip()
    missing = [row for row in TABLE1_ROWS if row not in scored]
    if missing:
        yield f"Not scored yet: {', '.join(missing)}."
    for also in sorted({path.name for path in folder.glob(f"*/{ALSO}/*")}):
        table = read_table1(folder, _scored(folder, also), also)
        yield from (f"### {next(iter(table.reports.values())).data}", table.to_markdown().strip())


def _scored(folder: Path, also: str | None = None) -> list[str]:
    return [row for row in TABLE1_ROWS if (scores_folder(folder, row, also) / "report.json").is_file()]


def _training(folder: Path) -> Iterator[str]:
    """Yield what the training took and on what hardware, the settings, and the commands."""
    history = read_history(folder)
    total = history.groupby(history["device"].replace({"cuda": "GPU", "cpu": "CPU"}))["device minutes"].sum()
    yield "### Training"
    yield markdown_table(history.drop(columns="command").round(1))
    yield f"Total: {', '.join(f'{minutes:,.1f} {device}-minutes' for device, minutes in total.items()) or 'no logs'}."
    paths = {row: folder / row / "config.json" for row in TABLE1_ROWS}
    settings = {row: _settings(PG2Config.load(path), row) for row, path in paths.items() if path.is_file()}
    yield "\n".join(f"- {rows}: {text}." for text, rows in group_rows(settings).items())
    scoring = [read_report(folder / row).provenance.get("command") or "unknown" for row in _scored(folder)]
    commands = [command for command in dict.fromkeys([*history["command"], *scoring]) if command != "unknown"]
    if commands:
        yield "These commands made the rows. Repeated, each resumes from what its folder holds:"
        yield "\n".join(["```sh", *commands, "```"])


def _settings(config: PG2Config, row: str) -> str:
    """Name the preset that a row's settings are closest to, and what differs from it."""

    def flat(settings: PG2Config) -> set[tuple[str, Any]]:
        (values,) = pd.json_normalize(settings.to_dict()).to_dict("records")
        return {(str(key), value) for key, value in values.items()}

    changes = {name: sorted(flat(config) - flat(preset.row(row))) for name, preset in all_presets().items()}
    nearest = min(changes, key=lambda name: len(changes[name]))
    changed = ", ".join(f"`{key} = {value}`" for key, value in changes[nearest])
    return f"preset `{nearest}`{' with ' if changed else ', unchanged'}{changed}"


def _pictures(folder: Path, pictures: Path, number: int) -> Iterator[str]:
    """Draw the training curves, copy Figure 4 if anybody may see it, and yield the Markdown that shows them."""
    yield "### Pictures"
    logs: dict[str, dict[str, Path]] = {}
    for stage in logged_stages(folder):
        logs.setdefault(stage.folder.name, {})[stage.folder.parent.name] = stage.folder / "log.jsonl"
    for name, curves in logs.items():
        path = pictures / f"{number}-{name}.png"
        with atomic_path(path) as temporary:
            plot_losses(curves).savefig(temporary, format="png")
        yield f"![Training losses, {name}]({pictures.name}/{path.name})"
    if logs:
        yield (
            "Training losses: every step pale, and the mean of the last twentieth of the run. `l1` is plain L1, or "
            "Eq. 1 for G1-poseMaskLoss; `d` is Eq. 2, `adversarial` Eq. 3, `g1` and `g2` are Eq. 4."
        )
    figure4, scored = folder / "figure4.jpg", _scored(folder)
    if not scored or not figure4.is_file():
        return
    if not read_table1(folder, scored).synthetic:
        yield f"The terms of real data do not allow Figure 4 to be shown here; `{figure4}` has it."
        return
    with atomic_path(pictures / f"{number}-figure4.jpg") as temporary:
        shutil.copyfile(figure4, temporary)
    yield f"![Figure 4: condition image, target pose, target image, results]({pictures.name}/{number}-figure4.jpg)"
