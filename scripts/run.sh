#!/usr/bin/env bash
# A corpus from the released files to the scores: prepare, train, decode, eval. Flags go to train; RUN names the run.
#   RUN=runs/e2e-short scripts/run.sh e2e --max_epoch 1
#   scripts/run.sh DATA=data/mine
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
refuse_moves "$@"

# A table of one's own has columns to name: it is prepared already.
if [ "$CORPUS" != table ]; then scripts/prepare.sh "$CORPUS"; fi
scripts/train.sh "$CORPUS" "$@"
scripts/decode.sh "$CORPUS"
scripts/eval.sh "$CORPUS"
