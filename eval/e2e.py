"""Scores a system on E2E as the challenge's measure_scores.py does: BLEU, NIST, METEOR, ROUGE_L and CIDEr.

python eval/e2e.py REFERENCES OUTPUTS                    the official tool's inputs: text, TSV or CSV
python eval/e2e.py --data test.jsonl --predictions predictions.jsonl --scores scores.json
python eval/e2e.py --data test.jsonl OUTPUTS             plain text for our data: one line a context (or entry)
"""

import sys

from nlg_metrics.commands.e2e import main

if __name__ == "__main__":
    sys.exit(main())
