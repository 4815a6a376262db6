#!/usr/bin/env bash
# Beam-search the test set of a corpus with a trained run. The recipe says which adapter, last or best; CHECKPOINT names
# another.
#   RECIPE=paper scripts/decode.sh e2e
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh

FLAGS=$(recipe decode)
CHOSEN=$(recipe checkpoint)
launch decode --checkpoint "${CHECKPOINT:-$(adapter "$CHOSEN")}" --data "$DATA/test.jsonl" \
  $FLAGS --out "${PREDICTIONS:-$RUN/predictions.jsonl}" "$@"
