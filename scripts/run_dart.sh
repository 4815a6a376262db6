#!/usr/bin/env bash
# DART from the released files to the scores: prepare, train, decode, eval. Flags go to train.
set -euo pipefail
here=$(dirname "$0")

"$here/prepare_dart.sh"
"$here/train_dart.sh" "$@"
"$here/decode_dart.sh"
"$here/eval_dart.sh"
