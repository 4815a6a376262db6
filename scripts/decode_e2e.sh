#!/usr/bin/env bash
# Beam-search the E2E test set with a trained run: beam 10, no repeated 4-grams, as the paper.
# RECIPE=paper takes the best epoch by validation, the others the last one; the paper's length penalty is 0.9, RECIPE=readme
# has 0.8 as the predecessor's README. CHECKPOINT names another adapter than the recipe's.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
RUN=${RUN:-runs/e2e}

launch decode \
  --checkpoint "${CHECKPOINT:-$RUN$CHOSEN}" \
  --data "${DATA:-data/e2e}/test.jsonl" \
  --beam 10 --length_penalty "$E2E_PENALTY" --no_repeat_ngram_size 4 --repetition_penalty 1.0 --eval_len 64 \
  --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
