#!/usr/bin/env bash
# A corpus from the released files to the scores: prepare, train, decode, eval. Flags go to train; RUN names the run.
#   RUN=runs/e2e-short scripts/run.sh e2e --max_epoch 1
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
refuse_moves "$@"

scripts/prepare.sh "$CORPUS"
scripts/train.sh "$CORPUS" "$@"
scripts/decode.sh "$CORPUS"
scripts/eval.sh "$CORPUS"
