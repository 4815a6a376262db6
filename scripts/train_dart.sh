#!/usr/bin/env bash
# Train GPT-2 with LoRA on DART: r = 4, alpha = 128 (scale 32), otherwise the paper's hyper-parameters.
# Paper: Hu et al. 2021, table 11, column GPT-2 / DART.
# RECIPE=paper or RECIPE=readme trains with alpha = 32 (scale 8). The batch of 8 is shared by all ranks; 7833 steps are an epoch.
#   NPROC=2 MODEL=gpt2.lg RUN=runs/dart-large scripts/train_dart.sh --max_epoch 1
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
BATCH=$(share 8)

launch train \
  --train_data "${DATA:=data/dart}/train.jsonl" \
  --valid_data "$DATA/valid.jsonl" \
  ${MODEL:+--model_card "$MODEL"} --init_checkpoint "$BASE" ${TOKENIZER:+--tokenizer "$TOKENIZER"} \
  --lora_dim 4 --lora_alpha "$ALPHA" --lora_dropout 0.0 \
  --label_smooth 0.0 --weight_decay 0.0 \
  --lr "$LR" --adam_beta2 0.999 --scheduler linear --warmup_step 500 \
  --train_batch_size "$BATCH" --max_epoch 5 --seq_len 512 --eval_interval 7833 \
  --random_seed "${SEED:-110}" \
  --work_dir "${RUN:-runs/dart}" "$@"
