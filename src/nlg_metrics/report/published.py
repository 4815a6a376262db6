"""Published results on E2E, WebNLG 2017 and DART, to print beside one's own; each row names who reported it.

Figures are as printed by their sources: E2E in points but for NIST and CIDEr, WebNLG and DART with BLEU in points.
"Hu et al." is the LoRA paper (https://arxiv.org/abs/2106.09685), tables 3, 13 and 14; its figures with ± are means of 3
seeds, each at its best epoch by validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMNS = {
    "e2e": ("BLEU", "NIST", "METEOR", "ROUGE-L", "CIDEr"),
    "webnlg": (
        *("BLEU U", "BLEU S", "BLEU A"),
        *("METEOR U", "METEOR S", "METEOR A"),
        *("TER U", "TER S", "TER A"),
    ),
    "dart": ("BLEU", "METEOR", "TER"),
}
"""The columns of the papers' tables; U, S and A are unseen, seen and all categories."""
SUBSETS = {"U": "unseen", "S": "seen", "A": None}
KEYS = {
    "e2e": {"BLEU": "BLEU", "NIST": "NIST", "METEOR": "METEOR", "ROUGE-L": "ROUGE_L", "CIDEr": "CIDEr"},
    "webnlg": {"BLEU": "bleu", "METEOR": "meteor", "TER": "ter"},
    "dart": {"BLEU": "bleu", "METEOR": "meteor", "TER": "ter"},
}
"""Column → key in `scores.json`."""
E2E_PERCENT = ("BLEU", "METEOR", "ROUGE-L")
"""What the papers print in points where the official tool prints fractions."""


@dataclass(frozen=True)
class PublishedRow:
    """One published result.

    Attributes:
        model: base model, `GPT-2 S`, `GPT-2 M` or `GPT-2 L`.
        method: how it was tuned.
        values: as printed, in the order of `COLUMNS`.
        source: who reported it.
    """

    model: str
    method: str
    values: tuple[str, ...]
    source: str


def _rows(*lines: str) -> tuple[PublishedRow, ...]:
    rows = []
    for line in lines:
        model, method, values, source = (field.strip() for field in line.split("|"))
        rows.append(PublishedRow(model, method, tuple(values.split()), source))
    return tuple(rows)


