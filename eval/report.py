"""Makes one HTML page of a run: scores with intervals, training curves, outputs beside their references, settings.

python eval/report.py runs/e2e --data data/e2e/test.jsonl            writes runs/e2e/report.html
"""

import sys

from nlg_metrics.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
