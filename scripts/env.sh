# Sourced by the other scripts: run from the repository's root, with its environment, on quiet memory.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv ]; then export PATH="$PWD/.venv/bin:$PATH"; fi
# glibc maps and unmaps every large temporary by default; keeping them saves page faults in training on a CPU.
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1000000000000}
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
# torchrun sets one thread a rank unless told otherwise; share the machine's cores among the ranks instead.
export NPROC=${NPROC:-1}
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > NPROC ? cores / NPROC : 1))}

# Runs a lora-nlg command on NPROC ranks; a single one needs no torchrun and prints its errors without torchrun's.
launch() {
  if [ "$NPROC" = 1 ]; then python -m lora_nlg "$@"; else torchrun --standalone --nproc_per_node="$NPROC" -m lora_nlg "$@"; fi
}
