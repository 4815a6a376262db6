"""`lora-nlg generate`: verbalise one meaning representation given on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lora_nlg.commands.arguments import naming_flags, parse_arguments
from lora_nlg.commands.decode import RunArguments, TextArguments, make_decoder, open_run, split_checkpoints
from lora_nlg.decoding import BeamSettings, SamplingSettings
from lora_nlg.distributed import World, pick_device


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Print the best hypotheses with their scores; returns the exit status."""
    parsed = parse_arguments(
        "generate",
        "Verbalise one meaning representation, e.g. "
        "lora-nlg generate 'name : Blue Spice | Type : pub | area : riverside' --checkpoint runs/e2e --n_best 3",
        argv,
        RunArguments,
        BeamSettings,
        TextArguments,
        SamplingSettings,
        positionals={"context": {"type": str, "help": "The meaning representation, as the training data writes it."}},
        skip=["end_ids"],
    )
    run_arguments, search, text, sampling = parsed.groups
    checkpoints = split_checkpoints(run_arguments)
    world = World(device=pick_device(run_arguments.device))
    for checkpoint in checkpoints:
        run = open_run(run_arguments, checkpoint)
        decoder = make_decoder(run, run_arguments, search, text, sampling, world=world)
        if len(checkpoints) > 1:
            print(checkpoint)
        ((_, hypotheses),) = decoder.decode([parsed.positionals["context"]])
        for hypothesis in hypotheses:
            print(f"{hypothesis.score:8.4f}  {hypothesis.text}")
    return 0
