#!/usr/bin/env bash
# Convert the released E2E files in RAW to JSONL records in DATA. Get them with scripts/download_data.sh e2e.
# The CSV is tokenised as the published numbers' text form is; that form itself (train.txt, …) is taken if it is there.
set -euo pipefail
. "$(dirname "$0")/env.sh"

lora-nlg prepare e2e --tokenise \
  --raw "${RAW:-data/raw/e2e}" \
  --out "${DATA:-data/e2e}" "$@"
