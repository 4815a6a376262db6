"""The data report: statistics as a Markdown table, and as a plot of lengths and of references per context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_nlg.corpora.statistics import CorpusStatistics, SplitStatistics, Spread
from lora_nlg.files import atomic_write


def markdown_table(corpora: Sequence[CorpusStatistics], unit: str, seq_len: int) -> str:
    """A Markdown table with a column a split.

    Args:
        corpora: their statistics.
        unit: what lengths are counted in, `tokens` or `words`.
        seq_len: the limit the longest sequences are held against.
    """
    columns = [(f"{corpus.name} {split}", found) for corpus in corpora for split, found in corpus.splits.items()]
    rows = [("", [name for name, _ in columns]), ("---", ["---:"] * len(columns))]
    for label, show in _rows(unit, seq_len):
        rows.append((label, [show(found) for _, found in columns]))
    widths = [max(len(row[1][index]) for row in rows) for index in range(len(columns))]
    left = max(len(label) for label, _ in rows)
    return "\n".join(
        f"| {label:<{left}} | "
        + " | ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        + " |"
        for label, cells in rows
    )


def _rows(unit: str, seq_len: int) -> list[tuple[str, Callable[[SplitStatistics], str]]]:
    return [
        ("records", lambda s: f"{s.records:,}"),
        ("references", lambda s: f"{s.references:,}"),
        ("distinct contexts", lambda s: f"{s.contexts:,}"),
        ("records without reference", lambda s: f"{s.unreferenced:,}"),
        ("references per context: mean", lambda s: _mean(s.references_per_context)),
        ("references per context: least–most", lambda s: _range(s.references_per_context)),
        (f"context {unit}: mean", lambda s: _mean(s.context_lengths)),
        (f"reference {unit}: mean", lambda s: _mean(s.reference_lengths)),
        (f"sequence {unit}: mean", lambda s: _mean(s.sequence_lengths)),
        (f"sequence {unit}: median / 95%", lambda s: _percentiles(s.sequence_lengths)),
        (f"sequence {unit}: longest", lambda s: f"{s.sequence_lengths.most:,}" if s.sequence_lengths else "–"),
        (f"sequences over --seq_len {seq_len}", lambda s: f"{s.over_seq_len:,}"),
        ("distinct contexts also in train", lambda s: _shared(s.shared_contexts, "train", s.contexts)),
        ("distinct pairs also in train", lambda s: _shared(s.shared_pairs, "train", s.references - s.repeated_pairs)),
        ("distinct contexts also in valid", lambda s: _shared(s.shared_contexts, "valid", s.contexts)),
        ("records repeating a context", lambda s: f"{s.repeated_contexts:,}"),
        ("references repeated word for word", lambda s: f"{s.repeated_pairs:,}"),
    ]


def _mean(found: Spread | None) -> str:
    return f"{found.mean:.1f}" if found else "–"


def _range(found: Spread | None) -> str:
    return f"{found.least:,}–{found.most:,}" if found else "–"


def _percentiles(found: Spread | None) -> str:
    return f"{found.median:,} / {found.p95:,}" if found else "–"


def _shared(shared: dict[str, int], other: str, total: int) -> str:
    if other not in shared:
        return "–"
    return f"{shared[other]:,} ({100 * shared[other] / total:.1f}%)" if total else "0"


def longest_lines(corpora: Sequence[CorpusStatistics], unit: str) -> list[str]:
    """One line a split with its longest records."""
    return [
        f"- {corpus.name} {split}: "
        + ", ".join(f"{record_id} ({length} {unit})" for length, record_id in found.longest)
        for corpus in corpora
        for split, found in corpus.splits.items()
        if found.longest
    ]


def plot(path: str | Path, corpora: Sequence[CorpusStatistics], unit: str, seq_len: int) -> None:
    """Draw sequence lengths and references per context of each corpus, a row a corpus, as PNG.

    Args:
        path: the file to write.
        corpora: their statistics.
        unit: what lengths are counted in.
        seq_len: drawn as a line where the lengths come near it.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(len(corpora), 2, figsize=(11, 3.2 * len(corpora)), squeeze=False)
    for (left, right), corpus in zip(grid, corpora, strict=True):
        longest = max((length for found in corpus.sequence_lengths.values() for length in found), default=1)
        step = max(1, longest // 60)
        edges = list(range(0, longest + 2 * step, step))
        for split, lengths in corpus.sequence_lengths.items():
            if lengths:
                weights = [100 / len(lengths)] * len(lengths)
                left.hist(lengths, bins=edges, weights=weights, histtype="step", linewidth=1.5, label=split)
        if longest > 0.6 * seq_len:
            left.axvline(seq_len, color="grey", linestyle="--", label=f"--seq_len {seq_len}")
        left.set(title=f"{corpus.name}: sequence length", xlabel=unit, ylabel="% of references")
        for split, numbers in corpus.references_per_context.items():
            times = Counter(numbers)
            xs = sorted(times)
            right.plot(xs, [100 * times[x] / len(numbers) for x in xs], marker="o", markersize=3, label=split)
        right.set(title=f"{corpus.name}: references per context", xlabel="references", ylabel="% of contexts")
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
            if axis.get_legend_handles_labels()[1]:
                axis.legend(frameon=False)
    figure.tight_layout()
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)
