"""`lora-nlg convert`: adapters and merged models to and from loralib, PEFT and Hugging Face, each checked by logits."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.errors import InputError
from lora_nlg.files import atomic_write, read_json_object
from lora_nlg.gpt2 import GPT2, SIZES, GPT2Config, empty_gpt2, named_config
from lora_nlg.hub.card import CardFacts, model_card
from lora_nlg.hub.push import check_push, push_folder
from lora_nlg.hub.record import read_run_record
from lora_nlg.lora import lora_layers
from lora_nlg.methods import METHODS, LoRA, without_method
from lora_nlg.run_folder import TOKENIZER
from lora_nlg.tokenizers import Tokenizer
from lora_nlg.weights.adapter import (
    AdapterInfo,
    describe_base,
    describe_tokenizer,
    load_adapter,
    save_adapter,
)
from lora_nlg.weights.base import base_config, copy_strictly, load_base, save_base
from lora_nlg.weights.download import RECORD
from lora_nlg.weights.identify import fitting, identify
from lora_nlg.weights.loralib import LoralibCheckpoint, from_loralib, read_loralib, write_loralib
from lora_nlg.weights.lowrank import LowRank, extract, insert
from lora_nlg.weights.merged import probe_logits, write_merged
from lora_nlg.weights.peft_folder import describe_peft, load_peft, save_peft
from lora_nlg.weights.peft_reference import peft_installed, peft_logits
from lora_nlg.weights.run import find_tokenizer, load_model
from lora_nlg.weights.tensor_files import find_weights

log = logging.getLogger(__name__)
CARD = "README.md"
EXACT = 1e-3
"""Largest logit difference a lossless conversion may show; fp32 rounding stays well below."""


@dataclass
class ConvertArguments:
    """What to convert to. What SOURCE is, is found out (see `lora-nlg inspect`)."""

    to: Literal["adapter", "loralib", "peft", "merged", "hub-folder"]
    """adapter: ours, from which `decode` works; loralib: a model.*.pt of microsoft/LoRA; peft: a folder for
    PeftModel.from_pretrained; merged: one whole GPT-2 for transformers, CTranslate2 and others; hub-folder: the
    PEFT adapter (or, --with_base, the merged model) with its vocabulary and a model card, as the Hub wants it."""
    out: str
    """Folder to write; for loralib the file."""
    init_checkpoint: str | None = None
    """The base (folder or file). Needed for PEFT and LoRA-only loralib sources; for ours, only if it has moved."""
    lora_alpha: float | None = None
    """Alpha that a loralib checkpoint was trained with; it isn't in the file (its README trains with 32)."""
    lora_targets: str | None = None
    """Which of q,k,v a loralib checkpoint adapts, where its shapes don't tell. Default: q,v if two are stacked."""
    model_card: str | None = None
    """Size of the base where no config.json says it, e.g. gpt2.md."""
    tokenizer: str | None = None
    """Vocabulary that goes with the model. Default: the run's, or the one beside the base."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of a merged model's weights."""
    with_base: bool = False
    """loralib: write the base too, as its end-of-run files have it. hub-folder: write the merged model."""
    base_name: str | None = None
    """hub-folder: the base's name on the Hub. Default: where `download-gpt2` fetched it from."""
    push: str | None = None
    """hub-folder: upload it to this ORG/NAME of the Hub (HF_ENDPOINT), which needs a token (HF_TOKEN)."""
    allow_other_base: bool = False
    """Accept a base of equal shape with other values than the adapter was trained on."""
    allow_other_tokenizer: bool = False
    """Accept another vocabulary than the run was trained with."""


