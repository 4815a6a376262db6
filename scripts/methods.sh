#!/usr/bin/env bash
# Every tuning method on one base under one protocol (docs/methods.md): the learning rate of each by validation loss, N seeds
# at that rate with the corpus's recipe, the checkpoint that is best by validation decoded and scored, one table.
#   scripts/methods.sh e2e 3 [flags for train]
#   MODEL=gpt2.nano BASE=runs/nano/model METHODS="lora full bitfit" STEPS=300 GRID_STEPS=60 scripts/methods.sh e2e 1
# Run it again to continue or to add seeds and methods. Started twice, also on other machines that share the folder, both
# share the parts; on one machine WORKERS (default: its GPUs) do.
#   METHODS     presets of scripts/recipes/methods.yaml; default: those it compares
#   STEPS       optimiser steps of a run, alike for all methods; default: the recipe's epochs
#   GRID_STEPS  optimiser steps of a short run that tries a rate; default: methods.yaml's
#   GRID        rates to try, for all methods; default: each preset's
#   VALID       texts whose loss is validated; default: all, in short runs methods.yaml's
#   TEST        contexts decoded, spread evenly over the test set; default: all
#   BEAM        beams; default: the recipe's
#   ROOT        where everything goes; default: runs/methods/CORPUS
set -euo pipefail
. "$(dirname "$0")/env.sh"
RECIPE=${RECIPE:-paper} USAGE="N [flags for train]"
export RECIPE
. scripts/recipe.sh
N=${1:?"give the number of seeds: scripts/methods.sh $CORPUS $USAGE"}
shift
refuse_moves "$@"
ROOT=${ROOT:-runs/methods/$CORPUS}
presets() { lora-nlg recipe methods "$@" ${MODEL:+--model "$MODEL"}; }
METHODS=${METHODS:-$(presets compared)}
export MODEL BASE

# What the first run was told, for a table of runs that were told different things says nothing.
settings="base: ${MODEL:-} $BASE, data: $DATA, recipe: $RECIPE, steps: ${STEPS:-all}, rates: ${GRID:-presets}
at ${GRID_STEPS:-methods.yaml} steps, validated: ${VALID:-all}, tested: ${TEST:-all}, beam: ${BEAM:-recipe}${*:+, $*}"
mkdir -p "$ROOT"
if [ ! -e "$ROOT/settings" ]; then echo "$settings" > "$ROOT/settings"; fi
if [ "$settings" != "$(cat "$ROOT/settings")" ]; then
  echo "$0: $ROOT was begun with other settings; go on with those, or name another folder with ROOT=. They were:" >&2
  cat "$ROOT/settings" >&2
  exit 2
fi

# One worker a GPU; each goes through all parts and leaves out what another is at.
WORKERS=${WORKERS:-$(nvidia-smi --list-gpus 2> /dev/null | grep -c . || true)}
if ((WORKERS > 1)); then
  pids=()
  for worker in $(seq 0 $((WORKERS - 1))); do
    WORKERS=1 CUDA_VISIBLE_DEVICES=$worker scripts/methods.sh "$CORPUS" "$N" "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  exit
fi

mkdir -p "$ROOT/data"
if [ ! -e "$ROOT/data/test.jsonl" ]; then # what is decoded: TEST contexts, or all
  awk -v most="${TEST:-0}" -v all="$(wc -l < "$DATA/test.jsonl")" \
    'most == 0 || int(NR * most / all) > int((NR - 1) * most / all)' "$DATA/test.jsonl" > "$ROOT/data/.test.$$"
  mv "$ROOT/data/.test.$$" "$ROOT/data/test.jsonl"
fi

lora-nlg methods --presets "$CORPUS" ${MODEL:+--model_card "$MODEL"} --init_checkpoint "$BASE" --json "$ROOT/methods.json"

# part FOLDER COMMAND …: runs a part's command, unless it is done or another process is at it, which `left` counts.
part() {
  local folder=$1 status
  shift
  if [ -e "$folder/done" ]; then return; fi
  mkdir -p "$folder"
  set +e
  (
    set -e
    flock --nonblock 9 || exit 75
    if [ -e "$folder/done" ]; then exit 0; fi
    "$@"
    touch "$folder/done"
  ) 9> "$folder/.part"
  status=$?
  set -e
  if ((status == 75)); then left=$((left + 1)); elif ((status)); then exit "$status"; fi
}

# A short run at one rate; only its log is kept. One whose loss is no longer finite has been tried, too.
try_rate() {
  local run=$ROOT/rates/$1/$2 flags
  flags="$(presets rate_search) ${GRID_STEPS:+--max_step $GRID_STEPS} ${VALID:+--valid_examples $VALID}"
  if PRESET=$1 RUN=$run scripts/train.sh "$CORPUS" $flags --lr "$2" "${@:3}" 2>&1 | tee "$run/log" >&2; then
    rm -rf "$run/snapshots" "$run/tokenizer" "$run/model" "$run/best" "$run"/adapter.*
  else
    grep -q "last finite snapshot" "$run/log"
  fi
}

# A seed at the best rate: train, decode the checkpoint that validates best, score.
run_seed() {
  local run=$ROOT/$1/seed-$2 rate short=""
  rate=$(nlg-score methods "$ROOT" --best_rate "$1")
  if [ -n "${STEPS:-}" ]; then # five validations, as the recipe's epochs have
    short="$(presets short) --max_step $STEPS --eval_interval $(((STEPS + 4) / 5)) --log_interval $(((STEPS + 9) / 10))"
  fi
  PRESET=$1 SEED=$2 RUN=$run scripts/train.sh "$CORPUS" $short ${VALID:+--valid_examples "$VALID"} \
    --lr "$rate" --keep_last 1 "${@:3}"
  DATA=$ROOT/data RUN=$run CHECKPOINT=$run/best scripts/decode.sh "$CORPUS" ${BEAM:+--beam "$BEAM"}
  DATA=$ROOT/data RUN=$run scripts/eval.sh "$CORPUS"
}

# One look at every part.
look() {
  local preset rate seed before
  for preset in $METHODS; do
    before=$left
    for rate in ${GRID:-$(presets "presets.$preset.grid")}; do
      part "$ROOT/rates/$preset/$rate" try_rate "$preset" "$rate" "$@"
    done
    if ((left > before)); then continue; fi
    for seed in $(seq 1 "$N"); do
      part "$ROOT/$preset/seed-$seed" run_seed "$preset" "$seed" "$@"
    done
  done
}

left=1
while ((left)); do
  left=0
  look "$@"
  if ((left)); then sleep 5; fi
done

shown nlg-score methods "$ROOT" --corpus "$CORPUS"
runs=$(ls -d "$ROOT"/*/seed-*/done | xargs -n 1 dirname)
shown nlg-score report $runs --data "$ROOT/data/test.jsonl" --suite "$CORPUS" --out "$ROOT/report.html"
