"""What holds for every precision, on every kind of module: outputs, copies, states, sizes."""

import copy
import io

import pytest
import torch
from builders import toy_variant
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.measure.int8_share import in_fewer_bits
from pytest_quant.quantize.flows.cast import cast
from pytest_quant.quantize.flows.weight_only import compress
from pytest_quant.quantize.weights.compressed import Compressed
from pytest_quant.variant.tensors import bytes_of, tensors_of


def compressing(dtype, **options):
    return lambda module, **keep: compress(copy.deepcopy(module), dtype, **options, **keep)


def casting(dtype):
    return lambda module, **keep: cast(copy.deepcopy(module), dtype, **keep)


WEIGHTS = {
    "int8": compressing("int8"),
    "int8 for each tensor": compressing("int8", per_channel=False),
    "int4": compressing("int4"),
    "float16 weights": compressing("float16"),
    "codebook of 4 bits": compressing("codebook"),
    "codebook of 3 bits": compressing("codebook", bits=3),
}
ALL = WEIGHTS | {"bfloat16": casting("bfloat16"), "float16": casting("float16")}
# Decibels that the outputs of random models keep.
FAITHFUL = dict.fromkeys(ALL, 30.0) | {"int4": 14.0, "codebook of 4 bits": 14.0}
FAITHFUL["codebook of 3 bits"] = 9.0


class Tokens(nn.Module):
    """Embedding, a bidirectional LSTM that is given float32 states, and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 48)
        self.lstm = nn.LSTM(48, 40, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(80, 100)

    def forward(self, ids):
        state = torch.zeros(4, len(ids), 40)
        return {"logits": self.head(self.lstm(self.embed(ids), (state, state))[0])}


class Tied(nn.Module):
    """An embedding whose weight is the head's too."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(100, 48), nn.Linear(48, 100)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


