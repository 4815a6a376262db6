"""Both packages' messages are one line fit for a terminal, whatever a file brought into them."""

import pytest

import lora_nlg.errors
import nlg_metrics.errors


@pytest.mark.parametrize("errors", [lora_nlg.errors, nlg_metrics.errors])
def test_a_message_is_one_line(errors):
    assert str(errors.InputError("no file café → x.jsonl")) == "no file café → x.jsonl"
    assert str(errors.InputError("a\nb\x1b[31m\u2028\x9b")) == r"a\nb\x1b[31m\u2028\x9b"
    long = str(errors.InputError("begins " + "x" * 100_000 + " ends"))
    assert len(long) < 1300 and long.startswith("begins x") and long.endswith("x ends")
