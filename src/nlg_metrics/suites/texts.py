"""Any metric for any two texts: each as the scorer that made it known computes it, by one name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from nlg_metrics.metrics.base import Metric, Shared
from nlg_metrics.metrics.bleu import Bleu
from nlg_metrics.metrics.chrf import ChrF
from nlg_metrics.metrics.cider import Cider
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.multi_bleu import MultiBleu
from nlg_metrics.metrics.nist import Nist
from nlg_metrics.metrics.nltk_bleu import NltkBleu
from nlg_metrics.metrics.rouge import RougeL
from nlg_metrics.metrics.ter import Ter
from nlg_metrics.metrics.tokenized import Tokenized, coco_captions
from nlg_metrics.suites.further import Texts
from nlg_metrics.suites.suite import Suite, make_metrics
from nlg_metrics.suites.text_files import read_any
from nlg_metrics.tokenizers.words import words_of

NAMES = ("bleu", "nist", "meteor", "rouge", "cider", "chrf++", "ter")
OWN = ("bleu", "bleu_nltk", "bleu_e2e", "nist", "meteor", "rouge", "cider", "chrf", "chrf++", "ter")


def make_suite(
    names: Sequence[str] = NAMES,
    meteor_folder: str | os.PathLike[str] | None = None,
    texts: Texts | None = None,
) -> Suite:
    """The metrics named, in the order given.

    Args:
        names: from `OWN` and `further.FURTHER`. bleu is multi-bleu-detok's, on text as it is; bleu_e2e and nist are the
            E2E challenge's; meteor, rouge and cider are COCO's; bleu_nltk, chrf++ and ter are GenerationEval's.
        meteor_folder: METEOR's resources; default: the installed package pycocoevalcap.
        texts: what is known of the texts; default: English, not tokenised.

    Raises:
        InputError: a name isn't one of those.
    """
    captions, texts = Shared(coco_captions), texts or Texts()
    language = texts.language
    makers: dict[str, Callable[[], Metric]] = {
        "bleu": MultiBleu,
        "bleu_nltk": lambda: NltkBleu(words_of(language)),
        "bleu_e2e": Bleu,
        "nist": Nist,
        "meteor": lambda: Tokenized(Meteor("e2e-metrics", meteor_folder, language=language), captions),
        "rouge": lambda: Tokenized(RougeL(), captions),
        "cider": lambda: Tokenized(Cider(), captions),
        "chrf": lambda: ChrF(word_order=0),
        "chrf++": ChrF,
        "ter": lambda: Ter(words_of(language)),
    }
    metrics, unavailable = make_metrics(names, makers, texts)
    return Suite("texts", metrics, unavailable, lambda references, given: read_any([references], given).segments)
