#!/usr/bin/env bash
# Train, select by validation, decode and score N seeds, then print mean ± deviation in the paper's row format.
#   scripts/run_seeds.sh e2e 3 [flags for train]
# Run it again, with the same flags, after an interruption or for more seeds: what is finished is not run again.
# RECIPE=readme takes the last epoch instead of the best one.
set -euo pipefail
. "$(dirname "$0")/env.sh"
USAGE="N [flags for train]"
. scripts/recipe.sh
N=${1:?"give the number of seeds: scripts/run_seeds.sh $CORPUS $USAGE"}
shift
refuse_moves "$@"
ROOT=${ROOT:-runs/$CORPUS-seeds-$RECIPE}
if [ "$RECIPE" = readme ]; then EPOCH=last; else EPOCH=best; fi
RANK=$(recipe train.lora_dim) ALPHA=$(recipe train.lora_alpha)

# What the end of the first seed needs is looked for before its beginning.
needed() { [ -f "$1" ] || { echo "$0: no file $1, $2; make it with scripts/prepare.sh $CORPUS" >&2; exit 1; }; }
if [ $EPOCH = best ]; then
  if [[ " $* " =~ " --valid_data"[=\ ](null|none|\ ) ]]; then
    echo "$0: the best epoch is chosen by validation; leave out --valid_data, or take the last with RECIPE=readme" >&2
    exit 1
  fi
  [[ " $* " == *" --valid_data"* ]] || needed "$DATA/valid.jsonl" "which chooses the best epoch (RECIPE=readme takes the last)"
fi
needed "$DATA/test.jsonl" "which is decoded and scored"

SCORED=()
for SEED in $(seq 1 "$N"); do
  export SEED RUN=$ROOT/seed-$SEED
  CHECKPOINT=$(adapter $EPOCH)
  scripts/train.sh "$CORPUS" "$@" # returns at once if it is finished, and refuses other flags than the first time's
  if [ "$RUN/scores.json" -nt "$CHECKPOINT/adapter.safetensors" ]; then
    echo "seed $SEED: already scored"
  else
    CHECKPOINT=$CHECKPOINT scripts/decode.sh "$CORPUS"
    scripts/eval.sh "$CORPUS"
  fi
  SCORED+=("$RUN/scores.json")
done
python eval/paper_table.py "$CORPUS" "${SCORED[@]}" \
  --base "${MODEL:-$BASE}" --label "LoRA r=$RANK, alpha=$ALPHA, $EPOCH epoch" --out "$ROOT/table.md"
