"""Out of memory, on CPU or GPU, as one line that says what to lower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lora_nlg.errors import InputError

_SIGNS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED|bad_alloc|Storage size calculation overflowed",
    re.IGNORECASE,
)


@contextmanager
def naming_what_to_lower(fields: str) -> Iterator[None]:
    """Within it, also as a decorator, a lack of memory becomes an `InputError`.

    Args:
        fields: what takes memory, in words, e.g. "`beam` or `batch_size`".

    Raises:
        InputError: out of memory, on the CPU or the GPU.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises the latter, of a class of its own only for a GPU
        text = str(error)
        if not (isinstance(error, MemoryError) or _SIGNS.search(text)):
            raise
        place = "GPU" if re.search("CUDA|CUBLAS|HIP", text) else "CPU"
        asked = re.search(r"allocate (\d[\d.]* ?[A-Za-z]+)", text)
        wanted = f" (no room for another {_readable(asked[1])})" if asked else ""
        raise InputError(f"out of memory on the {place}{wanted}; lower {fields}") from None


def _readable(amount: str) -> str:
    """`34359738368 bytes` as `32.0 GiB`; other amounts as they are."""
    number = re.fullmatch(r"(\d+) ?bytes", amount)
    return f"{int(number[1]) / 2**30:,.1f} GiB" if number and int(number[1]) >= 2**30 else amount
