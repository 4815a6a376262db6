#!/usr/bin/env bash
# DART from the released files to the scores: prepare, train, decode, eval. Flags go to train; RUN names the run.
set -euo pipefail
. "$(dirname "$0")/env.sh"
refuse_moves "$@"

scripts/prepare_dart.sh
scripts/train_dart.sh "$@"
scripts/decode_dart.sh
scripts/eval_dart.sh
