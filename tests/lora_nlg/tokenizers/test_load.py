"""Which vocabulary a path holds, and what is said when it holds none."""

from __future__ import annotations

import pytest

from lora_nlg.errors import InputError
from lora_nlg.tokenizers import load_tokenizer


def test_what_was_found_and_what_is_allowed(tmp_path):
    with pytest.raises(InputError, match=r"no vocabulary at .*absent; give a folder or file with encoder\.json"):
        load_tokenizer(tmp_path / "absent")
    with pytest.raises(InputError, match="found nothing"):
        load_tokenizer(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"found 'notes\.txt'\); allowed: encoder\.json \+ vocab\.bpe"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"notes\.txt is not a vocabulary this project reads"):
        load_tokenizer(tmp_path / "notes.txt")
    (tmp_path / "config.json").write_text('{"n_layer": 4}')
    with pytest.raises(InputError, match=r"config\.json is not a tokenizer\.json"):
        load_tokenizer(tmp_path / "config.json")


@pytest.mark.parametrize(("one", "other"), [("encoder.json", "vocab.bpe"), ("merges.txt", "vocab.json")])
def test_half_a_pair(tmp_path, one, other):
    (tmp_path / one).write_text("{}")
    for place in (tmp_path, tmp_path / one):
        with pytest.raises(InputError, match=f"{one} needs {other} beside it"):
            load_tokenizer(place)


def test_two_kinds_in_a_folder(tmp_path):
    for name in ("a.model", "vocab.json", "merges.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"more than one vocabulary \('a\.model', 'vocab\.json', 'merges\.txt'\)"):
        load_tokenizer(tmp_path)