class Own(nn.Module):
    """A weight of its own, which is no module's of PyTorch's."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(24, 40))

    def forward(self, x):
        return x @ self.matrix


def mlp():
    return nn.Sequential(nn.Linear(100, 33), nn.ReLU(), nn.Linear(33, 40, bias=False))


def convolutions():
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=4)),
        *(nn.ConvTranspose2d(16, 8, 3), nn.Flatten(), nn.Linear(800, 10)),
    )


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)


MODELS = {
    "mlp": (mlp, torch.randn(5, 100)),
    "mlp, many samples": (mlp, torch.randn(40, 100)),
    "mlp, one sample without a batch": (mlp, torch.randn(100)),
    "mlp, three dimensions": (mlp, torch.randn(3, 7, 100)),
    "mlp, swapped dimensions": (mlp, torch.randn(3, 100, 7).transpose(1, 2)),
    "convolutions": (convolutions, torch.randn(4, 3, 12, 12)),
    "conv1d": (lambda: nn.Conv1d(8, 16, 3), torch.randn(4, 8, 12)),
    "conv3d": (lambda: nn.Conv3d(8, 16, 3), torch.randn(4, 8, 5, 5, 5)),
    "encoder": (encoder, torch.randn(4, 9, 64)),
    "tokens": (Tokens, torch.randint(0, 100, (3, 7))),
    "tied": (Tied, torch.randint(0, 100, (3, 7))),
    "bag": (lambda: nn.EmbeddingBag(100, 24), torch.randint(0, 100, (3, 7))),
    "gru": (lambda: nn.GRU(24, 32), torch.randn(5, 3, 24)),
    "lstm cell": (lambda: nn.LSTMCell(24, 32), torch.randn(3, 24)),
    "own weight": (Own, torch.randn(3, 24)),
}


def made(name):
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    return make().eval(), inputs


def outputs_of(module, inputs):
    with torch.inference_mode():
        outputs = module(inputs)
    if isinstance(outputs, dict):
        return outputs["logits"]
    return outputs[0] if isinstance(outputs, tuple) else outputs


def decibels(expected, own):
    return float(10 * torch.log10(expected.square().sum() / (expected - own).square().sum()))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ALL)
def test_outputs_are_fp32s_up_to_rounding_and_float32(model, precision):
    module, inputs = made(model)
    changed = ALL[precision](module)
    expected, own = outputs_of(module, inputs), outputs_of(changed, inputs)
    assert own.dtype == torch.float32
    assert decibels(expected, own) > FAITHFUL[precision]
    if inputs.ndim > 1:  # a short last batch
        assert decibels(expected[:1], outputs_of(changed, inputs)[:1]) > FAITHFUL[precision] - 6
        assert torch.isfinite(outputs_of(changed, inputs[:1])).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ALL)
def test_a_copy_and_a_saved_state_give_the_same_outputs(model, precision):
    module, inputs = made(model)
    changed = ALL[precision](module)
    expected = outputs_of(changed, inputs)
    assert torch.equal(outputs_of(copy.deepcopy(changed), inputs), expected)
    file = io.BytesIO()
    torch.save(changed.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    rebuilt = ALL[precision](module)
    assert not torch.equal(outputs_of(rebuilt, inputs), expected)
    rebuilt.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(outputs_of(rebuilt, inputs), expected)


@pytest.mark.parametrize("precision", ALL)
def test_outside_inference_mode_it_gives_the_same(precision):
    module, inputs = made("encoder")
    changed = ALL[precision](module)
    with torch.no_grad():
        own = changed(inputs)
    assert decibels(outputs_of(changed, inputs), own) > FAITHFUL[precision]


@pytest.mark.parametrize("precision", ALL)
def test_modules_keep_their_names_and_types(precision):
    module, _ = made("tokens")
    changed = ALL[precision](module)
    for name, child in module.named_modules():
        own = changed.get_submodule(name)
        assert isinstance(own, type(child))
        assert type(own).__name__ == type(child).__name__


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize("keep", ["head", nn.Linear])
def test_a_module_kept_fp32_keeps_its_weights_bit_by_bit(precision, keep):
    module, inputs = made("tokens")
    changed = ALL[precision](module, keep_fp32=(keep,))
    assert torch.equal(changed.head.weight, module.head.weight)
    assert changed.head.bias.dtype == torch.float32
    assert not torch.equal(changed.embed.weight.float(), module.embed.weight)
    assert decibels(outputs_of(module, inputs), outputs_of(changed, inputs)) > FAITHFUL[precision]


@pytest.mark.parametrize("precision", ALL)
def test_a_weight_that_a_kept_module_shares_stays_fp32_in_both(precision):
    module, inputs = made("tied")
    with pytest.raises(QuantStageError, match=r"nothing to .* outside keep_fp32"):
        ALL[precision](module, keep_fp32=("embed",))
    both = nn.Sequential(module, nn.Linear(100, 30)).eval()
    changed = ALL[precision](both, keep_fp32=("0.embed",))
    assert torch.equal(changed[0].head.weight, module.head.weight)
    assert decibels(outputs_of(both, inputs), outputs_of(changed, inputs)) > FAITHFUL[precision]


@pytest.mark.parametrize("precision", WEIGHTS)
def test_tied_weights_are_stored_once(precision):
    tied, _ = made("tied")
    changed = WEIGHTS[precision](tied)
    assert sum(isinstance(child, Compressed) for child in changed.modules()) == 1
    assert torch.equal(changed.head.weight, changed.embed.weight)
    assert bytes_of(tensors_of(changed.state_dict())) == 4 * 100 + bytes_of(
        tensors_of(changed.embed.state_dict())
    )


@pytest.mark.parametrize("precision", ALL)
def test_a_model_without_weights_is_an_error(precision):
    with pytest.raises(QuantStageError, match=r"prepare ERROR: nothing to (quantize|cast)"):
        ALL[precision](nn.Sequential(nn.ReLU(), nn.BatchNorm1d(8)))


@pytest.mark.parametrize("precision", ALL)
def test_a_pattern_that_matches_nothing_is_an_error(precision):
    with pytest.raises(QuantStageError, match=r"keep_fp32 'fc' matches no module"):
        ALL[precision](mlp(), keep_fp32=("fc",))


@pytest.mark.parametrize("precision", WEIGHTS)
def test_a_weight_that_is_not_finite_is_named(precision):
    module = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    module[1].weight.data[3, 4] = float("nan")
    with pytest.raises(QuantStageError, match=r"the weight 1\.weight has values up to nan"):
        WEIGHTS[precision](module)
    assert WEIGHTS[precision](module, keep_fp32=("1",))


def test_a_weight_beyond_float16_is_named():
    module = nn.Sequential(nn.Linear(40, 40))
    module[0].weight.data[3, 4] = 70_000.0
    with pytest.raises(QuantStageError, match=r"0\.weight has values up to 70000, which float16"):
        compress(module, "float16")


def test_a_weight_is_left_as_it_is_where_it_would_not_be_smaller():
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 256))
    changed = compress(module, "codebook", bits=8)  # 256 centroids take a kilobyte
    assert isinstance(changed[0].weight, nn.Parameter)
    assert "weight" in changed[0]._parameters
    assert "weight" not in changed[1]._parameters


BYTES = {  # of a Linear of 64 x 96 without a bias
    "int8": 64 * 96 + 64 * 2,  # a bfloat16 scale for each channel
    "int8 for each tensor": 64 * 96 + 2,
    "int4": 64 * 96 // 2 + 64 * 3 * 4,  # three groups of a scale and an offset
    "float16 weights": 64 * 96 * 2,
    "codebook of 4 bits": 64 * 96 // 2 + 16 * 4,
    "codebook of 3 bits": 64 * 96 * 3 // 8 + 8 * 4,
    "bfloat16": 64 * 96 * 2,
    "float16": 64 * 96 * 2,
}


@pytest.mark.parametrize("precision", ALL)
def test_bytes_and_parameters_by_hand(precision):
    changed = ALL[precision](nn.Sequential(nn.Linear(96, 64, bias=False)))
    assert bytes_of(tensors_of(changed.state_dict())) == BYTES[precision]
    assert in_fewer_bits(changed) == 64 * 96


@pytest.mark.parametrize("precision", ALL)
def test_the_share_and_what_stayed_fp32_have_the_users_names(precision):
    first, second, biases = 8 * 16, 16 * 3, 16 + 3
    total = first + second + biases
    cast_biases = {"bfloat16": 16, "float16": 16}.get(precision, 0)
    build = ALL[precision]
    share = toy_variant(Recipe("custom", build=lambda m: build(m, keep_fp32=("2",)))).int8_share
    assert share.parameters == (first + cast_biases) / total
    assert share.macs == first / (first + second)
    assert share.stayed_fp32 == ("2",)


@pytest.mark.parametrize("dtype", ["int8", "int4", "float16", "codebook", "bfloat16"])
def test_a_recipe_makes_a_variant_that_can_be_evaluated_measured_and_timed(dtype):
    kind = "cast" if dtype == "bfloat16" else "weight_only"
    variant = toy_variant(Recipe(kind, dtype=dtype))
    assert variant.int8_share.macs == 1.0
    assert variant.size.tensor_bytes < variant.fp32.size.tensor_bytes
    assert len(variant.evaluation.samples) == len(variant.fp32.evaluation.samples)
    assert variant.pair() is variant.pair()
