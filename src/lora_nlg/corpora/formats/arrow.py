"""Parquet and Arrow, as Hugging Face's hub and `Dataset.save_to_disk` keep datasets; by pyarrow, an optional extra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_nlg.corpora.formats.rows import Row, Rows
from lora_nlg.errors import InputError, first_line
from lora_nlg.files import check_readable

_BATCH = 1000


def read_arrow(path: Path) -> Rows:
    """The rows of a Parquet file, or of an Arrow file or stream; nested columns are lists and dictionaries.

    Raises:
        InputError: pyarrow isn't installed, or the file is none of these; also while the rows are read.
    """
    check_readable(path)
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path}: Parquet and Arrow are read by pyarrow, which isn't installed; pip install 'lora-nlg[tables]'"
        ) from None
    with path.open("rb") as file:
        head = file.read(6)
    try:
        if head.startswith(b"PAR1"):
            table = pyarrow.parquet.ParquetFile(path)
            return Rows(path, "Parquet", list(table.schema_arrow.names), _rows(path, table.iter_batches(_BATCH)))
        reader = pyarrow.ipc.open_file(path) if head == b"ARROW1" else pyarrow.ipc.open_stream(path.open("rb"))
        batches = reader if head != b"ARROW1" else map(reader.get_batch, range(reader.num_record_batches))
        return Rows(path, "Arrow", list(reader.schema.names), _rows(path, batches))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is neither Parquet nor Arrow ({first_line(error)})") from None


def _rows(path: Path, batches: Any) -> Iterator[Row]:
    import pyarrow

    number = 0
    try:
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                yield Row(f"entry {number}", values)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}, entry {number + 1}: damaged ({first_line(error)})") from None
