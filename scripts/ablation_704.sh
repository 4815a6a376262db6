#!/usr/bin/env bash
# 70.4 or 68.8? The factorial that could tell: length penalty 0.8/0.9 × checkpoint (last, best by validation loss, best by
# validation BLEU) × seeds. One training serves all six cells of a seed, one search both penalties, and finished parts are
# not run again.
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
  scripts/train_e2e.sh --valid_bleu true "$@"
  for NAME in last best_loss best_bleu; do
    case $NAME in
      last) FROM=$RUN ;;
      best_loss) FROM=$RUN/best ;;
      best_bleu) FROM=$RUN/best_bleu ;;
    esac
    ROW=$ROOT/seed-$SEED/$NAME
    if [ ! -f "$ROW/predictions.lp0.8.jsonl" ]; then # written last
      CHECKPOINT=$FROM PREDICTIONS=$ROW/predictions.jsonl \
        scripts/decode_e2e.sh --length_penalty 0.9 --more_length_penalties 0.8
    fi
    for PENALTY in 0.8 0.9; do
      SCORES=$ROW/penalty-$PENALTY/scores.json
      if [ -f "$SCORES" ]; then continue; fi
      PREDICTIONS=$ROW/predictions.jsonl
      if [ "$PENALTY" = 0.8 ]; then PREDICTIONS=$ROW/predictions.lp0.8.jsonl; fi
      PREDICTIONS=$PREDICTIONS SCORES=$SCORES scripts/eval_e2e.sh
    done
  done
done
python eval/ablation_table.py "$ROOT" --out "$ROOT/table.md"
