"""The factorial behind "70.4 or 68.8": length penalty × checkpoint × seed, as one table with main effects.

python eval/ablation_table.py runs/ablation_704
"""

import sys

from nlg_metrics.commands.ablation_table import main

if __name__ == "__main__":
    sys.exit(main())
