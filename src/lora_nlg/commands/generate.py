"""`lora-nlg generate`: verbalise meaning representations given on the command line or on standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lora_nlg.api.decoding import CheckpointSettings, TextSettings, as_trained, make_decoder, open_run
from lora_nlg.api.memory import naming_what_to_lower
from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.commands.decode import split_checkpoints
from lora_nlg.decoding import BeamSettings, SamplingSettings
from lora_nlg.distributed import World, pick_device
from lora_nlg.errors import InputError


@naming_flags()
@naming_what_to_lower("--beam, --n_best or --eval_len")
def main(argv: Sequence[str]) -> int:
    """Print the best hypotheses with their scores; returns the exit status.

    Raises:
        InputError: no meaning representation, or a run that can't be used.
    """
    parsed = parse_arguments(
        "generate",
        "Verbalise a meaning representation, e.g. "
        "lora-nlg generate 'name : Blue Spice | Type : pub | area : riverside' --checkpoint runs/e2e --n_best 3; "
        "or one a line from standard input. E2E's own name[Blue Spice], eatType[pub] is understood.",
        argv,
        CheckpointSettings,
        BeamSettings,
        TextSettings,
        SamplingSettings,
        positionals={
            "context": {
                "type": str,
                "nargs": "?",
                "help": "The meaning representation, as the training data writes it. Default, or -: lines of "
                "standard input.",
            }
        },
        skip=["end_ids"],
    )
    run_arguments, search, text, sampling = parsed.groups
    contexts = [as_trained(context) for context in given_contexts(parsed.positionals["context"])]
    checkpoints = split_checkpoints(run_arguments)
    world = World(device=pick_device(run_arguments.device))
    for checkpoint in checkpoints:
        run = open_run(run_arguments, checkpoint)
        decoder = make_decoder(run, run_arguments, search, text, sampling, world=world)
        if len(checkpoints) > 1:
            print(checkpoint)
        found = dict(decoder.decode(contexts))
        for index, context in enumerate(contexts):
            if len(contexts) > 1:
                print(context)
            for hypothesis in found[index]:
                print(f"{hypothesis.score:8.4f}  {hypothesis.text}")
    return 0


def given_contexts(argument: str | None) -> list[str]:
    """The meaning representations asked for: the argument, or lines of standard input without blank ones.

    Raises:
        InputError: neither, or an input that is not UTF-8.
    """
    if argument not in (None, "-"):
        contexts = [str(argument)]
    elif argument is None and sys.stdin.isatty():
        raise InputError(
            "no meaning representation: give one, e.g. 'name : Blue Spice | Type : pub', or - to type one a line"
        )
    else:
        try:
            contexts = sys.stdin.buffer.read().decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input is not UTF-8 text (byte {error.start}); convert it first") from None
    contexts = [context.strip() for context in contexts if context.strip()]
    if not contexts:
        raise InputError("no meaning representation: the input is empty; give e.g. 'name : Blue Spice | Type : pub'")
    return contexts
