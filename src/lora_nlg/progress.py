"""The progress bars of long work: quick on a terminal and in a notebook, twice a minute in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """A tqdm bar on standard error.

    Args:
        iterable: what to go through. Default: nothing; the caller calls `update`.
        **options: tqdm's.

    Returns:
        The bar: twice a second on a terminal and in a notebook, there as a widget where ipywidgets are installed;
        elsewhere every 30 seconds, so that a batch job's log stays readable.
    """
    notebook = in_notebook()
    interval = 0.5 if notebook or sys.stderr.isatty() else 30.0
    bar: type[tqdm[Any]] = tqdm
    if notebook:
        from tqdm.auto import tqdm as bar  # takes IPython to import
    # tqdm's monitor thread would otherwise shorten a long interval to ten seconds.
    return bar(iterable, mininterval=interval, maxinterval=max(10.0, interval), dynamic_ncols=True, **options)


def in_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


@contextmanager
def not_counted(bar: tqdm[Any]) -> Iterator[None]:
    """Time within the block counts neither to the speed a bar shows nor to what it expects to be left."""
    start = time.time()  # tqdm's clock
    bar.refresh()
    yield
    if not bar.disable:
        bar.start_t += time.time() - start
        bar.last_print_t = max(bar.last_print_t, bar.start_t)
