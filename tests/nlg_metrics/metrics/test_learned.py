"""BERTScore and BLEURT: small random models through their own libraries, and one line where something is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nlg_metrics.__main__ import main
from nlg_metrics.errors import InputError
from nlg_metrics.metrics.bert_score import BertScore
from nlg_metrics.metrics.bleurt import Bleurt

TEXTS = ["the cat sat on the mat", "", "a dog ran"]
REFERENCES = [["the cat sat on the mat", "a dog ran"], ["a cat"], ["", "the dog sat"]]


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers with its vocabulary, as a folder."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *dict.fromkeys(["the", "cat", "sat", "on", "mat", "a", "dog", "ran"]),
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_bert_score_of_a_small_model(small_bert: Path) -> None:
    bert_score = pytest.importorskip("bert_score")
    metric = BertScore(str(small_bert))
    rows = metric.statistics(TEXTS, REFERENCES)
    assert rows[0, :3] == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)  # one of its references is the same
    assert rows[1].tolist() == [0, 0, 0, 1]
    assert 0 < rows[2, 2] < 1
    library = bert_score.BERTScorer(model_type=str(small_bert), num_layers=2)
    library._tokenizer.model_max_length = 512  # this model's has no limit, which the library can't pass on
    direct = library.score(["a dog ran"], ["the dog sat"])
    assert rows[2, :3] == pytest.approx([float(part) for part in direct], abs=1e-6)
    score = metric.score(TEXTS, REFERENCES)
    assert score.value == pytest.approx(rows[:, 2].mean())
    assert f"tool:bert-score-{bert_score.__version__}|model:{small_bert.name}|revision:" in score.signature
    (small_bert / "model.safetensors").touch()
    assert metric.signature() == BertScore(str(small_bert)).signature()


def test_what_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").write_text("a b\n")
    for name, package, metric in (
        ("bert_score", "bert-score==0.3.13", "bertscore"),
        ("bleurt_pytorch", "bleurt-pytorch==0.0.1", "bleurt"),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        assert main(["texts", str(tmp_path / "t"), str(tmp_path / "t"), "-m", f"ter,{metric}"]) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[1:] == ["TER: 0.0000"]
        assert f"pip install {package}" in captured.err
        assert captured.err.count("\n") == 1


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("bert_score")
    with pytest.raises(InputError, match=r"BERTScore's model .*absent can't be loaded"):
        BertScore(str(tmp_path / "absent"))


def stand_in() -> ModuleType:
    """bleurt-pytorch's interface: the score of a pair is the share of the reference's words in the text."""
    torch = pytest.importorskip("torch")
    module = ModuleType("bleurt_pytorch")

    class Config:
        max_position_embeddings = 512
        _commit_hash = "0123456789abcdef"

    class Tokenizer:
        @classmethod
        def from_pretrained(cls, source: str) -> Tokenizer:
            if "absent" in source:
                raise OSError(f"{source} is not a model\nand more")
            return cls()

        def __call__(self, references: list[str], texts: list[str], **options: Any) -> dict[str, Any]:
            assert options == {"padding": "longest", "truncation": True, "max_length": 512, "return_tensors": "pt"}
            pairs = zip(references, texts, strict=True)
            return {"input_ids": [len(set(a.split()) & set(b.split())) / len(set(a.split())) for a, b in pairs]}

    class Model:
        config = Config()

        @classmethod
        def from_pretrained(cls, source: str) -> Model:
            return cls()

        def eval(self) -> Model:
            return self

        def __call__(self, input_ids: list[float]) -> Any:
            return type("Output", (), {"logits": torch.tensor(input_ids).reshape(-1, 1)})

    module.BleurtTokenizer, module.BleurtForSequenceClassification = Tokenizer, Model  # type: ignore[attr-defined]
    return module


def test_bleurt_takes_the_best_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in of the library's interface: the library itself does not import with transformers 5."""
    monkeypatch.setitem(sys.modules, "bleurt_pytorch", stand_in())
    metric = Bleurt()
    texts, references = TEXTS * 20, REFERENCES * 20  # more pairs than a batch
    rows = metric.statistics(texts, references)
    assert np.allclose(rows[:3], [[1.0, 1], [0.0, 1], [1 / 3, 1]])
    assert np.allclose(rows, np.tile(rows[:3], (20, 1)))
    assert "model:lucadiliello/BLEURT-20|revision:0123456789ab|" in metric.signature()
    with pytest.raises(InputError, match=r"BLEURT's model absent can't be loaded \(absent is not a model\)"):
        Bleurt("absent")


def test_bleurt_of_a_small_model(small_bert: Path) -> None:
    """The library itself, where transformers 4 lets it import."""
    try:
        module: Any = __import__("bleurt_pytorch")
    except ImportError as error:
        pytest.skip(f"bleurt-pytorch is not here or does not import ({error})")
    config = module.BleurtConfig(vocab_size=13, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    module.BleurtForSequenceClassification(config).save_pretrained(small_bert)
    rows = Bleurt(str(small_bert)).statistics(TEXTS, REFERENCES)
    assert np.isfinite(rows).all()
    assert rows.shape == (3, 2)
