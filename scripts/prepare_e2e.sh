#!/usr/bin/env bash
# Convert the released E2E files in RAW to JSONL records in DATA. Get them with scripts/download_data.sh e2e.
set -euo pipefail
. "$(dirname "$0")/env.sh"

lora-nlg prepare e2e \
  --raw "${RAW:-data/raw/e2e}" \
  --out "${DATA:-data/e2e}" "$@"
