#!/usr/bin/env bash
# Fetch the released files of a corpus into RAW: scripts/download_data.sh e2e|webnlg|dart
# DATA_URL=https://mirror.example/data fetches from a mirror instead, as DATA_URL/CORPUS/FILE. Run again to resume.
set -euo pipefail
. "$(dirname "$0")/env.sh"
corpus=${1:?usage: scripts/download_data.sh e2e|webnlg|dart}
shift

lora-nlg download-data "$corpus" \
  --out "${RAW:-data/raw/$corpus}" \
  ${DATA_URL:+--mirror "$DATA_URL"} "$@"
