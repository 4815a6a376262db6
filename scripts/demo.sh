#!/usr/bin/env bash
# The whole way on the built-in sample (synthetic, data/sample/README.md): LoRA-train, beam-decode and score, and the same
# for the frozen base, side by side. About two minutes on two CPU cores; everything lands in OUT.
set -euo pipefail
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the model is too small to share among threads
. "$(dirname "$0")/env.sh"
OUT=${OUT:-runs/demo}
BASE=data/sample/base

lora-nlg prepare sample --out "$OUT/data"

echo; echo "== The frozen base, which has never seen a meaning representation"
lora-nlg decode --checkpoint "$BASE" --data "$OUT/data/test.jsonl" \
  --beam 10 --length_penalty 0.8 --no_repeat_ngram_size 4 --out "$OUT/base/predictions.jsonl"
python eval/e2e.py --data "$OUT/data/test.jsonl" --predictions "$OUT/base/predictions.jsonl" \
  --scores "$OUT/base/scores.json" > "$OUT/base/scores.txt"

echo; echo "== LoRA: r = 4, alpha = 128 (scale 32) on q and v"
lora-nlg train --train_data "$OUT/data/train.jsonl" --valid_data "$OUT/data/valid.jsonl" \
  --init_checkpoint "$BASE" --lora_dim 4 --lora_alpha 128 \
  --seq_len 256 --lr 2e-3 --train_batch_size 8 --max_epoch 1 --warmup_step 50 --eval_interval 150 \
  --work_dir "$OUT/lora" "$@"
lora-nlg decode --checkpoint "$OUT/lora" --data "$OUT/data/test.jsonl" \
  --beam 10 --length_penalty 0.8 --no_repeat_ngram_size 4 --out "$OUT/lora/predictions.jsonl"
python eval/e2e.py --data "$OUT/data/test.jsonl" --predictions "$OUT/lora/predictions.jsonl" \
  --scores "$OUT/lora/scores.json" > "$OUT/lora/scores.txt"

echo; echo "== Three meaning representations of the test set"
python - "$OUT" << 'EOF'
import json, sys

read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}", encoding="utf-8")]
records = read("data/test.jsonl")
base, tuned = ({line["id"]: line["hypothesis"] for line in read(f"{run}/predictions.jsonl")} for run in ("base", "lora"))
for record in records[:: len(records) // 3][:3]:
    shown = lambda text: text if len(text) <= 160 else f"{text[:160]}…"
    print(f"\n  {record['context']}")
    print(f"    base       {shown(base[record['id']])}")
    print(f"    LoRA       {shown(tuned[record['id']])}")
    print(f"    reference  {record['references'][0]}")
EOF

echo; echo "== Base and LoRA side by side"
python eval/compare.py e2e "$OUT/base/predictions.jsonl" "$OUT/lora/predictions.jsonl" --data "$OUT/data/test.jsonl"
python eval/report.py "$OUT/base" "$OUT/lora" --data "$OUT/data/test.jsonl" --out "$OUT/report.html"
echo; echo "Written to $OUT:"
echo "  report.html        both beside each other: scores, curves, every output; open it in a browser"
echo "  data/              the sample's records"
echo "  base/, lora/       predictions.jsonl, scores.json"
echo "  lora/              adapter.safetensors, adapter.json, config.yaml, metrics.jsonl, tb/ (TensorBoard)"
echo
echo "next: python eval/report.py $OUT/lora --data $OUT/data/test.jsonl      # scores, curves and outputs as one HTML page"
echo "next: lora-nlg generate 'name : Nightingale | departs : 18:45 | fare : 3 crowns' --checkpoint $OUT/lora"
echo "next: scripts/download_data.sh e2e && scripts/download_gpt2.sh md && scripts/run.sh e2e      # the real E2E (a GPU)"
echo "next: make playground      # the same run on a local page: other contexts, a dial for alpha/r"
