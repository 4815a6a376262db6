#!/usr/bin/env bash
# Convert the released files of a corpus in RAW to JSONL records in DATA. scripts/download_data.sh gets them. A table of
# your own is a file or a folder of them.
#   scripts/prepare.sh e2e
#   RAW=mine.csv DATA=data/mine scripts/prepare.sh table --context name,food --text ref --split 80/10/10
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh

FLAGS=$(recipe prepare)
shown lora-nlg prepare "$CORPUS" $FLAGS --raw "$RAW" --out "$DATA" "$@"
