"""A finished member as a run's folder, as `lora-nlg train` with its flags would have left it, but for the snapshots."""

from __future__ import annotations

from pathlib import Path

from lora_nlg.files import atomic_write, write_jsonl
from lora_nlg.run_folder import BEST, CONFIG, METRICS, TOKENIZER
from lora_nlg.sweep.engine import Trained
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights.adapter import AdapterInfo
from lora_nlg.weights.run import save_model


def write_member(folder: Path, trained: Trained, info: AdapterInfo, tokenizer: Tokenizer, config: str) -> None:
    """Write what a member is; its row, which says that it is done, comes after.

    Args:
        folder: the member's.
        trained: it, not diverged.
        info: its targets, base and vocabulary.
        tokenizer: the vocabulary.
        config: the arguments of `train` that would train it, as YAML.
    """
    assert trained.model is not None and trained.best is not None, "members that diverged have no adapter"
    tokenizer.save(folder / TOKENIZER)
    with atomic_write(folder / CONFIG) as file:
        file.write(config)
    write_jsonl(folder / METRICS, trained.log)
    save_model(folder / BEST, trained.best, info, trained.row["best_step"], tokenizer)
    save_model(folder, trained.model, info, trained.row["steps"], tokenizer)
