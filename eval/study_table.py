"""A study of many adapters as tables and a figure: mean ± deviation over seeds, beside the paper's figures.

python eval/study_table.py rank e2e runs/e2e-rank
"""

import sys

from nlg_metrics.commands.study_table import main

if __name__ == "__main__":
    sys.exit(main())
