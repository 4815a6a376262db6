"""The COCO caption tokenization in Python: the PTB tokenizer of CoreNLP 3.4.1, lower-cased, punctuation dropped.

The tool reads all texts as one file, one a line, and some of its rules look past a line's end; so does this. Words
that cannot be affected by what follows them are tokenized once and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nlg_metrics.tokenizers.ptb_characters import Shapes
from nlg_metrics.tokenizers.ptb_rules import ABBREVIATIONS, CONTRACTIONS, RULES, Rule

# Dropped from the tokens. They are compared after lower-casing, so brackets (`-lrb-`) stay.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_NEWLINES = re.compile(r"\r\n|[\r\n\x0b\x0c\u2028\u2029]")
# A line with any of these is scanned as a whole, since a rule may reach past a space there: tags, white space other
# than the space, numbers in groups (`020 7946 0991`, `2 1/2`) and spaced dots.
_REACHES_PAST_SPACE = re.compile(r"[<\t\x85\xa0\u2000-\u200a\u3000]|[\d)] \d|\. \.")
# What may follow a word with a full stop and decide whether the stop belongs to it: `B. The`, `No. 5`.
_CONTEXTS = (" x", " The x", " 5")
_LONG = 300  # characters from which on it pays to remember where a rule failed
_WINDOW = 2000  # characters after a line that its last word may look at


class PtbTokenizer:
    """Tokenizes files of captions; remembers words between calls."""

    def __init__(self) -> None:
        self._shapes = Shapes()
        self._rules: dict[str, list[Rule]] = {}
        self._memo: dict[str, list[str] | None] = {"": []}

    def _rules_for(self, character: str) -> list[Rule]:
        """The rules that can start with `character`, in order of priority."""
        found = [rule for rule in RULES if re.match(f"[{rule.first}]", character)]
        self._rules[character] = found
        return found

    def _scan(self, text: str, end: int) -> list[str]:
        """Lower-case tokens that start in `text[:end]`; the rest of `text` is what they may look at."""
        shape = text if text.isascii() and text.isprintable() else text.translate(self._shapes)
        absent = {character for character in "@-." if shape.find(character, 0, end) < 0}
        tokens: list[str] = []
        failing: dict[str, int] | None = {} if end > _LONG else None  # rule -> where it may match again
        position = 0
        while position < end:
            rules = self._rules.get(shape[position])
            if rules is None:
                rules = self._rules_for(shape[position])
            reach, stop, best = 0, position + 1, None
            for rule in rules:
                if rule.needs not in absent and not (failing and position < failing.get(rule.name, 0)):
                    match = rule.pattern.match(shape, position)
                    if match is None:
                        if failing is not None and rule.run:
                            run = rule.run_pattern.match(shape, position)
                            failing[rule.name] = run.end() if run else 0
                    else:
                        reached = match.end(1) if rule.looks_ahead else match.end()
                        if reached > reach:
                            reach, stop, best = reached, match.end(), rule
            if best is not None:
                token = best.action(text[position:stop])
                if token is not None:
                    tokens.append(token.lower())
            position = stop
        return tokens

    def _word(self, word: str) -> list[str] | None:
        """Tokens of `word` before a space; None if they depend on what is behind the space."""
        tokens: list[str] | None
        plain = word[:-1] if word[-1] in ",." else word
        lowered = plain.lower()
        if (
            plain.isascii()
            and plain.isalpha()
            and len(plain) > 1
            and lowered not in CONTRACTIONS
            and (word[-1] != "." or lowered not in ABBREVIATIONS)
        ):
            # By far the most frequent case needs no rule.
            tokens = [lowered] if plain == word else [lowered, word[-1]]
        else:
            tokens = self._scan(word + _CONTEXTS[0], len(word))
            if word[-1] == "." and any(self._scan(word + after, len(word)) != tokens for after in _CONTEXTS[1:]):
                tokens = None
        self._memo[word] = tokens
        return tokens

    def _line(self, line: str) -> list[str] | None:
        """Tokens of a line that is not the last, or None if it must be scanned as a whole."""
        if _REACHES_PAST_SPACE.search(line):
            return None
        tokens: list[str] = []
        memo, make = self._memo, self._word
        for word in line.split(" "):
            known = memo[word] if word in memo else make(word)
            if known is None:
                return None
            tokens += known
        return tokens

    def file(self, lines: Iterable[str]) -> list[list[str]]:
        """The tokens of each line, lower-cased, punctuation included.

        As the tool prints them with `-preserveLines -lowerCase`, but for the additional full stop it makes after an
        abbreviation at the end of a sentence, which is dropped from captions anyway. A tag's quoted attribute does
        not reach into the next line.

        Args:
            lines: the lines of one file; a newline of any kind inside one counts as a space.

        Returns:
            One list of tokens a line.
        """
        clean = [_NEWLINES.sub(" ", line) for line in lines]
        text = "\n".join(clean)
        results: list[list[str]] = []
        start = 0
        for number, line in enumerate(clean, start=1):
            # The end of the file stops look-aheads, so nothing remembered holds for the last line.
            tokens = self._line(line) if number < len(clean) else None
            if tokens is None:
                tokens = self._scan(text[start : start + len(line) + _WINDOW], len(line))
            results.append(tokens)
            start += len(line) + 1
        return results

    def captions(self, lines: Iterable[str]) -> list[str]:
        """The final COCO tokens of each line of one file, joined by spaces.

        Args:
            lines: the lines of one file, in order. References and hypotheses are two files.

        Returns:
            One string a line; empty where no token is left.
        """
        return [" ".join([token for token in tokens if token not in PUNCTUATION]) for tokens in self.file(lines)]
