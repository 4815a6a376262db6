"""BLEURT: a trained model's judgement of a text beside a reference.

Sellam et al. 2020, https://aclanthology.org/2020.acl-main.704; the library bleurt-pytorch, whose models are the
original's converted. Of several references the best counts, as in GenerationEval. The original needs TensorFlow and is
in no package index.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.learned import library, no_model, revision

_PACKAGE = "bleurt-pytorch==0.0.1 'transformers<5'"
_MODEL = "lucadiliello/BLEURT-20"
_BATCH = 32


class Bleurt(Metric):
    """BLEURT, a mean over segments; about 0 to 1, no fixed ends.

    Args:
        model: a name on the Hugging Face hub or a folder; empty: `lucadiliello/BLEURT-20`.

    Raises:
        InputError: the library or the model is not there.
    """

    name = "BLEURT"

    def __init__(self, model: str = "") -> None:
        module = library("bleurt_pytorch", self.name, _PACKAGE)
        self._torch = library("torch", self.name, _PACKAGE)
        self._source = model or _MODEL
        try:
            self._tokenizer = module.BleurtTokenizer.from_pretrained(self._source)
            self._model = module.BleurtForSequenceClassification.from_pretrained(self._source).eval()
        except Exception as error:  # the libraries below raise their own, of many kinds
            raise no_model(self.name, self._source, error) from None
        self._revision = revision(self._source, self._model.config)

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        name = Path(self._source).name if Path(self._source).is_dir() else self._source
        return {"tool": "bleurt-pytorch", "model": name, "revision": self._revision, "of_references": "best"}

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 2): the best score of any reference that isn't blank (of nothing but blank ones, theirs), and 1."""
        pairs = [
            (row, text, reference)
            for row, (text, group) in enumerate(zip(hypotheses, references, strict=True))
            for reference in [reference for reference in group if reference.strip()] or group
        ]
        best = np.full(len(hypotheses), -np.inf)
        for first in range(0, len(pairs), _BATCH):
            batch = pairs[first : first + _BATCH]
            scores = self._score([reference for _, _, reference in batch], [text for _, text, _ in batch])
            np.maximum.at(best, [row for row, _, _ in batch], scores)
        return np.stack([best, np.ones(len(best))], axis=1)

    def _score(self, references: list[str], texts: list[str]) -> list[float]:
        longest = self._model.config.max_position_embeddings
        with self._torch.no_grad():
            tokens = self._tokenizer(
                references, texts, padding="longest", truncation=True, max_length=longest, return_tensors="pt"
            )
            scores: list[float] = self._model(**tokens).logits.flatten().tolist()
        return scores

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 0] / np.maximum(totals[..., 1], 1.0)
