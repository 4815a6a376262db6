#!/usr/bin/env bash
# Train GPT-2 with LoRA on E2E: r = 4, alpha = 128 (scale 32), otherwise the paper's hyper-parameters.
# Paper: Hu et al. 2021, table 11, column GPT-2 / E2E.
# RECIPE=paper or RECIPE=readme trains with alpha = 32 (scale 8). The batch of 8 is shared by all ranks; 5258 steps are an epoch.
#   NPROC=2 MODEL=gpt2.lg RUN=runs/e2e-large scripts/train_e2e.sh --max_epoch 1
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
BATCH=$(share 8)

launch train \
  --train_data "${DATA:=data/e2e}/train.jsonl" \
  --valid_data "$DATA/valid.jsonl" \
  ${MODEL:+--model_card "$MODEL"} --init_checkpoint "$BASE" ${TOKENIZER:+--tokenizer "$TOKENIZER"} \
  --lora_dim 4 --lora_alpha "$ALPHA" --lora_dropout 0.1 \
  --label_smooth 0.1 --weight_decay 0.01 \
  --lr "$LR" --adam_beta2 0.999 --scheduler linear --warmup_step 500 \
  --train_batch_size "$BATCH" --max_epoch 5 --seq_len 512 --eval_interval 5258 \
  --random_seed "${SEED:-110}" \
  --work_dir "${RUN:-runs/e2e}" "$@"
