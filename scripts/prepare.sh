#!/usr/bin/env bash
# Convert the released files of a corpus in RAW to JSONL records in DATA. scripts/download_data.sh gets them.
#   scripts/prepare.sh e2e
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh

FLAGS=$(recipe prepare)
shown lora-nlg prepare "$CORPUS" $FLAGS --raw "$RAW" --out "$DATA" "$@"
