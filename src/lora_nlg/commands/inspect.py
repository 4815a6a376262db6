"""`lora-nlg inspect`: say what a weights file is, what it fits and its scaling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lora_nlg.commands.arguments import naming_flags, parse_arguments, with_flags
from lora_nlg.weights.identify import identify


@dataclass
class InspectArguments:
    """How to print."""

    json: bool = False
    """Print JSON instead of text."""


@naming_flags()
def main(argv: Sequence[str]) -> int:
    """Print what each path is; status 1 if one is unknown or can't be used as it is."""
    parsed = parse_arguments(
        "inspect",
        "Say what a file or folder is: an adapter or run of ours, a GPT-2, a loralib checkpoint, a PEFT adapter.",
        argv,
        InspectArguments,
        positionals={"paths": {"nargs": "+", "type": str, "help": "Files or folders to look at."}},
    )
    arguments: InspectArguments = parsed.groups[0]
    identities = [identify(path) for path in parsed.positionals["paths"]]
    if arguments.json:
        values = [
            {"path": str(it.path), "kind": it.kind, "title": it.title, "facts": it.facts, "problems": it.problems}
            for it in identities
        ]
        print(with_flags(json.dumps(values, ensure_ascii=False, indent=2)))
    else:
        print(with_flags("\n".join(identity.text() for identity in identities)))
    return int(any(identity.problems or identity.kind == "unknown" for identity in identities))
