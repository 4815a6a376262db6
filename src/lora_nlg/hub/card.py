"""A model card (https://huggingface.co/docs/hub/model-cards) written from a run: `README.md` of its repository.

What the run recorded stands there, and nothing else: its base, data, recipe, scores with their signatures and
intervals; and lines that load it, which a test runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml
from huggingface_hub import EvalResult, ModelCardData

from lora_nlg.corpora.repositories import REPOSITORIES
from lora_nlg.decoding import BeamSettings
from lora_nlg.hub.record import RunRecord
from lora_nlg.methods import LoRA, Method
from lora_nlg.tokenizers.base import END_OF_TEXT


@dataclass(frozen=True)
class _OnHub:
    """What the Hub calls a corpus: its dataset, and the licence as the header of a card spells it."""

    title: str
    dataset: str
    licence: str


_CORPORA = {
    "e2e": _OnHub("E2E", "tuetschek/e2e_nlg", "cc-by-sa-4.0"),
    "webnlg": _OnHub("WebNLG", "webnlg-challenge/web_nlg", "cc-by-nc-sa-4.0"),
    "dart": _OnHub("DART", "Yale-LILY/dart", "mit"),
}
_PLACES = {"train_data", "valid_data", "tokenizer", "init_checkpoint", "work_dir", "device", "report_to"}
"""Fields of the recipe that say where things were on the machine that trained."""


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the run's own record.

    Attributes:
        name: what the loading lines load: the repository, or a folder.
        base: the base's name on the Hub, or where it is; empty where it isn't known.
        base_is_on_hub: whether it is the former.
        method: how it was tuned.
        step: optimiser steps taken.
        merged: whether the folder holds a whole model, not an adapter.
        end_ids: tokens that end a text.
    """

    name: str
    base: str
    base_is_on_hub: bool
    method: Method
    step: int
    merged: bool
    end_ids: Sequence[int]


def model_card(facts: CardFacts, run: RunRecord) -> str:
    """The card as Markdown, its header as the Hub reads it."""
    title = facts.name.rpartition("/")[2]
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.base_is_on_hub else "a GPT-2 of its own"
    parts = [
        f"---\n{_header(facts, run, title)}\n---\n\n# {title}\n",
        f"{_what(facts)} on {base}, to write a text for a meaning representation ({_data_title(run)}). Made with "
        f"lora-nlg {run.version}: GPT-2 with LoRA for data-to-text generation ([Hu et al. "
        "2021](https://arxiv.org/abs/2106.09685)).\n",
        f"## Load it\n\n```python\n{_loading_lines(facts, run)}\n```\n\nA prompt is the meaning representation as the "
        f"data writes it, and `{END_OF_TEXT}`.\n",
        f"## Data\n\n{_data(run)}\n",
    ]
    if scores := _scores(run):
        parts.append(f"## Scores\n\n{scores}\n")
    if run.settings:
        recipe = {name: value for name, value in run.settings.items() if name not in _PLACES}
        shown = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).rstrip()
        parts.append(f"## Recipe\n\n{_adapter_table(facts)}{facts.step:,} steps.\n\n```yaml\n{shown}\n```\n")
    return "\n".join(parts)


def _header(facts: CardFacts, run: RunRecord, title: str) -> str:
    corpus = _CORPORA.get(run.corpus)
    scores = (run.scores or {}).get("scores", {})
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="data-to-text generation",
            dataset_type=corpus.dataset if corpus else run.corpus or "own",
            dataset_name=_data_title(run),
            dataset_split=run.split,
            metric_type=key.lower(),
            metric_name=entry.get("name", key),
            metric_value=round(float(entry["value"]), 6),
        )
        for key, entry in scores.items()
        if not entry.get("caveat")
    ]
    data = ModelCardData(
        base_model=facts.base if facts.base_is_on_hub else None,
        datasets=[corpus.dataset] if corpus else None,
        language=run.language,
        library_name="transformers" if facts.merged else "peft",
        license=corpus.licence if corpus else None,
        pipeline_tag="text-generation",
        tags=["data-to-text", "lora-nlg", *([] if facts.merged else [facts.method.name])],
        model_name=title,
        eval_results=results or None,
    )
    return str(data.to_yaml(line_break="\n")).rstrip()


