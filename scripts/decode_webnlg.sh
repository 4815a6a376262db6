#!/usr/bin/env bash
# Beam-search the WebNLG 2017 test set with a trained run: beam 10, no repeated 4-grams, as the paper.
set -euo pipefail
. "$(dirname "$0")/env.sh"

RUN=${RUN:-runs/webnlg}
CHECKPOINT=${CHECKPOINT:-$RUN}
# The paper reports the best epoch by validation, the predecessor's README the last one.
if [ "${RECIPE:-default}" = paper ] && [ "$CHECKPOINT" = "$RUN" ]; then CHECKPOINT=$RUN/best; fi

torchrun --standalone --nproc_per_node="$NPROC" -m lora_nlg decode \
  --checkpoint "$CHECKPOINT" \
  --data "${DATA:-data/webnlg}/test.jsonl" \
  --beam 10 --length_penalty 0.8 --no_repeat_ngram_size 4 --repetition_penalty 1.0 --eval_len 64 \
  --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
