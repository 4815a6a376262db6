#!/usr/bin/env bash
# The paper's studies on a corpus and a base of yours (docs/analysis.md): a grid of adapters is trained by `lora-nlg sweep`,
# every one of them decoded and scored by the corpus' scorer, and the table of means over seeds written beside the paper's.
# Run it again after an interruption, or with more seeds, ranks or rates: what is finished is not done again.
#   scripts/study.sh rank e2e        r = 1 ... 64 at a fixed alpha, at alpha = 2r and at alpha/sqrt(r) (tables 6 and 18)
#   scripts/study.sh targets e2e     q, k, v, o, qk, qv, qkvo with as many parameters each (table 5)
#   scripts/study.sh scale e2e       alpha = 2r, 32 and 128 at several learning rates
#   scripts/study.sh lr e2e          the recipe's scale at more learning rates
# Sizes: STEPS=400 SEEDS=1,2,3 RANKS=1,4,16 LRS=1e-3 TEST=200 (contexts that are decoded; all by default) ...
# Further words go to `lora-nlg sweep`: --max_step is STEPS, so leave that one to it.
set -euo pipefail
. "$(dirname "$0")/env.sh"
STUDY=${1:-}
case $STUDY in
  rank | targets | scale | lr) shift ;;
  *) echo "usage: $0 rank|targets|scale|lr CORPUS [flags for sweep]" >&2; exit 2 ;;
esac
. scripts/recipe.sh
refuse_moves "$@"
ROOT=${ROOT:-runs/$CORPUS-$STUDY}
STEPS=${STEPS:-2000} SEEDS=${SEEDS:-1,2,3} VALID=${VALID:-1000} GROUP=${GROUP:-8} WARMUP=${WARMUP:-0.1}
RATE=$(recipe train.lr) RANK=$(recipe train.lora_dim) TARGETS=$(recipe train.lora_targets) BATCH=$(recipe global_batch)
TARGETS=${TARGETS//,/+}
head -n "${TEST:-1000000000}" "$DATA/test.jsonl" > /dev/null # now, not when all is trained

COMMON=(--scheduler "$(recipe train.scheduler)" --lora_dropout "$(recipe train.lora_dropout)"
  --label_smooth "$(recipe train.label_smooth)" --weight_decay "$(recipe train.weight_decay)"
  --adam_beta2 "$(recipe train.adam_beta2)" --adam_epsilon "$(recipe train.adam_epsilon)"
  --grad_clip "$(recipe train.grad_clip)" --seq_len "${SEQ_LEN:-$(recipe train.seq_len)}")

# sweep TARGETS RANKS ALPHAS RULES RATES [flags]: adds the members to the study.
sweep() {
  local targets=$1 ranks=$2 alphas=$3 rules=$4 rates=$5
  shift 5
  launch sweep --train_data "$DATA/train.jsonl" --valid_data "$DATA/valid.jsonl" --valid_examples "$VALID" \
    --init_checkpoint "$BASE" ${TOKENIZER:+--tokenizer "$TOKENIZER"} "${COMMON[@]}" \
    --lora_targets "$targets" --lora_dim "$ranks" --lora_alpha "$alphas" --lora_scaling "$rules" --lr "$rates" \
    --random_seed "$SEEDS" --max_step "$STEPS" --train_batch_size "$BATCH" --warmup_step "$WARMUP" --group "$GROUP" \
    --work_dir "$ROOT" "$@"
}

case $STUDY in
  rank)
    ALPHA=${ALPHA:-32} RANKS=${RANKS:-1,2,4,8,16,64} LRS=${LRS:-$RATE}
    sweep "$TARGETS" "$RANKS" "$ALPHA,2r" alpha/r "$LRS" "$@"
    sweep "$TARGETS" "$RANKS" "$ALPHA" rslora "$LRS" "$@"
    ;;
  targets) # r = 8 for one weight, 4 for two, 2 for four; the scale is the same for all
    for ONE in q:8 k:8 v:8 o:8 q+k:4 q+v:4 q+k+v+o:2; do
      sweep "${ONE%:*}" "${ONE#*:}" "${SCALE:-8}r" alpha/r "${LRS:-$RATE}" "$@"
    done
    ;;
  scale) sweep "$TARGETS" "${RANKS:-$RANK}" "${ALPHAS:-2r,32,128}" alpha/r "${LRS:-3e-4,1e-3,3e-3,1e-2}" "$@" ;;
  lr) sweep "$TARGETS" "${RANKS:-$RANK}" "${ALPHAS:-$(recipe train.lora_alpha)}" alpha/r "${LRS:-1e-4,3e-4,1e-3,3e-3,1e-2}" "$@" ;;
esac

# What is decoded: the first TEST records of the test set. It is only written when it changes, for its time says what to redo.
head -n "${TEST:-1000000000}" "$DATA/test.jsonl" > "$ROOT/.test.new"
if cmp -s "$ROOT/.test.new" "$ROOT/test.jsonl"; then rm "$ROOT/.test.new"; else mv "$ROOT/.test.new" "$ROOT/test.jsonl"; fi

# Members without predictions newer than adapter and test set; one search after the other over one base in memory.
CHOSEN=$(recipe checkpoint)
WAITING=() CHECKPOINTS=()
for MEMBER in "$ROOT"/members/*/; do
  CHECKPOINT=$(RUN=${MEMBER%/} && adapter "$CHOSEN")
  [ -f "$CHECKPOINT/adapter.safetensors" ] || continue # it diverged
  CHECKPOINTS+=("$CHECKPOINT")
  FOUND=$CHECKPOINT/predictions.jsonl
  if [ ! "$FOUND" -nt "$CHECKPOINT/adapter.safetensors" ] || [ ! "$FOUND" -nt "$ROOT/test.jsonl" ]; then
    WAITING+=("$CHECKPOINT")
  fi
done
if ((${#WAITING[@]})); then
  launch decode --checkpoint "$(IFS=, && echo "${WAITING[*]}")" --data "$ROOT/test.jsonl" $(recipe decode)
fi
for CHECKPOINT in "${CHECKPOINTS[@]}"; do
  SCORES=${CHECKPOINT%/best}/scores.json
  if [ "$SCORES" -nt "$CHECKPOINT/predictions.jsonl" ]; then continue; fi
  DATA=$ROOT PREDICTIONS=$CHECKPOINT/predictions.jsonl SCORES=$SCORES scripts/eval.sh "$CORPUS"
done
python eval/study_table.py "$STUDY" "$CORPUS" "$ROOT"
