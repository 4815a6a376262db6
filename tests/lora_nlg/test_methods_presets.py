"""Presets of tuning methods: in place of LoRA in a recipe, and as many parameters as were published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_nlg import recipes
from lora_nlg.__main__ import main
from lora_nlg.errors import InputError
from lora_nlg.methods import METHODS
from lora_nlg.recipes import load_methods, load_recipe, recipe_names
from nlg_metrics.report.published import PUBLISHED

PRESETS = load_methods()["presets"]


def counts(folder: Path, card: str) -> dict[str, dict[str, int]]:
    """Preset → what is counted, from the file that the table reads."""
    assert main(["methods", "--presets", "e2e", "--model_card", card, "--json", str(folder / f"{card}.json")]) == 0
    content = json.loads((folder / f"{card}.json").read_text())
    assert content["base"] == card
    return {one["name"]: one for one in content["methods"]}


@pytest.mark.parametrize("corpus", ["e2e", "webnlg", "dart"])
def test_a_preset_takes_loras_place_in_the_recipe(corpus):
    plain = load_recipe(corpus, "paper")
    lora = load_recipe(corpus, "paper", preset="lora")
    full = load_recipe(corpus, "paper", preset="full")
    assert lora["train"] == {**plain["train"], "method": "lora"}
    rest = {flag: value for flag, value in plain["train"].items() if not flag.startswith("lora_")}
    assert full["train"] == {**rest, "method": "full"}
    assert full["decode"] == plain["decode"]


def test_a_models_overlay_resizes_a_preset():
    assert load_recipe("e2e", model="gpt2.md", preset="adapter_l")["train"]["adapter_l_dim"] == 6
    assert load_recipe("e2e", model="gpt2.lg", preset="adapter_l")["train"]["adapter_l_dim"] == 8


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no preset 'lorra' in methods.yaml; choose from full, lora"):
        load_recipe("e2e", preset="lorra")


def test_the_presets_are_no_corpus():
    assert "methods" not in recipe_names()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("presets: {}", "must hold compared, rate_search, short, presets"),
        ("compared: []\nrate_search: {}\nshort: {}\npresets: {a: {title: A}}", "a must hold title, published"),
        (
            "compared: []\nrate_search: {}\nshort: {}\n"
            "presets: {a: {title: A, published: [], train: {lr: 1}, grid: [1]}}",
            "with the method in its train",
        ),
    ],
    ids=["no-parts", "short-preset", "no-method"],
)
def test_a_wrong_file_is_refused(tmp_path, monkeypatch, content, message):
    (tmp_path / "scripts" / "recipes").mkdir(parents=True)
    (tmp_path / "scripts" / "recipes" / "methods.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert recipes.recipe_folder() == Path("scripts/recipes")
    with pytest.raises(InputError, match=message):
        load_methods()


def test_every_method_has_a_preset_and_every_grid_is_alike():
    assert {preset["train"]["method"] for preset in PRESETS.values()} == set(METHODS)
    assert set(load_methods()["compared"]) <= set(PRESETS)
    for card in (None, "gpt2.nano"):
        for name, preset in load_methods(card)["presets"].items():
            steps = [high / low for low, high in zip(preset["grid"], preset["grid"][1:], strict=False)]
            assert len(steps) == 3 and all(2.9 < step < 3.4 for step in steps), name


def test_published_names_are_of_published_rows():
    names = [row.method for rows in PUBLISHED.values() for row in rows]
    for preset in PRESETS.values():
        for beginning in preset["published"]:
            assert any(name.startswith(beginning) for name in names), beginning


def test_presets_train_as_many_parameters_as_were_published(tmp_path):
    """On GPT-2 M and L; where the published figure is another, the exact count of the same shape."""
    medium, large = counts(tmp_path, "gpt2.md"), counts(tmp_path, "gpt2.lg")
    assert medium["full"]["trained"] == 354_823_168 and large["full"]["trained"] == 774_030_080
    assert medium["top2"]["trained"] == 25_192_448
    assert medium["bitfit"]["trained"] == 271_360 and large["bitfit"]["trained"] == 508_160
    assert medium["adapter_l"]["trained"] == 368_784 and medium["adapter_l_11m"]["trained"] == 11_089_152
    assert large["adapter_l"]["trained"] == 875_808 and large["adapter_l_11m"]["trained"] == 23_002_848
    assert medium["adapter_h"]["trained"] == 11_064_576
    assert medium["vera"]["trained"] == 98_304 and large["vera"]["trained"] == 165_888
    assert medium["ia3"]["trained"] == 147_456
    assert medium["lora"]["trained"] == medium["pissa"]["trained"] == 393_216 and large["lora"]["trained"] == 737_280
    assert medium["lora_fa"]["trained"] == 196_608 and medium["dora"]["trained"] == 442_368
    assert medium["prefix"] | {"trained": 25_744_896, "kept": 245_760} == medium["prefix"]
    assert medium["prefix_kv"]["trained"] == medium["prefix_kv"]["kept"] == 245_760
    assert medium["prompt"]["trained"] == 20_480


def test_methods_are_counted_as_their_flags_have_them(capsys):
    assert main(["methods", "--model_card", "gpt2.md", "--lora_dim", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "gpt2.md: 354,823,168 parameters"
    listed = {line.split()[0]: line.split()[1] for line in lines[2:]}
    assert set(listed) == set(METHODS)
    assert listed["lora"] == "786,432" and listed["full"] == "354,823,168"
