#!/usr/bin/env bash
# What alpha, alpha/r and alpha/sqrt(r) do to the best learning rate, on the built-in sample (docs/scaling.md).
# 3 ranks x 5 learning rates x 3 seeds under five scalings; run it again after an interruption and it continues.
#   scripts/scaling_study.sh
#   RUN=runs/scaling BASE=data/sample/base DATA=data/sample scripts/scaling_study.sh --max_step 100
set -euo pipefail
. "$(dirname "$0")/env.sh"

sweep() {
  shown lora-nlg sweep \
    --train_data "${DATA:-data/sample}/train.jsonl" \
    --valid_data "${DATA:-data/sample}/valid.jsonl" --valid_examples 80 \
    --init_checkpoint "${BASE:-data/sample/base}" \
    --lora_targets q+v --lora_dim 1,4,16 \
    --lr 3e-4,1e-3,3e-3,1e-2,3e-2 --scheduler linear --warmup_step 5 \
    --random_seed 1,2,3 \
    --train_batch_size 4 --max_step 50 --seq_len 128 --group 15 \
    --work_dir "${RUN:-runs/scaling}" "$@"
}

sweep --lora_scaling alpha/r --lora_alpha 128,32,2r "$@"
sweep --lora_scaling rslora --lora_alpha 32 "$@"
sweep --lora_scaling none "$@"
