#!/usr/bin/env bash
# Convert the released DART files in RAW to JSONL records in DATA. Get them with scripts/download_data.sh dart.
set -euo pipefail
. "$(dirname "$0")/env.sh"

lora-nlg prepare dart \
  --raw "${RAW:-data/raw/dart}" \
  --out "${DATA:-data/dart}" "$@"
