# Sourced by the other scripts: run from the repository's root, with its environment, on quiet memory.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v lora-nlg > /dev/null && [ -d .venv ]; then export PATH="$PWD/.venv/bin:$PATH"; fi
command -v lora-nlg > /dev/null || { echo "lora-nlg is not installed here; run: make setup" >&2; exit 1; }
# glibc maps and unmaps every large temporary by default; keeping them saves page faults in training on a CPU.
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1000000000000}
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
# Ranks on this machine, and machines. torchrun sets one thread a rank unless told otherwise; share the cores instead.
export NPROC=${NPROC:-1} NODES=${NODES:-1}
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > NPROC ? cores / NPROC : 1))}

# Prints a command, very long words cut short, and runs it.
shown() {
  local word line=+
  for word in "$@"; do
    if ((${#word} > 300)); then word="${word:0:200}... (${#word} characters)"; fi
    line+=" $word"
  done
  echo "$line" >&2
  "$@"
}

# Runs a lora-nlg command on all ranks. A single one needs no torchrun, and prints its errors without torchrun's. Several
# machines meet at RENDEZVOUS (host:port); scripts/slurm/train.sbatch sets all that.
launch() {
  if ((NPROC * NODES == 1)); then
    shown lora-nlg "$@"
  elif ((NODES == 1)); then
    shown torchrun --standalone --nproc_per_node="$NPROC" -m lora_nlg "$@"
  else
    shown torchrun --nnodes="$NODES" --nproc_per_node="$NPROC" --max-restarts=3 \
      --rdzv_backend=c10d --rdzv_id="${RENDEZVOUS_ID:-lora-nlg}" --rdzv_endpoint="${RENDEZVOUS:?set it to HOST:PORT}" \
      -m lora_nlg "$@"
  fi
}

# A rank's share of a batch, so that the number of ranks doesn't change the training.
share() {
  local ranks=$((NPROC * NODES))
  if (($1 % ranks)); then echo "a batch of $1 can't be shared equally by $ranks ranks; set NPROC to a divisor" >&2; return 2; fi
  echo $(($1 / ranks))
}

# Scripts of several steps find the run by RUN; flags that move it for train alone would have the rest use another.
refuse_moves() {
  case " $* " in
    *" --work_dir"*) echo "name the run with RUN=..., not with --work_dir: decode and eval must find it too" >&2; exit 2 ;;
  esac
}
