#!/usr/bin/env bash
# 70.4 or 68.8? The factorial that could tell: length penalty 0.8/0.9 × checkpoint (last, best by validation loss, best by
# validation BLEU) × seeds. One training serves all six cells of a seed, one search both penalties and all checkpoints that
# are of the same step, and finished parts are not run again.
#   scripts/ablation_704.sh 3 [flags for train]
set -euo pipefail
. "$(dirname "$0")/env.sh"
N=${1:?usage: scripts/ablation_704.sh N [flags for train]}
shift
refuse_moves "$@"
ROOT=${ROOT:-runs/ablation_704}
export RECIPE=${RECIPE:-paper}

for SEED in $(seq 1 "$N"); do
  export SEED RUN=$ROOT/train-$SEED
  scripts/train.sh e2e --valid_bleu true "$@"
  for NAME in last best_loss best_bleu; do
    case $NAME in
      last) FROM=$RUN ;;
      best_loss) FROM=$RUN/best ;;
      best_bleu) FROM=$RUN/best_bleu ;;
    esac
    STEP=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["step"])' "$FROM/adapter.json")
    DECODED=$RUN/decoded/step-$STEP
    if [ ! "$DECODED/predictions.lp0.8.jsonl" -nt "$FROM/adapter.safetensors" ]; then # that file is written last
      CHECKPOINT=$FROM PREDICTIONS=$DECODED/predictions.jsonl \
        scripts/decode.sh e2e --length_penalty 0.9 --more_length_penalties 0.8
    fi
    for PENALTY in 0.8 0.9; do
      SCORES=$ROOT/seed-$SEED/$NAME/penalty-$PENALTY/scores.json
      if [ "$PENALTY" = 0.9 ]; then FILE=predictions.jsonl; else FILE=predictions.lp0.8.jsonl; fi
      if [ "$SCORES" -nt "$DECODED/$FILE" ]; then continue; fi
      PREDICTIONS=$DECODED/$FILE SCORES=$SCORES scripts/eval.sh e2e
    done
  done
done
python eval/ablation_table.py "$ROOT" --out "$ROOT/table.md"
