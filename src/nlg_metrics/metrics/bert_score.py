"""BERTScore of its own library: how well the words of a text match a reference's in a language model's vectors.

Zhang et al. 2020, https://arxiv.org/abs/1904.09675; the library bert-score, as GenerationEval calls it: the model of
the language (English: roberta-large), no weights by document frequency, no rescaling, the best of the references.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlg_metrics.metrics.base import Array, Metric
from nlg_metrics.metrics.learned import library, no_model, revision

_PACKAGE = "bert-score==0.3.13"
_MOST_TOKENS = 1 << 20  # a tokenizer without a limit says 1e30, which the library can't pass on


class BertScore(Metric):
    """BERTScore's F1, a mean over segments, -1 to 1; precision and recall are its parts.

    Args:
        model: a name on the Hugging Face hub or a folder; empty: the library's for the language.
        language: its code.

    Raises:
        InputError: the library or the model is not there.
    """

    name = "BERTScore"

    def __init__(self, model: str = "", language: str = "en") -> None:
        module = library("bert_score", self.name, _PACKAGE)
        self._model = model or module.utils.lang2model[language]
        try:
            self._scorer = module.BERTScorer(model_type=self._model, num_layers=self._layers(module), lang=language)
        except Exception as error:  # the libraries below raise their own, of many kinds
            raise no_model(self.name, self._model, error) from None
        config, tokenizer = self._scorer._model.config, self._scorer._tokenizer
        if tokenizer.model_max_length > _MOST_TOKENS:
            tokenizer.model_max_length = config.max_position_embeddings
        self._version, self._revision = module.__version__, revision(self._model, config)

    def _layers(self, module: Any) -> int:
        """The layer whose vectors are compared: the library's choice, of a model it doesn't know the last."""
        known: dict[str, int] = module.utils.model2layers
        if self._model in known:
            return known[self._model]
        config = library("transformers", self.name, _PACKAGE).AutoConfig.from_pretrained(self._model)
        return int(config.num_hidden_layers)

    def settings(self) -> dict[str, Any]:
        """See `Metric.settings`."""
        return {
            "tool": f"bert-score-{self._version}",
            "model": Path(self._model).name if Path(self._model).is_dir() else self._model,
            "revision": self._revision,
            "layer": self._scorer.num_layers,
            "idf": "no",
            "rescaled": "no",
        }

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """(N, 4): precision, recall, F1 and 1. Each is the highest of any reference, as the library has it.

        A blank text scores 0 and a blank reference is left out.
        """
        rows = np.zeros((len(hypotheses), 4))
        rows[:, 3] = 1
        groups = [[text for text in group if text.strip()] for group in references]
        chosen = [row for row, text in enumerate(hypotheses) if text.strip() and groups[row]]
        if chosen:
            found = self._scorer.score([hypotheses[row] for row in chosen], [groups[row] for row in chosen])
            rows[chosen, :3] = np.stack([np.asarray(column, np.float64) for column in found], axis=1)
        return rows

    def aggregate(self, totals: Array) -> Array:
        """See `Metric.aggregate`."""
        return totals[..., 2] / np.maximum(totals[..., 3], 1.0)

    def parts(self, totals: Array) -> dict[str, float]:
        """Mean precision and recall."""
        return {"precision": float(totals[0] / totals[3]), "recall": float(totals[1] / totals[3])}
