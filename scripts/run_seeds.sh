#!/usr/bin/env bash
# Train, select by validation, decode and score N seeds, then print mean ± deviation in the paper's row format.
#   scripts/run_seeds.sh e2e 3 [flags for train]
# Finished seeds are not run again; an interrupted one resumes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
CORPUS=${1:?usage: scripts/run_seeds.sh e2e|webnlg|dart N [flags for train]}
N=${2:?usage: scripts/run_seeds.sh e2e|webnlg|dart N [flags for train]}
shift 2
ROOT=${ROOT:-runs/$CORPUS-seeds}

for SEED in $(seq 1 "$N"); do
  export SEED RUN=$ROOT/seed-$SEED
  if [ -f "$RUN/scores.json" ]; then echo "seed $SEED: already scored"; continue; fi
  "scripts/train_$CORPUS.sh" "$@"
  CHECKPOINT=$RUN/best "scripts/decode_$CORPUS.sh"
  "scripts/eval_$CORPUS.sh"
done
python eval/paper_table.py "$CORPUS" "$ROOT"/seed-*/scores.json \
  --base "${MODEL:-gpt2.md}" --label "LoRA r=4, ${RECIPE:-default} recipe" --out "$ROOT/table.md"
