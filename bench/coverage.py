"""How much of its inputs a data file's own references say, by the rules of Coverage, and those of the next input.

    python bench/coverage.py data/webnlg/test.jsonl

The first rate is the ceiling to read a system's coverage against; the second what another input's text gets by chance.
"""

from __future__ import annotations

import argparse

from nlg_metrics.metrics.coverage import Coverage
from nlg_metrics.segments import read_data


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="bench/coverage.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", help="data file with references, from `lora-nlg prepare`")
    data = read_data(parser.parse_args().data, "entries")
    metric, groups = Coverage(), data.references
    flat = [(text, context) for group, context in zip(groups, data.contexts, strict=True) for text in group]
    texts, contexts = [text for text, _ in flat], [context for _, context in flat]
    own = metric.score(texts, [[text] for text in texts], contexts)
    others = [group[0] for group in [*groups[1:], groups[0]]]
    by_chance = metric.score(others, groups, data.contexts)
    print(f"own references: {own.value:.4f} of {own.parts['entries']:,.0f}; the next input's: {by_chance.value:.4f}")


if __name__ == "__main__":
    main()
