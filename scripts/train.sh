#!/usr/bin/env bash
# Train GPT-2 with LoRA on a corpus: the values of scripts/recipes/CORPUS.yaml, in the variant RECIPE; flags override them.
#   scripts/train.sh e2e --max_epoch 1
#   RECIPE=paper NPROC=2 MODEL=gpt2.lg RUN=runs/e2e-large scripts/train.sh e2e
#   scripts/train.sh DATA=data/mine                      # records of your own: recipe table, run runs/mine
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh

FLAGS=$(recipe train run)
VALID=(--valid_data "$DATA/valid.jsonl")
if [ "$CORPUS" = table ] && [ ! -f "$DATA/valid.jsonl" ]; then
  echo "note: no $DATA/valid.jsonl: training without validation" >&2
  VALID=()
fi
BATCH=$(share "$(recipe global_batch)")
launch train \
  --train_data "$DATA/train.jsonl" ${VALID[@]+"${VALID[@]}"} \
  ${MODEL:+--model_card "$MODEL"} --init_checkpoint "$BASE" ${TOKENIZER:+--tokenizer "$TOKENIZER"} \
  $FLAGS ${SEED:+--random_seed "$SEED"} --train_batch_size "$BATCH" \
  --work_dir "$RUN" "$@"
