"""Compares two systems on the same inputs with every metric of a suite: is the difference more than chance?

python eval/compare.py webnlg --data test.jsonl A/predictions.jsonl B/predictions.jsonl
python eval/compare.py e2e -R refs.txt a.txt b.txt --json comparison.json
"""

import sys

from nlg_metrics.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
