"""The playground's answers against `lora-nlg decode` and `generate`, a search of its own, a forward pass of its own."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lora_nlg.__main__ import main
from lora_nlg.api.decoding import CheckpointSettings
from lora_nlg.commands.generate import as_trained
from lora_nlg.commands.playground import e2e_states, recorded_data, shell_command
from lora_nlg.corpora.record import Record
from lora_nlg.decoding import BeamSettings, Decoder, SamplingSettings, fold_for_decoding
from lora_nlg.errors import InputError
from lora_nlg.gpt2.attention import FlatAttention
from lora_nlg.playground import Corpus, Playground, Question, SlotState, load_systems
from lora_nlg.playground.slots import literal_states
from lora_nlg.playground.words import words
from lora_nlg.weights import load_run

from .conftest import BASE

SEARCH = BeamSettings(beam=4, n_best=3, eval_len=12)
CONTEXT = "name : Red Lantern | fare : 3 crowns"


def texts(playground: Playground, factor: float, system: str = "one", search: BeamSettings = SEARCH) -> list[tuple]:
    answer = playground.ask(Question(system, factor, CONTEXT, search))
    return [(answer.hypotheses[index].text, score) for index, score in answer.rankings[search.length_penalty]]


def decoded(checkpoint: Path, data: Path, out: Path, *more: str) -> list[tuple]:
    flags = ["--beam", "4", "--n_best", "3", "--eval_len", "12", "--out", str(out), *more]
    assert main(["decode", "--checkpoint", str(checkpoint), "--data", str(data), *flags]) == 0
    first = json.loads(out.read_text().splitlines()[0])
    return [(own["hypothesis"], own["score"]) for own in first["n_best"]]


def test_the_dial_gives_what_decode_writes(playground: Playground, runs: Path, tmp_path: Path) -> None:
    data, out = runs / "test.jsonl", tmp_path / "out.jsonl"
    trained = texts(playground, 1.0)
    half = texts(playground, 0.5)
    assert trained == decoded(runs / "one", data, out)
    assert texts(playground, 0.0) == decoded(BASE, data, out)
    assert half == decoded(runs / "one", data, out, "--scale_factor", "0.5")
    assert texts(playground, 1.0, "two") == decoded(runs / "two", data, out)
    assert texts(playground, 1.0) == trained  # turned back, and another run asked in between
    assert len({str(own) for own in (trained, half, texts(playground, 0.0), texts(playground, 1.0, "two"))}) == 4


def test_another_ranking_equals_a_search_of_its_own(playground: Playground, runs: Path) -> None:
    run = load_run(runs / "one")
    search = replace(SEARCH, eval_len=48)  # room for ends of several lengths
    answer = playground.ask(Question("one", 1.0, CONTEXT, search))
    orders = set()
    for penalty in (0.0, 0.8, 1.3, 2.0):
        decoder = Decoder(fold_for_decoding(run.model), run.tokenizer, replace(search, length_penalty=penalty))
        ((_, alone),) = decoder.decode([CONTEXT])
        ranking = answer.rankings[penalty]
        assert [(answer.hypotheses[index].tokens, score) for index, score in ranking] == [
            (own.tokens, own.score) for own in alone
        ]
        orders.add(tuple(index for index, _ in ranking))
    assert len(orders) > 1


def test_the_command_prints_the_answer(playground: Playground, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = [
        Question(str(runs / "one"), 1.0, CONTEXT, SEARCH),
        Question(str(runs / "one"), 17 / 32, "it's <b>$HOME</b> | x", replace(SEARCH, semantics="hf", min_length=3)),
        Question(str(runs / "one"), 0.0, CONTEXT, SEARCH, SamplingSettings(temperature=0.7, random_seed=5)),
    ]
    for question in ways:
        answer = playground.ask(replace(question, system="one"))
        for penalty in list(answer.rankings)[::10]:
            command = [*shlex.split(shell_command(question, CheckpointSettings(""))), "--length_penalty", str(penalty)]
            assert command[0] == "lora-nlg" and main(command[1:]) == 0
            shown = [f"{score:8.4f}  {answer.hypotheses[index].text}" for index, score in answer.rankings[penalty]]
            assert capsys.readouterr().out == "".join(f"{line}\n" for line in shown)


def test_the_base_is_in_memory_once(playground: Playground) -> None:
    one, two = (playground.systems[name] for name in ("one", "two"))
    layers = [own.decoder(factor, SEARCH).model for own in (one, two) for factor in (0.0, 0.7)]
    assert len({id(model.blocks[0].fc) for model in layers}) == len({id(model.head) for model in layers}) == 1
    # The base itself twice, and a fold for each run: only what is adapted is there more than once.
    assert len({id(model.blocks[0].c_attn) for model in layers}) == 3


def test_word_probabilities_are_the_models_own(playground: Playground, runs: Path) -> None:
    free = replace(SEARCH, no_repeat_ngram_size=0)  # a ban would shift what the search sums up
    answer = playground.ask(Question("one", 1.0, CONTEXT, free))
    tokens = [own.tokens for own in answer.hypotheses]
    found = playground.words(Question("one", 1.0, CONTEXT, free), tokens)
    run = load_run(runs / "one")
    prompt = [*run.tokenizer.encode(CONTEXT), run.tokenizer.eos_id]
    for hypothesis, own in zip(answer.hypotheses, found, strict=True):
        assert sum(word.log_prob for word in own) == pytest.approx(hypothesis.log_prob, abs=1e-3)
        assert "".join(word.text for word in own).strip() == hypothesis.text
        assert (own[-1].text == "") == hypothesis.finished
        stream = torch.tensor([*prompt, *hypothesis.tokens])
        with torch.no_grad():  # through the model in training form, with its LoRA layers
            hidden = run.model(stream, torch.arange(len(stream)), FlatAttention([len(stream)]))
            reference = (hidden @ run.model.head_weight.t()).log_softmax(-1)
        first = sum(reference[len(prompt) - 1 + i, token] for i, token in enumerate(hypothesis.tokens))
        assert sum(word.log_prob for word in own) == pytest.approx(float(first), abs=1e-3)


def test_words_are_whole_characters_and_keep_their_space(playground: Playground) -> None:
    decoder = playground.systems["one"].decoder(1.0, SEARCH)
    text = " The café \U0001f600 — naïve"
    tokens = decoder.tokenizer.encode(text)
    found = [word.text for word in words(decoder, "", [*tokens, decoder.tokenizer.eos_id])]
    assert "".join(found) == text and found[-1] == ""
    assert [word.strip() for word in found[:-1] if word.strip()] == text.split()
    assert words(decoder, "", []) == []


def test_samples_are_ranked_by_their_own_penalty_alone(playground: Playground) -> None:
    question = Question("one", 1.0, CONTEXT, SEARCH, SamplingSettings(random_seed=3))
    answer = playground.ask(question)
    assert list(answer.rankings) == [SEARCH.length_penalty] and len(answer.hypotheses) == SEARCH.n_best
    assert playground.ask(question) == answer
    other = replace(question, sampling=SamplingSettings(random_seed=4))
    assert playground.ask(other).hypotheses != answer.hypotheses


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "three"}, "no run 'three' here; there are one, two"),
        ({"factor": -0.5}, "`scale_factor` must be 0"),
        ({"factor": float("nan")}, "`scale_factor` must be 0"),
        ({"search": replace(SEARCH, eval_len=512)}, "`eval_len` 512 leaves no room"),
    ],
)
def test_what_cannot_be_asked_is_said(playground: Playground, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        playground.ask(replace(Question("one", 1.0, CONTEXT, SEARCH), **change))
    with pytest.raises(InputError, match="nothing to say"):
        playground.ask(Question("one", 1.0, "", SEARCH))
    with pytest.raises(InputError, match="`beam` may be up to 100 here, got 101"):
        replace(Question("one", 1.0, CONTEXT, SEARCH), search=replace(SEARCH, beam=101))


def test_a_context_is_read_as_generate_reads_it(playground: Playground) -> None:
    reading = Playground(playground.systems.values(), as_trained=as_trained)
    found = reading.ask(Question("one", 1.0, "name[The Mill], eatType[pub]", SEARCH))
    written = playground.ask(Question("one", 1.0, "name : The Mill | Type : pub", SEARCH))
    assert (found.context, found.hypotheses) == (written.context, written.hypotheses)


def test_a_context_too_long_is_noted(playground: Playground) -> None:
    answer = playground.ask(Question("one", 1.0, "gull " * 200, SEARCH))
    assert "the first" in answer.note and "were left out" in answer.note
    assert playground.ask(Question("one", 1.0, CONTEXT, SEARCH)).note == ""


def test_a_model_trained_whole_has_no_dial() -> None:
    (system,) = load_systems({"base": load_run(BASE)})
    assert system.fixed and system.scaling is None
    assert Playground([system]).ask(Question("base", 1.0, CONTEXT, SEARCH)).hypotheses
    with pytest.raises(InputError, match="can't be scaled"):
        system.decoder(0.5, SEARCH)


def test_e2e_slots_as_the_slot_error_rate_counts_them() -> None:
    context = "name : The Eagle | food : French | near : Clare Hall"
    assert e2e_states(context, "The Eagle serves Italian food at the riverside .") == [
        SlotState("name", "The Eagle", "said"),
        SlotState("food", "French", "wrong", "Italian"),
        SlotState("near", "Clare Hall", "missing"),
        SlotState("area", "riverside", "added"),
    ]
    assert e2e_states("name : Gull | fare : free", "") is None


def test_values_are_looked_for_word_for_word() -> None:
    triples = "Aarhus_Airport : cityServed : Aarhus | Aarhus_Airport : runwayName : 10L/28R"
    found = literal_states(triples, "The airport serves AARHUS; its runway is 10R.")
    assert [(own.slot, own.state) for own in found] == [("cityServed", "said"), ("runwayName", "unseen")]
    assert literal_states("no slots at all", "text") == []
    assert literal_states("name : Gull", "The Gulls")[0].state == "unseen"  # a part of a word is not the word


def test_the_corpus_knows_its_form_and_values() -> None:
    given = [("1", "name : A | fare : free", ["a"]), ("2", "name : B", []), ("3", "name : B", [])]
    slots = Corpus.of(Record(*own) for own in given)
    assert slots.width == 2 and slots.values == {"name": ["A", "B"], "fare": ["free"]}
    assert slots.contexts == {"name : A | fare : free": ["a"], "name : B": []}
    triples = Corpus.of([Record("1", "A : r : B | A : s : C")])
    assert triples.width == 3 and triples.values == {"subject": ["A"], "relation": ["r", "s"], "object": ["B", "C"]}
    assert Corpus.of([Record("1", "free text"), Record("2", "name : A")]).width == 0


def test_the_data_a_run_records_is_found(tmp_path: Path) -> None:
    for name in ("test", "valid"):
        (tmp_path / f"{name}.jsonl").touch()
    assert recorded_data(str(tmp_path)) is None
    (tmp_path / "config.yaml").write_text(f"valid_data: {tmp_path / 'valid.jsonl'}\n")
    assert recorded_data(str(tmp_path)) == str(tmp_path / "valid.jsonl")
    described = {"data": {"path": str(tmp_path / "test.jsonl")}}
    (tmp_path / "predictions.config.json").write_text(json.dumps(described))
    assert recorded_data(str(tmp_path)) == str(tmp_path / "test.jsonl")
    (tmp_path / "test.jsonl").unlink()
    (tmp_path / "config.yaml").write_text("{")
    assert recorded_data(str(tmp_path)) is None
