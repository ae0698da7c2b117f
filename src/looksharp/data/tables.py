"""Tables that data sets come with: lines of text and CSV, with errors in one line that name the file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from looksharp.images.opening import one_line
from looksharp.marks.documents import read_text

__all__ = ["read_lines", "read_rows"]


def read_lines(table: Path, kind: str) -> list[str]:
    """Return the lines of a text file that are not blank.

    Args:
        table: the file.
        kind: the expected content, for messages.

    Raises:
        ValueError: if it is not text in UTF-8.
    """
    return [line for line in read_text(table, kind).splitlines() if line.strip()]


def read_rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as column -> cell; a cell that a row lacks is missing or None.

    Raises:
        ValueError: if it is not text in UTF-8, or a cell is too long to be one.
    """
    text = io.StringIO(read_text(table, "a table"), newline="")
    try:
        return list(csv.DictReader(text))
    except csv.Error as error:
        raise ValueError(f"{one_line(table)} cannot be read as a table: {error}; save it again as CSV") from None
