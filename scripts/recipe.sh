# Sourced by the scripts that take a corpus: what is worked on, and the recipe's values, scripts/recipes/CORPUS.yaml.
# Variables may also be given as words in front: scripts/train.sh DATA=data/mine. With DATA alone, and no corpus, the
# records are one's own: recipe table, run runs/NAME.
while [[ ${1:-} =~ ^[A-Z]+= ]]; do
  export "$1"
  shift
done
if [[ ${1:--} != -* ]]; then
  CORPUS=$1
  shift
elif [ -n "${DATA:-}" ]; then
  CORPUS=table RUN=${RUN:-runs/$(basename "$DATA")}
else
  names=$(printf '%s\n' scripts/recipes/*.yaml | xargs -n 1 basename -s .yaml | grep -vx methods | paste -sd '|')
  echo "usage: $0 ${STUDY:+$STUDY }$names ${USAGE:-[flags]}, or $0 ${STUDY:+$STUDY }DATA=FOLDER ${USAGE:-[flags]} for records of your own" >&2
  exit 2
fi
export RUN=${RUN:-runs/$CORPUS} DATA=${DATA:-data/$CORPUS} RAW=${RAW:-data/raw/$CORPUS}
RECIPE=${RECIPE:-default}
# BASE alone is any GPT-2 with its config.json; MODEL alone is a released size.
if [ -z "${BASE:-}" ]; then BASE=pretrained/${MODEL:=gpt2.md}; fi

# Prints sections of the recipe as flags, or single values: `recipe train`, `recipe global_batch`. PRESET is a tuning
# method of scripts/recipes/methods.yaml; without it the method is LoRA.
recipe() {
  lora-nlg recipe "$CORPUS" "$@" --variant "$RECIPE" ${MODEL:+--model "$MODEL"} ${PRESET:+--preset "$PRESET"}
}

# The run's adapter that is decoded: last or best.
adapter() {
  if [ "$1" = last ]; then echo "$RUN"; else echo "$RUN/$1"; fi
}
