"""Lengths: batches of texts may be as long as their longest one."""

import copy
import json
from functools import cache

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant
from pytest_quant.errors import QuantStageError


class Texts(nn.Module):
    """Attends to what the mask shows, with position embeddings cut to the text's length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(60, 32), nn.Embedding(64, 32)
        self.register_buffer("positions", torch.arange(64)[None])
        self.attention = nn.Linear(32, 96)
        self.hidden, self.head = nn.Linear(32, 64), nn.Linear(64, 2)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.places(self.positions[:, : input_ids.shape[1]])
        q, k, v = self.attention(x).chunk(3, -1)
        seen = attention_mask[:, None].bool()
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.head(torch.relu(self.hidden(x[:, 0])))


class Stepwise(nn.Module):
    """Goes through a text step by step, so that a trace of it has one length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.step, self.head = nn.Embedding(60, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, input_ids, attention_mask):
        x, state = self.words(input_ids), 0.0
        for t in range(input_ids.shape[1]):
            shown = attention_mask[:, t, None]
            state = torch.tanh(self.step(x[:, t] + state)) * shown + state * (1 - shown)
        return self.head(state)


def texts(model, seed, lengths):
    """Batches padded to their longest text."""
    random, out = torch.Generator().manual_seed(seed), []
    for longest in lengths:
        length = torch.randint(min(2, longest), longest + 1, (16,), generator=random)
        length[0] = longest
        mask = (torch.arange(longest) < length[:, None]).long()
        ids = torch.randint(1, 60, (16, longest), generator=random) * mask
        batch = {"input_ids": ids, "attention_mask": mask}
        out.append({**batch, "labels": model(**batch).detach().argmax(1)})
    return out


def subject_of(model, *, calibrated=(12, 12), evaluated=(12, 9, 15, 7), trained=(11, 8, 13)):
    model.eval()
    return toy_subject(
        model,
        eval_data=texts(model, 1, evaluated),
        calibration_data=texts(model, 2, calibrated),
        train_data=texts(model, 3, trained),
    )


@cache
def exported():
    subject = subject_of(Texts())
    return open_store(ONE_THREAD).variant(subject, Recipe("static", flow="pt2e"))


def test_one_compilation_serves_all_lengths():
    assert len(exported().evaluation) == 64
    assert kept_db(exported()) > 20
    kernels = exported().model._kernels
    assert len(kernels) > 2
    assert len({id(kernel) for kernel in kernels.values()}) == 1
    assert exported().model.without_kernel == 0


def test_each_length_is_as_exact_as_fp32_allows():
    for batch in exported().subject.eval_data:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with torch.inference_mode(), exported().running():
            apart = exported()(**inputs) - exported().fp32.model(**inputs)
        assert apart.abs().max() < 0.15


def test_a_copy_and_a_file_give_the_same_bits_at_each_length(tmp_path):
    loaded = load_variant(exported().save(tmp_path / "texts.pt"), Texts()).model
    copied = copy.deepcopy(exported().model)
    for batch in exported().subject.eval_data[:2]:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with exported().running():
            assert torch.equal(exported()(**inputs), copied(**inputs))
            assert torch.equal(exported()(**inputs), loaded(**inputs))


def test_a_length_that_no_data_showed_is_taken_when_it_comes():
    subject = subject_of(Texts(), calibrated=(12,), evaluated=(12,), trained=())
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static", flow="pt2e"))
    assert not variant.model.varies
    longer = texts(Texts().eval(), 5, (20, 1))
    for batch in longer:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with torch.inference_mode(), variant.running():
            apart = variant(**inputs) - variant.fp32.model(**inputs)
        assert apart.abs().max() < 0.2
    assert variant.model.varies


class Encoder(nn.Module):
    """PyTorch's own encoder layer, which multiplies texts that are transposed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(60, 32)
        self.layer, self.head = nn.TransformerEncoderLayer(32, 4, 64), nn.Linear(32, 2)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) * attention_mask[:, :, None]
        return self.head(self.layer(x.transpose(0, 1)).mean(0))


@pytest.mark.slow
def test_pytorchs_own_encoder_at_all_lengths_and_as_a_package(tmp_path):
    variant = open_store(ONE_THREAD).variant(subject_of(Encoder()), Recipe("static", flow="pt2e"))
    assert len(variant.evaluation) == 64
    assert kept_db(variant) > 15
    assert variant.int8_share.macs > 0.9
    assert variant.model.without_kernel == 0
    path = variant.export(tmp_path / "encoder.pt2")
    page = json.loads(path.with_name("encoder.pt2.json").read_text())
    assert [each["shape"] for each in page["inputs"]] == [[None, None], [None, None]]


def test_qat_trains_and_converts_at_all_lengths():
    subject = subject_of(Texts())
    qat = open_store(ONE_THREAD).variant(subject, Recipe("qat", flow="pt2e", epochs=1, lr=1e-5))
    assert len(qat.evaluation) == 64
    assert kept_db(qat) > 15


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize(
    ("lengths", "fixture"),
    [
        ({"evaluated": (12, 12, 15)}, "quant_eval_data"),
        ({"evaluated": (12, 12), "calibrated": (12, 9), "trained": (12, 9)}, "quant_.*_data"),
    ],
)
def test_a_model_whose_trace_has_one_length_goes_to_a_flow_that_takes_all(kind, lengths, fixture):
    subject = subject_of(Stepwise(), **lengths)
    store = open_store(ONE_THREAD)
    with pytest.raises(
        QuantStageError, match=rf"takes inputs of shape \[batch, 12\].*{fixture} has"
    ):
        store.variant(subject, Recipe(kind, flow="pt2e"))
    variant = store.variant(subject, Recipe(kind, lr=1e-5) if kind == "qat" else Recipe(kind))
    assert variant.recipe.flow == "parts"
    assert "[batch, 12]" in variant.notes[0]
    assert len(variant.evaluation) == 16 * len(lengths["evaluated"])
    assert kept_db(variant) > 15


def test_dynamic_takes_all_lengths():
    dynamic = open_store(ONE_THREAD).variant(subject_of(Stepwise()), Recipe("dynamic"))
    assert len(dynamic.evaluation) == 64


class Optional(Texts):
    def forward(self, input_ids, attention_mask, shift=None):
        outputs = super().forward(input_ids, attention_mask)
        return outputs if shift is None else outputs + shift[:, None]


def test_batches_that_call_the_model_in_another_way_are_seen_before_it_is_calibrated():
    subject = subject_of(Optional(), evaluated=(12, 12))
    subject.eval_data[1]["shift"] = torch.zeros(16)
    with pytest.raises(
        QuantStageError, match=r"flow pt2e cannot take all calls \(.*quant_eval_data"
    ):
        open_store(ONE_THREAD).variant(subject, Recipe("static", flow="pt2e"))