def _what(facts: CardFacts) -> str:
    if facts.method.is_whole:
        return "GPT-2, trained as a whole,"
    adapter = f"An adapter ({facts.method})"
    return f"{adapter}, merged into one GPT-2," if facts.merged else adapter


def _adapter_table(facts: CardFacts) -> str:
    if facts.method.is_whole:
        return "All weights were trained. "
    if not isinstance(facts.method, LoRA):
        return ""
    targets = facts.method.targets
    rows = [f"| {n} | {s.r} | {s.alpha:g} | {s.scaling:g} | {s.dropout:g} |" for n, s in targets.items()]
    return "\n".join(["| adapted | r | alpha | scaling | dropout |", "| --- | --- | --- | --- | --- |", *rows, "", ""])


def _loading_lines(facts: CardFacts, run: RunRecord) -> str:
    kind = "transformers import AutoModelForCausalLM" if facts.merged else "peft import AutoPeftModelForCausalLM"
    search = {**{name: getattr(BeamSettings(), name) for name in _SEARCH}, **run.search}
    asked = ", ".join(f"{theirs}={search[ours]!r}" for ours, theirs in _SEARCH.items())
    return (
        f"from {kind} as Model\nfrom transformers import AutoTokenizer\n\n"
        f"tokenizer, model = AutoTokenizer.from_pretrained({facts.name!r}), Model.from_pretrained({facts.name!r})\n"
        f"prompt = tokenizer({run.example + END_OF_TEXT!r}, return_tensors='pt')\n"
        f"found = model.generate(**prompt, {asked}, eos_token_id={list(facts.end_ids)})\n"
        "print(tokenizer.decode(found[0, prompt['input_ids'].shape[1]:], skip_special_tokens=True))"
    )


_SEARCH = {
    "beam": "num_beams", "length_penalty": "length_penalty", "no_repeat_ngram_size": "no_repeat_ngram_size",
    "eval_len": "max_new_tokens",
}  # fmt: skip
"""Fields of the search → what `generate` calls them."""


def _data_title(run: RunRecord) -> str:
    corpus = _CORPORA.get(run.corpus)
    return (
        corpus.title
        if corpus
        else {"sample": "lora-nlg's synthetic sample", "": "data of its own"}.get(run.corpus, run.corpus)
    )


def _data(run: RunRecord) -> str:
    size = f": {run.references:,} texts for {run.contexts:,} meaning representations" if run.references else ""
    if run.corpus in REPOSITORIES:
        repository = REPOSITORIES[run.corpus]
        return f"[{_data_title(run)}]({repository.page}){size}. Its licence: {repository.licence}."
    if run.corpus == "sample":
        return f"{_data_title(run)}{size}, made up, under lora-nlg's MIT licence."
    return f"{_data_title(run)}{size}. Its licence isn't recorded: say here what it is."


def _scores(run: RunRecord) -> str:
    if run.scores is None:
        return ""
    bootstrap, segments = run.scores.get("bootstrap", {}), run.scores.get("segments", {})
    level = f"{bootstrap.get('level', 0.95):.0%} interval"
    rows = [f"| metric | score | {level} | signature |", "| --- | --- | --- | --- |"]
    for key, entry in run.scores["scores"].items():
        low_high = entry.get("interval")
        interval = f"{low_high[0]:.4f} … {low_high[1]:.4f}" if low_high else ""
        mark = f" ({entry['caveat']})" if entry.get("caveat") else ""
        signature = str(entry.get("signature", "")).replace("|", "\\|")
        rows.append(f"| {entry.get('name', key)} | {entry['value']:.4f}{mark} | {interval} | `{signature}` |")
    searched = ", ".join(f"{name} {value}" for name, value in run.search.items() if name in _SEARCH)
    how = f"; decoded with {searched}" if searched else ""
    return f"On {segments.get('count', 0):,} {segments.get('unit', 'segments')} of {run.split}{how}.\n\n" + "\n".join(
        rows
    )
