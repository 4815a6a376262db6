#!/usr/bin/env bash
# Beam-search the DART test set with a trained run: beam 10, no repeated 4-grams, as the paper.
# RECIPE=paper takes the best epoch by validation, the others the last one; CHECKPOINT names another adapter.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
RUN=${RUN:-runs/dart}

launch decode \
  --checkpoint "${CHECKPOINT:-$RUN$CHOSEN}" \
  --data "${DATA:-data/dart}/test.jsonl" \
  --beam 10 --length_penalty 0.8 --no_repeat_ngram_size 4 --repetition_penalty 1.0 --eval_len 64 \
  --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
