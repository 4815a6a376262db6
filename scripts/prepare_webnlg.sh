#!/usr/bin/env bash
# Convert the released WebNLG 2017 files in RAW to JSONL records in DATA. Get them with scripts/download_data.sh webnlg.
set -euo pipefail
. "$(dirname "$0")/env.sh"

lora-nlg prepare webnlg \
  --raw "${RAW:-data/raw/webnlg}" \
  --out "${DATA:-data/webnlg}" "$@"
