"""Slot errors in texts written and corrupted by hand, and on the released test set, whose own texts must score low."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.e2e_slots import canonical, find_values, normalise, parse_context
from nlg_metrics.metrics.slot_error_rate import SlotErrorRate, find_errors, slot_errors

SCRIPT = Path(__file__).resolve().parents[3] / "eval" / "e2e.py"

CONTEXT = (
    "name : The Eagle | Type : coffee shop | food : French | price : £ 20 - 25 | customer rating : 3 out of 5 | "
    "area : riverside | family friendly : yes | near : Café Rouge"
)
TEXT = (
    "The Eagle is a family-friendly coffee shop by the river, near Café Rouge. It serves French food for £20-25 and "
    "has a customer rating of 3 out of 5."
)


def test_both_context_forms_are_read() -> None:
    mr = "name[The Eagle], eatType[coffee shop], priceRange[£20-25], familyFriendly[yes], customer rating[3 out of 5]"
    assert parse_context(mr) == {
        "name": "The Eagle",
        "eatType": "coffee shop",
        "priceRange": "£20-25",
        "familyFriendly": "yes",
        "customer rating": "3 out of 5",
    }
    assert list(parse_context(CONTEXT)) == [
        "name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near"
    ]  # fmt: skip
    for wrong in ("", "The Eagle", "colour : red"):
        with pytest.raises(InputError):
            parse_context(wrong)


def test_values_said_alike_count_as_one() -> None:
    assert canonical("priceRange", "£ 20 - 25") == canonical("priceRange", "moderate") == "moderate"
    assert canonical("priceRange", "less than £ 20") == "cheap"
    assert canonical("customer rating", "5 out of 5") == "high"
    assert normalise("Isn’t the CAFÉ's £ 20 - 25?") == "is not the cafes £20 25"


def test_a_complete_text_has_no_error() -> None:
    errors = slot_errors(CONTEXT, TEXT)
    assert (errors.missing, errors.wrong, errors.added, errors.n_slots) == ([], [], [], 8)


@pytest.mark.parametrize(
    ("old", "new", "missing", "wrong", "added"),
    [
        ("French food", "food", ["food: French"], [], []),
        ("French", "Indian", [], ["food: French -> Indian"], []),
        ("French", "French and Italian", [], [], ["food: Italian"]),
        ("The Eagle", "It", ["name: The Eagle"], [], []),
        ("The Eagle", "The Mill", [], ["name: The Eagle -> mill"], []),
        ("near Café Rouge", "near Cafe Rouge and Burger King", [], [], ["near: burger king"]),
        (", near Café Rouge", "", ["near: Café Rouge"], [], []),
        ("by the river", "in the city centre", [], ["area: riverside -> city centre"], []),
        ("family-friendly", "nice", ["familyFriendly: yes"], [], []),
        ("family-friendly", "not family-friendly", [], ["familyFriendly: yes -> no"], []),
        ("coffee shop", "place", ["eatType: coffee shop"], [], []),
        ("coffee shop", "pub", [], ["eatType: coffee shop -> pub"], []),
        ("coffee shop", "coffee shop and restaurant", [], [], []),
        ("for £20-25", "for less than £20", [], ["priceRange: £ 20 - 25 -> cheap"], []),
        ("for £20-25", "in the moderate price range", [], [], []),
        ("3 out of 5", "5 out of 5", [], ["customer rating: 3 out of 5 -> high"], []),
        ("a customer rating of 3 out of 5", "an average customer rating", [], [], []),
        ("a customer rating of 3 out of 5", "guests", ["customer rating: 3 out of 5"], [], []),
    ],
)
def test_each_corruption_is_found_and_named(
    old: str, new: str, missing: list[str], wrong: list[str], added: list[str]
) -> None:
    assert old in TEXT
    errors = slot_errors(CONTEXT, TEXT.replace(old, new))
    assert (errors.missing, errors.wrong, errors.added) == (missing, wrong, added)


@pytest.mark.parametrize(
    ("text", "slot", "values"),
    [
        ("It has an average price and a high rating.", "priceRange", {"moderate"}),
        ("It has an average price and a high rating.", "customer rating", {"high"}),
        ("A highly rated, cheap pub.", "customer rating", {"high"}),
        ("A highly rated, cheap pub.", "priceRange", {"cheap"}),
        ("with a 1 out of 5 customer rating", "customer rating", {"low"}),
        ("customers rate it five stars", "customer rating", {"high"}),
        ("It costs more than £30.", "priceRange", {"high"}),
        ("prices between 20 and 25 pounds", "priceRange", {"moderate"}),
        ("Children are not welcome.", "familyFriendly", {"no"}),
        ("It is adults only.", "familyFriendly", {"no"}),
        ("Bring the kids!", "familyFriendly", {"yes"}),
        ("near Raja Indian Cuisine", "food", set()),
        ("near Café Rouge", "eatType", set()),
    ],
)
def test_realisations(text: str, slot: str, values: set[str]) -> None:
    assert find_values(text).values[slot] == values


def test_rate_is_errors_over_slots() -> None:
    metric = SlotErrorRate()
    statistics = metric.measure([TEXT, TEXT.replace("French", "Indian")], [["x"], ["x"]], [CONTEXT, CONTEXT])
    assert statistics.tolist() == [[0, 0, 0, 8], [0, 1, 0, 8]]
    assert metric.aggregate(statistics.sum(axis=0)) == pytest.approx(1 / 16)
    with pytest.raises(InputError, match="needs contexts"):
        find_errors(["", CONTEXT], [TEXT, TEXT])


def test_released_texts_score_low_and_shuffled_ones_high(shared_data: Path) -> None:
    with open(shared_data / "e2e" / "testset_w_refs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1::6]
    contexts, texts = [row[0] for row in rows], [row[1] for row in rows]
    metric = SlotErrorRate()

    def rate(outputs: list[str]) -> float:
        return float(metric.aggregate(metric.from_errors(find_errors(contexts, outputs)).sum(axis=0)))

    # People leave out about one value in fourteen of this test set, and contradict or add few.
    assert rate(texts) < 0.10
    assert rate(texts[1:] + texts[:1]) > 3 * rate(texts)
    assert rate([""] * len(texts)) == 1.0


def test_command_line_writes_counts_and_offending_outputs(tmp_path: Path) -> None:
    data, predictions, written = tmp_path / "d.jsonl", tmp_path / "p.jsonl", tmp_path / "ser.json"
    records = [
        {"id": "a", "context": CONTEXT, "references": [TEXT]},
        {"id": "b", "context": CONTEXT.replace("French", "Indian"), "references": [TEXT]},
    ]
    data.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    predictions.write_text("".join(json.dumps({"id": i, "hypothesis": TEXT}) + "\n" for i in "ab"), "utf-8")
    command = [sys.executable, str(SCRIPT), "--data", str(data), "--predictions", str(predictions)]
    process = subprocess.run([*command, "--ser", str(written)], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "SER: 0.0625" in process.stdout.splitlines()
    record = json.loads(written.read_text("utf-8"))
    assert record["SER"]["value"] == 1 / 16
    assert record["slots"]["food"] == {"slots": 2, "missing": 0, "wrong": 1, "added": 0}
    assert [output["id"] for output in record["outputs"]] == ["b"]
    assert record["outputs"][0]["wrong"] == ["food: Indian -> French"]
