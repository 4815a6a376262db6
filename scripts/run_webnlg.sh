#!/usr/bin/env bash
# WebNLG 2017 from the released files to the scores: prepare, train, decode, eval. Flags go to train.
set -euo pipefail
here=$(dirname "$0")

"$here/prepare_webnlg.sh"
"$here/train_webnlg.sh" "$@"
"$here/decode_webnlg.sh"
"$here/eval_webnlg.sh"
