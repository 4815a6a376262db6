"""A grid of adapters trained in one process on one frozen base, several in one batched forward pass."""

from lora_nlg.sweep.engine import Group, train_group
from lora_nlg.sweep.grid import Member, expand_grid
from lora_nlg.sweep.results import read_results, write_table
from lora_nlg.sweep.settings import SweepSettings

__all__ = ["Group", "Member", "SweepSettings", "expand_grid", "read_results", "train_group", "write_table"]
