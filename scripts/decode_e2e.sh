#!/usr/bin/env bash
# Beam-search the E2E test set with a trained run: beam 10, no repeated 4-grams, as the paper.
# RECIPE=paper takes the best epoch by validation, the others the last one; the paper's length penalty is 0.9, RECIPE=readme
# has 0.8 as the predecessor's README. CHECKPOINT names another adapter than the recipe's.
set -euo pipefail
. "$(dirname "$0")/env.sh"

RUN=${RUN:-runs/e2e}
case ${RECIPE:=default} in
  default) CHOSEN=$RUN PENALTY=0.9 ;;
  paper) CHOSEN=$RUN/best PENALTY=0.9 ;;
  readme) CHOSEN=$RUN PENALTY=0.8 ;;
  *) echo "RECIPE must be default, paper or readme, got $RECIPE" >&2; exit 2 ;;
esac

torchrun --standalone --nproc_per_node="$NPROC" -m lora_nlg decode \
  --checkpoint "${CHECKPOINT:-$CHOSEN}" \
  --data "${DATA:-data/e2e}/test.jsonl" \
  --beam 10 --length_penalty "$PENALTY" --no_repeat_ngram_size 4 --repetition_penalty 1.0 --eval_len 64 \
  --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
