"""The paper's table with our row in it: mean ± standard deviation over runs, beside published results.

python eval/paper_table.py e2e runs/e2e/seed-*/scores.json --label "LoRA r=4, alpha=128" --base "nano (ours)"
"""

import sys

from nlg_metrics.commands.paper_table import main

if __name__ == "__main__":
    sys.exit(main())
