#!/usr/bin/env bash
# Train, select by validation, decode and score N seeds, then print mean ± deviation in the paper's row format.
#   scripts/run_seeds.sh e2e|webnlg|dart N [flags for train]
# Run it again, with the same flags, after an interruption or for more seeds: what is finished is not run again.
# RECIPE=readme takes the last epoch instead of the best one.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/recipe.sh
if (($# < 2)) || [ ! -f "scripts/train_$1.sh" ]; then sed -n 3p "$0" >&2; exit 2; fi
CORPUS=$1 N=$2
shift 2
refuse_moves "$@"
ROOT=${ROOT:-runs/$CORPUS-seeds-$RECIPE}
if [ "$RECIPE" = readme ]; then EPOCH=last; else EPOCH=best CHOSEN=/best; fi

SCORED=()
for SEED in $(seq 1 "$N"); do
  export SEED RUN=$ROOT/seed-$SEED
  "scripts/train_$CORPUS.sh" "$@" # returns at once if it is finished, and refuses other flags than the first time's
  if [ "$RUN/scores.json" -nt "$RUN$CHOSEN/adapter.safetensors" ]; then
    echo "seed $SEED: already scored"
  else
    CHECKPOINT=$RUN$CHOSEN "scripts/decode_$CORPUS.sh"
    "scripts/eval_$CORPUS.sh"
  fi
  SCORED+=("$RUN/scores.json")
done
python eval/paper_table.py "$CORPUS" "${SCORED[@]}" \
  --base "${MODEL:-$BASE}" --label "LoRA r=4, alpha=$ALPHA, $EPOCH epoch" --out "$ROOT/table.md"
