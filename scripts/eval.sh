#!/usr/bin/env bash
# Score the decoded test set of a corpus, with the scorer its recipe names.
#   scripts/eval.sh e2e
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh

SCORER=$(recipe scorer eval)
shown python $SCORER --data "$DATA/test.jsonl" --predictions "${PREDICTIONS:-$RUN/predictions.jsonl}" \
  --scores "${SCORES:-$RUN/scores.json}" "$@"
