"""Makes one HTML page of a run or of several: scores, settings, curves, every output, where the systems differ.

python eval/report.py runs/e2e --data data/e2e/test.jsonl            writes runs/e2e/report.html
python eval/report.py runs/a runs/b --data data/e2e/test.jsonl       writes runs/report.html
python eval/report.py runs                                           writes runs/index.html
"""

import sys

from nlg_metrics.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
