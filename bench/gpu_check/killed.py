"""`lora-nlg`, killed from inside when a step's batch is about to run: however fast the device, it is in the middle.

python -m gpu_check.killed STEP COMMAND [OPTION …]
"""

from __future__ import annotations

import os
import signal
import sys

from lora_nlg.__main__ import main
from lora_nlg.training import step


def kill_at(number: int) -> None:
    """Have this process kill itself before a training step's first forward pass."""
    seed_step = step.seed_step

    def seed_or_die(seed: int, now: int, rank: int, micro_batch: int) -> None:
        if now == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seed_step(seed, now, rank, micro_batch)

    step.seed_step = seed_or_die


if __name__ == "__main__":
    kill_at(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
