#!/usr/bin/env bash
# WebNLG 2017 from the released files to the scores: prepare, train, decode, eval. Flags go to train; RUN names the run.
set -euo pipefail
. "$(dirname "$0")/env.sh"
refuse_moves "$@"

scripts/prepare_webnlg.sh
scripts/train_webnlg.sh "$@"
scripts/decode_webnlg.sh
scripts/eval_webnlg.sh