@dataclass
class Source:
    """A model read from any format: adapted unless it was a whole GPT-2, and its base again without the adapter."""

    model: GPT2
    base: GPT2
    info: AdapterInfo
    tokenizer: Tokenizer | None
    base_path: str


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Convert, read the result back, and print how far its logits are from the source's and the base's."""
    parsed = parse_arguments(
        "convert",
        "Convert an adapter or a model between lora-nlg, microsoft/LoRA (loralib), PEFT and Hugging Face.",
        argv,
        ConvertArguments,
        positionals={"source": {"type": str, "help": "A run, an adapter, a loralib .pt, a PEFT folder or a GPT-2."}},
    )
    arguments: ConvertArguments = parsed.groups[0]
    out = Path(arguments.out)
    if arguments.to == "loralib" and out.is_dir():
        raise InputError(f"--out {out} is a folder; for loralib, name a file such as {out / 'model.pt'}")
    if arguments.to != "loralib" and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; for {arguments.to}, name a folder")
    if arguments.to != "hub-folder" and (arguments.push or arguments.base_name):
        raise InputError(f"--push and --base_name are for --to hub-folder, not {arguments.to}")
    if arguments.push:
        check_push(arguments.push)
    with moved_when_done(out) as place:
        source = read_source(Path(parsed.positionals["source"]), arguments, place)
        result = write(source, arguments, place)
        if arguments.to == "hub-folder":
            add_card(source, Path(parsed.positionals["source"]), arguments, place)
        written = [path.name for path in place.iterdir()] if place.is_dir() else []
    print(result.replace(str(place), str(out)))
    if arguments.push:
        print(f"uploaded: {push_folder(out, arguments.push, written)}")
    return 0


@contextmanager
def moved_when_done(out: Path) -> Iterator[Path]:
    """A place beside a file or folder, of the same name, whose content is moved there if the block ends well.

    Otherwise it is gone, and what was at `out` is as it was.

    Raises:
        InputError: the block's own, with `out` in place of the place.
    """
    out = Path(os.path.realpath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=out.parent) as folder:
        place = Path(folder) / out.name
        try:
            yield place
        except InputError as error:
            error.args = (str(error).replace(str(place), str(out)),)
            raise
        files = [place] if place.is_file() else [path for path in sorted(place.rglob("*")) if path.is_file()]
        for file in files:
            target = out / file.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, os.path.realpath(target))


def read_source(path: Path, arguments: ConvertArguments, place: Path) -> Source:
    """Read what is to be converted, whichever format it is in.

    Args:
        path: the source.
        arguments: what is said about it.
        place: where a base goes that only the source holds.

    Raises:
        InputError: an unknown format, or something needed beside it (base, alpha) is missing or doesn't fit.
    """
    identity = identify(path)
    if identity.kind in ("adapter", "model"):
        model, info, places = load_model(path, arguments.init_checkpoint, allow_other_base=arguments.allow_other_base)
        tokenizer = _optional_tokenizer(info, arguments, places, path)
        return Source(model, _base_of(model, info, places[-1]), info, tokenizer, str(places[-1]))
    if identity.kind == "peft":
        folder = path if path.is_dir() else path.parent
        named = describe_peft(folder).base
        if arguments.init_checkpoint is None:
            raise InputError(
                f"{path} is a PEFT adapter for {named or 'an unnamed base'}; give it with --init_checkpoint"
            )
        base, base_path = _given_base(arguments), arguments.init_checkpoint
    elif identity.kind == "loralib":
        checkpoint = read_loralib(path)
        if arguments.lora_alpha is None:
            raise InputError(
                f"{path} is a loralib checkpoint, which doesn't store alpha; give what it was trained with, "
                "e.g. --lora_alpha 32"
            )
        fused = None if arguments.lora_targets is None else arguments.lora_targets.replace(" ", "").split(",")
        adapter = from_loralib(checkpoint, arguments.lora_alpha, fused)
        base, base_path = _loralib_base(checkpoint, path, arguments, place)
    else:
        raise InputError(identity.text().replace("\n", ";"))
    described = describe_base(base, base_path)
    tokenizer = _optional_tokenizer(AdapterInfo(METHODS["full"](), described), arguments, [Path(base_path)], path)
    about = None if tokenizer is None else describe_tokenizer(tokenizer, arguments.tokenizer or base_path)
    if identity.kind == "loralib":
        info = insert(base, adapter, described, about)
        if checkpoint.full and arguments.init_checkpoint is not None:
            _check_included_base(checkpoint, base, str(path))
    else:
        info = load_peft(folder, base, described, about)
        difference = _difference_to_peft(folder, base)
        if not difference <= EXACT:
            raise InputError(
                f"{folder} as it was read gives logits {difference:.3g} from PEFT's own; merge it in PEFT instead "
                "(merge_and_unload)"
            )
    return Source(base.eval(), without_method(base), info, tokenizer, base_path)


def _base_of(model: GPT2, info: AdapterInfo, path: Path) -> GPT2:
    """The base without what was put into it; read again where its own parameters were trained."""
    if info.method.keeps_base or info.method.is_whole:
        return without_method(model)
    file = find_weights(path)
    return load_base(file, base_config(file, recorded=None if info.base is None else info.base.config)).eval()


def _given_base(arguments: ConvertArguments) -> GPT2:
    assert arguments.init_checkpoint is not None, "checked by the caller"
    config = None if arguments.model_card is None else named_config(arguments.model_card)
    return load_base(arguments.init_checkpoint, config)


def _loralib_base(
    checkpoint: LoralibCheckpoint, path: Path, arguments: ConvertArguments, place: Path
) -> tuple[GPT2, str]:
    """The base given, or the one in a full checkpoint, which then is written beside the result."""
    if arguments.init_checkpoint is not None:
        return _given_base(arguments), arguments.init_checkpoint
    if not checkpoint.full:
        raise InputError(f"{path} holds LoRA weights only; give the base they were trained on with --init_checkpoint")
    model = _empty(checkpoint, path, arguments.model_card)
    copy_strictly(model, checkpoint.base, str(path))
    folder = Path(arguments.out) / "base" if arguments.to == "adapter" else path
    if arguments.to == "adapter":
        save_base(model, place / "base")
        log.info("the base within %s goes to %s", path, folder)
    return model, str(folder)


def _empty(checkpoint: LoralibCheckpoint, path: Path, card: str | None) -> GPT2:
    wte, wpe = (checkpoint.base.get(f"transformer.{name}.weight") for name in ("wte", "wpe"))
    if wte is None or wpe is None or wte.dim() != 2 or wpe.dim() != 2:
        raise InputError(f"{path} lacks the embeddings of its base; give the base with --init_checkpoint")
    n_layer = sum(name.endswith(".ln_1.weight") for name in checkpoint.base)
    cards = [name for name, size in SIZES.items() if (size["n_layer"], size["n_embd"]) == (n_layer, wte.shape[1])]
    if card is None and not cards:
        raise InputError(
            f"{path} holds a {fitting(n_layer, wte.shape[1])} of unknown number of heads; give --model_card, or "
            "--init_checkpoint with a config.json"
        )
    named = named_config(card or cards[0])
    return empty_gpt2(GPT2Config(n_layer, wte.shape[1], named.n_head, wte.shape[0], wpe.shape[0]))


@torch.no_grad()
def _check_included_base(checkpoint: LoralibCheckpoint, adapted: GPT2, source: str) -> None:
    """Refuse a base other than the one in a full checkpoint.

    loralib merges on `eval()`, so a file saved then holds base + update; that is the same base.
    """
    own = empty_gpt2(adapted.config)
    copy_strictly(own, checkpoint.base, source)
    layers, given = lora_layers(adapted), dict(adapted.named_parameters())
    merged = 0
    for name, stored in own.named_parameters():
        if torch.allclose(stored, given[name], atol=1e-5):
            continue
        layer = layers.get(name.rpartition(".")[0])
        if layer is None or not torch.allclose(stored, layer.weight + layer.delta_weight(), atol=1e-4):
            raise InputError(
                f"{source} holds another base than the one given: {name} differs; leave out --init_checkpoint to use "
                "the one in the file"
            )
        merged += 1
    if merged:
        log.info("%s was saved with its update merged into %d weights; the adapter is apart again", source, merged)


def _difference_to_peft(folder: Path, adapted: GPT2) -> float:
    """How far the logits of a PEFT adapter as it was read are from PEFT's own; 0 where PEFT isn't there to ask.

    Raises:
        InputError: PEFT can't load it.
    """
    if not peft_installed():
        log.info("PEFT isn't installed here, so %s is not compared with PEFT's own arithmetic", folder)
        return 0.0
    difference = float((peft_logits(folder, without_method(adapted)) - probe_logits(adapted.eval())).abs().max())
    log.info("%s as it was read gives PEFT's own logits to %.3g", folder, difference)
    return difference


def _optional_tokenizer(
    info: AdapterInfo, arguments: ConvertArguments, places: list[Path], path: Path
) -> Tokenizer | None:
    try:
        return find_tokenizer(info, arguments.tokenizer, places, str(path), arguments.allow_other_tokenizer)
    except InputError:
        if arguments.tokenizer is not None:
            raise
        log.info("no vocabulary found for %s; the result is written without one (--tokenizer gives it)", path)
        return None


def write(source: Source, arguments: ConvertArguments, out: Path) -> str:
    """Write the result to `out` and read it back.

    Returns:
        A line that says what was written and how its logits compare.

    Raises:
        InputError: the format can't hold the source, or what was read back computes something else.
    """
    if _writes_whole_model(source, arguments):
        file, difference = write_merged(out, source.model, source.tokenizer, arguments.dtype)
        return f"{file}: merged, {arguments.dtype}; largest logit difference to the unmerged model {difference:.3g}"
    fresh, plain, to_peft = source.base, probe_logits(source.base), 0.0
    if arguments.to in ("peft", "hub-folder"):
        base = hub_base(source, arguments) if arguments.to == "hub-folder" else ""
        what = f"{save_peft(out, source.model, source.info.method, base or source.base_path)}: PEFT adapter"
        load_peft(out, fresh)
        to_peft = _difference_to_peft(out, fresh)
    elif arguments.to == "loralib":
        adapter = _low_rank(source)
        r, alpha = write_loralib(out, adapter, fresh if arguments.with_base else None)
        what = f"{out}: loralib checkpoint, to be used with --lora_dim {r} --lora_alpha {alpha:g}"
        insert(fresh, from_loralib(read_loralib(out), alpha, [name for name in "qkv" if name in adapter.specs()]))
    else:
        what = f"{save_adapter(out, source.model, source.info)}: adapter ({source.info.method})"
        if source.tokenizer is not None:
            source.tokenizer.save(out / TOKENIZER)
        load_adapter(out, fresh, allow_other_base=True)
    ours = probe_logits(source.model)
    difference = max(float((probe_logits(fresh) - ours).abs().max()), to_peft)
    change = float((ours - plain).abs().max())
    if not difference <= EXACT:
        raise InputError(f"{out} read back gives logits {difference:.3g} from the source's; nothing was written")
    return (
        f"{what}; read back, the largest logit difference to the source is {difference:.3g} (to the base {change:.3g})"
    )


def _low_rank(source: Source) -> LowRank:
    method = source.info.method
    return extract(source.model, method.bias if isinstance(method, LoRA) else "none")


def _writes_whole_model(source: Source, arguments: ConvertArguments) -> bool:
    for_hub = arguments.to == "hub-folder" and (arguments.with_base or source.info.method.is_whole)
    return arguments.to == "merged" or for_hub


def hub_base(source: Source, arguments: ConvertArguments) -> str:
    """The base's name on the Hub: as given, or as `download-gpt2` noted it; empty where it isn't known."""
    folder = Path(source.base_path) if Path(source.base_path).is_dir() else Path(source.base_path).parent
    if arguments.base_name or not (folder / RECORD).is_file():
        return arguments.base_name or ""
    return str(read_json_object(folder / RECORD).get("repository", ""))


def add_card(source: Source, path: Path, arguments: ConvertArguments, out: Path) -> None:
    """Complete a folder for the Hub: vocabulary and model card.

    Raises:
        InputError: no vocabulary, or an adapter is to be pushed whose base nobody can fetch.
    """
    base, merged = hub_base(source, arguments), _writes_whole_model(source, arguments)
    if source.tokenizer is None:
        raise InputError(f"no vocabulary found for {path}; a folder for the Hub needs it: give --tokenizer")
    if not base and not merged:
        problem = f"{source.base_path} has no known name on the Hub, and the adapter is of no use without it"
        if arguments.push:
            raise InputError(f"{problem}; give --base_name, or --with_base to push the merged model")
        log.info("note: %s; --base_name says it, --with_base writes the merged model", problem)
    source.tokenizer.save(out)
    facts = CardFacts(
        name=arguments.push or Path(arguments.out).name,
        base=base or source.base_path,
        base_is_on_hub=bool(base),
        method=source.info.method,
        step=source.info.step,
        merged=merged,
        end_ids=source.tokenizer.end_ids,
    )
    with atomic_write(out / CARD) as file:
        file.write(model_card(facts, read_run_record(path)))
