#!/usr/bin/env bash
# Download released GPT-2 weights and vocabulary from the Hugging Face hub into pretrained/gpt2.SIZE.
# SIZE is sm, md, lg or xl; run it again after an interruption and it continues.
#   scripts/download_gpt2.sh md
set -euo pipefail
. "$(dirname "$0")/env.sh"

lora-nlg download-gpt2 "${1:?usage: scripts/download_gpt2.sh sm|md|lg|xl}" "${@:2}"
