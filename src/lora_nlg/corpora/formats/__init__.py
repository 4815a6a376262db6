"""Formats of tables. A new one is a module here that reads a file into `Rows`, and its line in `open_rows`."""

from __future__ import annotations

from pathlib import Path

from lora_nlg.corpora.formats.arrow import read_arrow
from lora_nlg.corpora.formats.delimited import AUTO, DELIMITERS, QUOTINGS, decoded, read_delimited
from lora_nlg.corpora.formats.json_entries import read_json_entries
from lora_nlg.corpora.formats.rows import Row, Rows, Wanted, column_called, columns_called, plain_name

SUFFIXES = {
    "csv": (".csv", ".tsv", ".tab", ".txt"),
    "json": (".json", ".jsonl", ".ndjson"),
    "parquet": (".parquet", ".arrow"),
}
"""Form → how its files' names end."""


def open_rows(
    path: Path,
    form: str,
    delimiter: str = AUTO,
    quoting: str = AUTO,
    encoding: str = AUTO,
    wanted: Wanted | None = None,
) -> Rows:
    """A table's rows.

    Args:
        path: the file.
        form: `csv` (delimited by whatever), `json` (also lines) or `parquet` (also Arrow).
        delimiter, quoting, encoding, wanted: of delimited text, as for `read_delimited`; JSON has an encoding too.

    Raises:
        InputError: the file can't be read as that.
    """
    if form == "csv":
        return read_delimited(path, delimiter, quoting, encoding, wanted)
    return read_json_entries(path, encoding) if form == "json" else read_arrow(path)


__all__ = [
    "AUTO",
    "DELIMITERS",
    "QUOTINGS",
    "SUFFIXES",
    "Row",
    "Rows",
    "Wanted",
    "column_called",
    "columns_called",
    "decoded",
    "open_rows",
    "plain_name",
]
