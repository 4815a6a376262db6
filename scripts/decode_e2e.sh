#!/usr/bin/env bash
# Beam-search the E2E test set with a trained run: beam 10, no repeated 4-grams, as the paper.
# The paper's length penalty is 0.9; the predecessor's README decodes with 0.8 (RECIPE=readme).
set -euo pipefail
. "$(dirname "$0")/env.sh"

case ${RECIPE:=default} in
  default | paper) PENALTY=0.9 ;;
  readme) PENALTY=0.8 ;;
  *) echo "RECIPE must be default, paper or readme, got $RECIPE" >&2; exit 2 ;;
esac
RUN=${RUN:-runs/e2e}
CHECKPOINT=${CHECKPOINT:-$RUN}
# The paper reports the best epoch by validation, the predecessor's README the last one.
if [ "${RECIPE:-default}" = paper ] && [ "$CHECKPOINT" = "$RUN" ]; then CHECKPOINT=$RUN/best; fi

torchrun --standalone --nproc_per_node="$NPROC" -m lora_nlg decode \
  --checkpoint "$CHECKPOINT" \
  --data "${DATA:-data/e2e}/test.jsonl" \
  --beam 10 --length_penalty "$PENALTY" --no_repeat_ngram_size 4 --repetition_penalty 1.0 --eval_len 64 \
  --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
