#!/usr/bin/env bash
# Score the decoded E2E test set.
set -euo pipefail
. "$(dirname "$0")/env.sh"
RUN=${RUN:-runs/e2e}

python eval/e2e.py \
  --data "${DATA:-data/e2e}/test.jsonl" \
  --predictions "${PREDICTIONS:-$RUN/predictions.jsonl}" \
  --scores "${SCORES:-$RUN/scores.json}" "$@"
