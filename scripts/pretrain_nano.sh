#!/usr/bin/env bash
# A base for machines without a GPU: gpt2.nano (4 layers of 256) with a SentencePiece vocabulary, pretrained on the texts
# of the prepared corpora without their meaning representations. It knows the language of the domain, not the task.
#   CORPORA="data/e2e/train.jsonl data/webnlg/train.jsonl" OUT=runs/nano scripts/pretrain_nano.sh
# The base is then BASE=$OUT/model MODEL=gpt2.nano for scripts/train.sh. The corpora must be prepared.
set -euo pipefail
. "$(dirname "$0")/env.sh"
CORPORA=${CORPORA:-data/e2e/train.jsonl data/webnlg/train.jsonl data/dart/valid.jsonl}
OUT=${OUT:-runs/nano}
FILES=${CORPORA// /,}
BATCH=$(share 16)
# Processors without AVX-512 have no bf16 products: emulated, they take some twenty times as long.
DTYPE=${DTYPE:-$(grep -qs avx512 /proc/cpuinfo && echo bf16 || echo fp32)}

lora-nlg train-tokenizer --input "$FILES" --vocab_size "${VOCAB_SIZE:-4096}" --out "$OUT/vocab"
lora-nlg extract-text --input "$FILES" --join 4 --out "$OUT/texts.jsonl"
launch train \
  --train_data "$OUT/texts.jsonl" --tokenizer "$OUT/vocab" \
  --init random --model_card gpt2.nano --n_positions 512 --lora_dim 0 \
  --train_batch_size "$BATCH" --lr 2e-3 --warmup_step 200 --max_epoch 1 --dtype "$DTYPE" \
  --work_dir "$OUT" "$@"
