"""A tutorial can be followed: its files, as they stand, give what it says."""

import pytest
from pages import ROOT, files_of

TUTORIAL = ROOT / "docs/tutorial"
TEXTS = """
WORDS = ("good", "fine", "great", "bad", "poor", "awful")


def made(seed, count):
    import random

    source = random.Random(seed)
    labels = [source.randrange(2) for _ in range(count)]
    chosen = [source.choice(WORDS[3:] if label else WORDS[:3]) for label in labels]
    return [f"it was {word} {i}" for i, word in enumerate(chosen)], labels


EVAL = made(1, 64)
TRAIN = made(2, 64)
"""
EXPECTED = {
    "first_gate": {"tests": 2, "gates": 4, "kinds": "(static, qat)"},
    "regression": {"tests": 2, "gates": 3, "kinds": "(static, qat)"},
}


@pytest.fixture
def followed(pytester):
    """Write the files of a tutorial into an empty folder."""

    def write(name):
        pytester.makepyfile(**files_of(TUTORIAL / f"{name}.md"))

    return write


@pytest.mark.parametrize("name", EXPECTED)
def test_a_tutorial_ends_green(pytester, followed, name):
    followed(name)
    expected = EXPECTED[name]
    result = pytester.runpytest_subprocess("--quant", "--quant-threads=1")
    result.assert_outcomes(passed=expected["tests"])
    line = f"may ship: yes: Sequential: all {expected['gates']} gates hold {expected['kinds']}"
    result.stdout.fnmatch_lines([f"{line}*"])


def test_the_first_gate_shows_its_answer(pytester, followed):
    page = (TUTORIAL / "first_gate.md").read_text(encoding="utf-8")
    assert "may ship: yes: Sequential: all 4 gates hold (static, qat)\n" in page


def test_the_first_gate_fails_where_it_is_told_to(pytester, followed):
    followed("first_gate")
    gates = pytester.path / "test_quant.py"
    gates.write_text(gates.read_text().replace("ratio=0.30)", "ratio=0.10)", 1))
    result = pytester.runpytest_subprocess("--quant", "--quant-threads=1", "-k", "static")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*size FAIL: static needs *", "layer *stored as*"])


@pytest.mark.slow
def test_hugging_face_ends_green(pytester, followed):
    transformers = pytest.importorskip("transformers", reason="needs the extra zoo")
    followed("hugging_face")
    pytester.makepyfile(my_texts=TEXTS)
    save_a_tiny_classifier(transformers, pytester.path / "my-checkpoint")
    result = pytester.runpytest_subprocess("--quant", "--quant-threads=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["may ship: yes: *all 2 gates hold (dynamic)*"])


def save_a_tiny_classifier(transformers, folder):
    """DistilBERT of two layers, trained on nothing, with a vocabulary of its own."""
    import torch

    folder.mkdir()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [
        *marks,
        "it",
        "was",
        "good",
        "fine",
        "great",
        "bad",
        "poor",
        "awful",
        *map(str, range(64)),
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = transformers.DistilBertConfig(
        vocab_size=len(words), dim=64, n_layers=2, n_heads=2, hidden_dim=128
    )
    transformers.DistilBertForSequenceClassification(shape).save_pretrained(folder)