PUBLISHED = {
    "e2e": _rows(
        "GPT-2 M | full fine-tuning | 68.2 8.62 46.2 71.0 2.47 | Hu et al.",
        "GPT-2 M | FT-Top2, 25.19M | 68.1 8.59 46.0 70.8 2.41 | Hu et al.",
        "GPT-2 M | Adapter-L, 0.37M | 66.3 8.41 45.0 69.8 2.40 | Hu et al.",
        "GPT-2 M | Adapter-L, 11.09M | 68.9 8.71 46.1 71.3 2.47 | Hu et al.",
        "GPT-2 M | Adapter-H, 11.09M | 67.3 8.50 46.0 70.7 2.44 | Hu et al.",
        "GPT-2 M | prefix, 0.35M | 69.7 8.81 46.1 71.4 2.49 | Hu et al.",
        "GPT-2 M | LoRA r=4 | 70.4±.1 8.85±.02 46.8±.2 71.8±.1 2.53±.02 | Hu et al.",
        "GPT-2 M | LoRA r=4, rerun | 69.8 8.77 46.6 71.8 2.52 | Wang et al. 2022 (AdaMix)",
        "GPT-2 M | LoRA r=4, rerun, last epoch | 68.9±.3 8.76±.06 46.6±.1 71.5±.1 2.53±.03 | Gao et al. 2024",
        "GPT-2 M | LoRA r=4, as in the README | 68.65 8.681 46.38 71.16 2.503 | users, microsoft/LoRA issue 165",
        "GPT-2 M | VeRA, 0.098M | 70.1 8.81 46.6 71.5 2.50 | Kopiczko et al. 2024",
        "GPT-2 L | full fine-tuning | 68.5 8.78 46.0 69.9 2.45 | Hu et al.",
        "GPT-2 L | Adapter-L, 0.88M | 69.1 8.68 46.3 71.4 2.49 | Hu et al.",
        "GPT-2 L | Adapter-L, 23.00M | 68.9 8.70 46.1 71.3 2.45 | Hu et al.",
        "GPT-2 L | prefix, 0.77M | 70.3 8.85 46.2 71.7 2.47 | Hu et al.",
        "GPT-2 L | LoRA r=4 | 70.4±.1 8.89±.02 46.8±.2 72.0±.2 2.47±.02 | Hu et al.",
        "GPT-2 L | LoRA r=4, rerun, last epoch | 70.1±.3 8.83±.02 46.8±.2 72.0±.3 2.47±.02 | Gao et al. 2024",
        "GPT-2 L | VeRA, 0.17M | 70.3 8.85 46.9 71.6 2.54 | Kopiczko et al. 2024",
        "GPT-2 S | LoRA r=4, as in the README | 67.27 8.60 45.7 68.1 2.31 | a user, microsoft/LoRA issue 165",
    ),
    "webnlg": _rows(
        "GPT-2 M | full fine-tuning | 27.7 64.2 46.5 .30 .45 .38 .76 .33 .53 | Hu et al.",
        "GPT-2 M | FT-Top2 | 18.9 53.6 36.0 .23 .38 .31 .99 .49 .72 | Hu et al.",
        "GPT-2 M | Adapter-L, 0.37M | 45.1 54.5 50.2 .36 .39 .38 .46 .40 .43 | Hu et al.",
        "GPT-2 M | Adapter-L, 11M | 48.3 60.4 54.9 .38 .43 .41 .45 .35 .39 | Hu et al.",
        "GPT-2 M | prefix | 45.6 62.9 55.1 .38 .44 .41 .49 .35 .40 | Hu et al.",
        "GPT-2 M | LoRA r=4 | 46.7±.4 62.1±.2 55.3±.2 .38 .44 .41 .46 .33 .39 | Hu et al.",
        "GPT-2 L | full fine-tuning | 43.1 65.3 55.5 .38 .46 .42 .53 .33 .42 | Hu et al.",
        "GPT-2 L | Adapter-L, 0.88M | 49.8 61.1 56.0 .38 .43 .41 .44 .35 .39 | Hu et al.",
        "GPT-2 L | Adapter-L, 23M | 49.2 64.7 57.7 .39 .46 .43 .46 .33 .39 | Hu et al.",
        "GPT-2 L | prefix | 47.7 63.4 56.3 .39 .45 .42 .48 .34 .40 | Hu et al.",
        "GPT-2 L | LoRA r=4 | 48.4±.3 64.0±.3 57.0±.1 .39 .45 .42 .45 .32 .38 | Hu et al.",
    ),
    "dart": _rows(
        "GPT-2 M | full fine-tuning | 46.2 .39 .46 | Hu et al.",
        "GPT-2 M | FT-Top2 | 41.0 .34 .56 | Hu et al.",
        "GPT-2 M | Adapter-L, 0.37M | 42.4 .36 .48 | Hu et al.",
        "GPT-2 M | Adapter-L, 11M | 45.2 .38 .46 | Hu et al.",
        "GPT-2 M | prefix | 46.4 .38 .46 | Hu et al.",
        "GPT-2 M | LoRA r=4 | 47.1±.2 .39 .46 | Hu et al.",
        "GPT-2 L | full fine-tuning | 47.0 .39 .46 | Hu et al.",
        "GPT-2 L | Adapter-L, 0.88M | 45.7 .38 .46 | Hu et al.",
        "GPT-2 L | Adapter-L, 23M | 47.1 .39 .45 | Hu et al.",
        "GPT-2 L | prefix | 46.7 .38 .45 | Hu et al.",
        "GPT-2 L | LoRA r=4 | 47.5±.1 .39 .45 | Hu et al.",
    ),
}
"""Corpus → rows, weakest base last."""


RANKS = {
    "e2e": {
        1: ("1.23", "68.72 8.7215 .4565 .7052 2.4329"),
        2: ("1.21", "69.17 8.7413 .4590 .7052 2.4639"),
        4: ("1.18", "70.38 8.8439 .4689 .7186 2.5349"),
        8: ("1.17", "69.57 8.7457 .4636 .7196 2.5196"),
        16: ("1.16", "69.61 8.7483 .4629 .7177 2.4985"),
        32: ("1.16", "69.33 8.7736 .4642 .7105 2.5255"),
        64: ("1.16", "69.24 8.7174 .4651 .7180 2.5070"),
    }
}
"""Hu et al., table 18: GPT-2 M on E2E after 26,000 steps, LoRA on q and v. Corpus → rank → validation loss and the
columns of `COLUMNS` as printed there, METEOR and ROUGE-L as fractions; its rows beyond 64 are left out."""
TARGETS = {
    "q": ("70.4", "91.0"),
    "k": ("70.0", "90.8"),
    "v": ("73.0", "91.0"),
    "o": ("73.2", "91.3"),
    "q+k": ("71.4", "91.3"),
    "q+v": ("73.7", "91.3"),
    "q+k+v+o": ("73.7", "91.7"),
}
"""Hu et al., table 5: GPT-3 175B at one budget of 18M parameters. Targets → accuracy on WikiSQL (±0.5) and MultiNLI
(±0.1), in percent."""


def column_score(corpus: str, column: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry of `scores.json` a column shows, or None where the metric was not computed."""
    metric, _, subset = column.partition(" ")
    scores = record["scores"]
    if name := SUBSETS.get(subset) if subset else None:
        scores = record.get("subsets", {}).get(name, {}).get("scores", {})
    entry: dict[str, Any] | None = scores.get(KEYS[corpus][metric])
    return entry


def unit(corpus: str, column: str) -> float:
    """What a score of `scores.json` is multiplied by to be in the papers' units."""
    return 100.0 if corpus == "e2e" and column in E2E_PERCENT else 1.0
