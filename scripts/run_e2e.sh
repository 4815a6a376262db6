#!/usr/bin/env bash
# E2E from the released files to the scores: prepare, train, decode, eval. Flags go to train; RUN names the run.
set -euo pipefail
. "$(dirname "$0")/env.sh"
refuse_moves "$@"

scripts/prepare_e2e.sh
scripts/train_e2e.sh "$@"
scripts/decode_e2e.sh
scripts/eval_e2e.sh
