"""Scores a system on WebNLG or DART as GenerationEval's eval.py does: BLEU, BLEU NLTK, METEOR, chrF++, TER.

python eval/webnlg_dart.py -R refs/reference -H hyps -nr 4 -m bleu,meteor,chrf++,ter      eval.py's inputs
python eval/webnlg_dart.py --data test.jsonl --predictions predictions.jsonl --scores scores.json
python eval/webnlg_dart.py --data test.jsonl -H hyps       plain text for our data: one line a context (or entry)
"""

import sys

from nlg_metrics.commands.webnlg import main

if __name__ == "__main__":
    sys.exit(main())
