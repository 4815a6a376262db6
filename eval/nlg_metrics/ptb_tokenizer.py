"""The COCO caption tokenisation in Python: the PTB tokenizer of CoreNLP 3.4.1, lower-cased, punctuation dropped.

The tool reads all texts as one file, one a line, and some of its rules look past a line's end; so does this. Words
that cannot be affected by what follows them are tokenised once and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nlg_metrics.ptb_rules import RULES, Rule

# Dropped from the tokens. They are compared after lower-casing, so brackets (`-lrb-`) stay.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_NEWLINES = re.compile(r"\r\n|[\r\n\x0b\x0c\u2028\u2029]")

_rules_of: dict[str, list[Rule]] = {}


def _rules_for(character: str) -> list[Rule]:
    """The rules that can start with `character`, in order of priority."""
    found = [rule for rule in RULES if re.match(f"[{rule.first}]", character)]
    _rules_of[character] = found
    return found


def _next_token(text: str, position: int) -> tuple[str | None, int]:
    """The token at `position` (None where nothing is said there) and where scanning goes on."""
    character = text[position]
    rules = _rules_of.get(character)
    if rules is None:
        rules = _rules_for(character)
    longest, best_end, best = 0, position + 1, None
    for rule in rules:
        match = rule.pattern.match(text, position)
        if match is not None:
            reach = match.end(1) if rule.looks_ahead else match.end()
            if reach > longest:
                longest, best_end, best = reach, match.end(), rule
    if best is None:
        return None, best_end
    return best.action(text[position:best_end]), best_end


# A line with any of these is scanned as a whole: some rule may look past a space there. Tags, exotic white space,
# spaced dots, `No. 5`, `020 7946`, `2 1/2`, and a single letter with a full stop (`J. Smith`, `plan B.` + `The`).
_LOOKS_PAST_SPACE = re.compile(
    r"[<\t\x1c-\x1f\x85\xa0\u1680\u2000-\u200f\u3000]|[\d)] \d|\. [.\d]|(?<![A-Za-z])[A-Za-z]\.(?: |$)"
)


def _scan(text: str, start: int, end: int) -> list[str]:
    """Lower-case tokens of `text[start:end]`, seeing what follows."""
    tokens = []
    position = start
    while position < end:
        token, position = _next_token(text, position)
        if token is not None:
            tokens.append(token.lower())
    return tokens


class PtbTokenizer:
    """Tokenises files of captions; remembers words between calls."""

    def __init__(self) -> None:
        self._memo: dict[str, list[str]] = {"": []}

    def _word(self, word: str) -> list[str]:
        tokens = _scan(f"{word} x", 0, len(word))
        self._memo[word] = tokens
        return tokens

    def file(self, lines: Iterable[str]) -> list[list[str]]:
        """All tokens of each line, as the tool's `-preserveLines -lowerCase` prints them, punctuation included.

        Args:
            lines: the lines of one file; a newline of any kind inside one counts as a space.

        Returns:
            One list of lower-case tokens a line.
        """
        clean = [_NEWLINES.sub(" ", line) for line in lines]
        text = "\n".join(clean)
        memo, make = self._memo, self._word
        results: list[list[str]] = []
        start = 0
        last = len(clean) - 1
        for number, line in enumerate(clean):
            end = start + len(line)
            # The end of the file stops look-aheads, so nothing remembered holds for the last line.
            if number == last or _LOOKS_PAST_SPACE.search(line):
                tokens = _scan(text, start, end)
            else:
                tokens = []
                for word in line.split(" "):
                    known = memo.get(word)
                    tokens += make(word) if known is None else known
            results.append(tokens)
            start = end + 1
        return results

    def captions(self, lines: Iterable[str]) -> list[str]:
        """The final COCO tokens of each line of one file, joined by spaces.

        Args:
            lines: the lines of one file, in order. References and hypotheses are two files.

        Returns:
            One string a line; empty where no token is left.
        """
        return [" ".join([token for token in tokens if token not in PUNCTUATION]) for tokens in self.file(lines)]
