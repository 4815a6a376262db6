#!/usr/bin/env bash
# Train a grid of adapters on one base: `lora-nlg sweep` on all ranks, which share its groups (docs/scaling.md).
#   NPROC=4 scripts/sweep.sh --train_data data/e2e/train.jsonl --valid_data data/e2e/valid.jsonl \
#     --init_checkpoint models/gpt2-medium --lora_dim 1,4,16 --lr 1e-4,2e-4,4e-4 --work_dir runs/sweep
set -euo pipefail
. "$(dirname "$0")/env.sh"

launch sweep "$@"
