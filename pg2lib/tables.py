"""Tables as Markdown. pandas needs a further package for this; LaTeX and CSV it writes itself."""

from __future__ import annotations

import pandas as pd

ABSENT = "–"
"""What stands in a table where there is no value."""


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a table as GitHub-flavoured Markdown, without its index and without a final newline.

    Args:
        frame: Text is printed unchanged. Missing cells (None or NaN) are printed as "–".
    """
    cells = frame.astype(object).where(frame.notna(), ABSENT).astype(str)
    rows = [list(map(str, cells.columns)), *cells.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
