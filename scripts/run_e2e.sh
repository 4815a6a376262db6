#!/usr/bin/env bash
# E2E from the released files to the scores: prepare, train, decode, eval. Flags go to train.
set -euo pipefail
here=$(dirname "$0")

"$here/prepare_e2e.sh"
"$here/train_e2e.sh" "$@"
"$here/decode_e2e.sh"
"$here/eval_e2e.sh"
