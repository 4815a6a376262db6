"""What is wrong with a command line, in words a person can act on: near flags, the predecessor's, allowed values."""

from __future__ import annotations

import re
from collections.abc import Collection

from lora_nlg.api.fields import KINDS, did_you_mean, one_of, renamed

_NEEDLESS = {"platform", "local_rank", "rank", "world_size"}
"""The predecessor's flags on how processes are started; `torchrun` says that now."""
_IN_THE_RUN = {"lora_dim", "lora_alpha", "model_card"}
"""What the predecessor's decoder has to be told; here the run knows."""


def explain(message: str, flags: Collection[str], positionals: Collection[str] = ()) -> str:
    """The parser's message, reworded where it speaks of Python types, bare names or unknown flags.

    Args:
        message: on one line.
        flags: the command's flags, without dashes.
        positionals: names of its other arguments.
    """

    def shown(name: str) -> str:
        return name if name in positionals else f"--{name}"

    if match := re.fullmatch(r"unrecognized arguments: (.*)", message):
        unknown = [word for word in match[1].split() if re.match(r"--?[A-Za-z]", word)]
        if not unknown:
            return f"{match[1]!r} is one word too many; a flag needs its dashes, a text with blanks its quotes"
        return "; ".join(_unknown(word.partition("=")[0], flags) for word in unknown)
    if match := re.fullmatch(r"Option '(\S+)' is not accepted", message):
        return f"in --config, {_unknown(f'--{match[1]}', flags)}"
    if match := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"the following arguments are required: {', '.join(shown(name) for name in match[1].split(', '))}"
    if match := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message):
        return one_of(match[1], _quoted(match[3]), match[2])
    if match := re.fullmatch(r'Parser key "(\S+)": (.*)', message):
        name, problem = shown(match[1]), match[2]
        got = re.search(r"(?:Got|Given) value: (.*?)$", problem)
        if got and (literal := re.search(r"typing\.Literal\[([^]]*)\]", problem)):
            return one_of(name, _quoted(literal[1]), got[1])
        if got and (kind := re.search(r"<class '(int|float|bool)'>", problem)):
            return f"{name} must be {KINDS[kind[1]]}, got {got[1]}"
        return f"{name}: {problem}"
    return message


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _unknown(flag: str, flags: Collection[str]) -> str:
    name = flag.lstrip("-")
    if target := renamed(name, flags):
        return f"{flag} is --{target} here"
    if name.replace("-", "_") in flags:
        return f"{flag} is --{name.replace('-', '_')} here"
    if name in _NEEDLESS:
        return f"no flag {flag}: leave it out; start several processes with torchrun, and pick the device with --device"
    if name in _IN_THE_RUN and "checkpoint" in flags:
        return f"no flag {flag}: it is read from the run; leave it out"
    return f"no flag {flag}{did_you_mean(name, flags, '--')}"
