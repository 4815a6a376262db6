"""The report's names of a run's files are those that `lora-nlg train` and `decode` write."""

from __future__ import annotations

import pytest

from nlg_metrics.report import run_files

run_folder = pytest.importorskip("lora_nlg.run_folder", reason="the training package is not here")


def test_both_packages_name_the_same_files() -> None:
    assert run_files.CONFIG == run_folder.CONFIG
    assert run_files.ADAPTER == run_folder.ADAPTER_DESCRIPTION
    assert run_files.METRICS == run_folder.METRICS
    assert run_files.PREDICTIONS == run_folder.PREDICTIONS
