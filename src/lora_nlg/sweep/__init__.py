"""A grid of adapters trained on one frozen base, several in one batched forward pass, by one process or many."""

from lora_nlg.sweep.engine import Trained, train_group
from lora_nlg.sweep.generation import Generation, chosen_records
from lora_nlg.sweep.grid import Member, expand_grid, groups_of, parse_target_lists
from lora_nlg.sweep.group import Group, group_id
from lora_nlg.sweep.member_run import write_member
from lora_nlg.sweep.plots import FIGURE, write_figure
from lora_nlg.sweep.results import (
    RESULTS,
    member_folder,
    read_results,
    read_row,
    write_results,
    write_row,
    write_table,
)
from lora_nlg.sweep.settings import SweepSettings
from lora_nlg.sweep.sharing import Task, from_place, share_out

__all__ = [
    "FIGURE",
    "RESULTS",
    "Generation",
    "Group",
    "Member",
    "SweepSettings",
    "Task",
    "Trained",
    "chosen_records",
    "expand_grid",
    "from_place",
    "group_id",
    "groups_of",
    "member_folder",
    "parse_target_lists",
    "read_results",
    "read_row",
    "share_out",
    "train_group",
    "write_figure",
    "write_member",
    "write_results",
    "write_row",
    "write_table",
]
