"""Slowness: where the time goes and why, of models with a planted cause each."""

import gc
import json
import warnings
from contextlib import nullcontext

import pytest
import torch
from builders import ONE_THREAD, tiny_linear, toy_subject
from quantizable import (
    Convolutional,
    Stubbed,
    Tagger,
    anything,
    built,
    images,
    made,
    normal,
    tokens,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.explain.speed.brakes import brakes_on
from pytest_quant.explain.speed.operators import Operator, Profile, does, profiled
from pytest_quant.explain.speed.slowness import Slowness, Stayed, slowness_of
from pytest_quant.explain.speed.stretches import Stretch
from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.store.open import open_store


class Interrupted(nn.Module):
    """A float operation between every two int8 layers, on [n, 8]."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.soft = nn.Softplus()

    def forward(self, x):
        return self.last(torch.cumsum(self.second(self.soft(self.first(x))), -1))


class Parted(nn.Module):
    """Two parts that FX can trace, in a model that it cannot, on [n, 3, 12, 12]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.soft, self.head = nn.Softplus(), nn.Linear(8, 5)

    def forward(self, x):
        x = self.soft(self.stem(x).mean((2, 3)))
        if x.sum() > 1e9:
            x = x * 2
        return self.head(x)


class Detour(Stubbed):
    """Eager mode, with a stretch in float that the model asks for itself."""

    def __init__(self):
        super().__init__()
        self.back, self.forth, self.soft = nn.Identity(), nn.Identity(), nn.Softplus()
        self.back, self.forth = (
            torch.ao.quantization.DeQuantStub(),
            torch.ao.quantization.QuantStub(),
        )

    def forward(self, x):
        x = self.stem(self.quant(x)).mean((2, 3))
        return self.dequant(self.fc(self.forth(self.soft(self.back(x)))))


class Transformer(nn.Module):
    """One encoder layer on tokens [n, 7], which FP32 runs on PyTorch's fast path."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, ids):
        return self.encoder(self.embed(ids)).mean(1)


def numbers(seed, sizes=(8, 8)):
    return normal((8,), seed, sizes)


def found(model, recipe, data=images):
    return slowness_of(built(made(model), recipe, data, metric=anything))


def names(operators):
    return {operator.name for operator in operators}


def text_of(slowness):
    return " ".join(slowness.sentences)


def test_operators_of_the_variant_stand_beside_those_of_fp32():
    slowness = found(Convolutional, "static")
    assert any(name.startswith("quantized::conv2d") for name in names(slowness.operators))
    assert any("convolution" in name for name in names(slowness.fp32_operators))
    assert not any(name.startswith("quantized::") for name in names(slowness.fp32_operators))
    assert slowness.batch == 8
    assert "int8 convolution" in slowness.table()
    assert "float convolution" in slowness.table()


def test_shares_add_up_to_the_whole_call_and_milliseconds_with_them():
    slowness = found(Convolutional, "static")
    for operators, ms in (
        (slowness.operators, slowness.ms),
        (slowness.fp32_operators, slowness.fp32_ms),
    ):
        assert sum(each.share for each in operators) == pytest.approx(1, abs=0.02)
        assert sum(each.ms for each in operators) == pytest.approx(ms, rel=0.02)


def test_calls_are_those_of_one_call_of_the_model():
    slowness = found(Interrupted, "static", numbers)
    linear = next(each for each in slowness.operators if each.name == "quantized::linear")
    assert linear.calls == 3
    # each of three layers is fed from float, and its output goes back
    assert slowness.conversions == 6


def test_stretches_in_float_are_named_with_their_neighbours():
    slowness = found(Interrupted, "static", numbers)
    assert slowness.stretches == (
        Stretch(("first",), ("soft",), ("second",)),
        Stretch(("second",), ("cumsum",), ("last",)),
    )
    assert str(slowness.stretches[0]) == "soft between first and second"
    assert 0 < slowness.conversion_share < 1


def test_where_int8_begins_too_late_the_input_is_named():
    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.last(torch.softmax(self.first(x), -1))  # what softmax takes stays float

    stretches = found(Scored, Recipe("static", flow="fx"), numbers).stretches
    assert stretches == (Stretch(("the input",), ("first", "softmax"), ("last",)),)


def test_the_quickest_call_is_shown_and_not_one_that_had_to_wait():
    waits = iter([False] * 7 + [True] * 2 + [False, True])

    def call():
        torch.ones(3).cumsum(0)
        if next(waits):
            torch.ones(500, 500) @ torch.ones(500, 500)

    profile = profiled(call, nullcontext)
    assert names(profile.operators) >= {"Python", "aten::cumsum"}
    assert "aten::mm" not in names(profile.operators)
    assert next(waits, None) is None


def test_a_model_in_int8_throughout_has_none():
    assert found(Convolutional, "static").stretches == ()


def test_a_layer_kept_fp32_is_a_stretch():
    slowness = found(Interrupted, Recipe("static", keep_fp32="second"), numbers)
    (stretch,) = slowness.stretches
    assert (stretch.after, stretch.before) == (("first",), ("last",))
    assert stretch.operations == ("soft", "second", "cumsum")


def test_between_parts_the_way_through_float_is_named():
    slowness = found(Parted, Recipe("static", flow="parts"))
    assert slowness.stretches == (Stretch(("stem",), ("soft",), ("head",)),)


def test_stubs_of_eager_mode_are_looked_through():
    slowness = found(Detour, "static")
    assert slowness.stretches == (Stretch(("stem.0",), ("soft",), ("fc",)),)


def test_dynamic_quantization_of_convolutions_is_told_that_it_has_none():
    slowness = found(Convolutional, "dynamic")
    assert slowness.stayed[0].name == "conv"
    assert slowness.stayed[0].type == "Conv2d"
    assert slowness.stayed[0].macs > 0.9
    assert "no int8 convolutions" in slowness.sentences[1]
    assert "Recipe('static')" in slowness.sentences[1]
    assert "quant_calibration_data" in slowness.sentences[1]
    assert any("dynamic quantization converts" in note for note in slowness.notes)
    assert slowness.conversions is None


def test_layers_that_keep_fp32_keeps_are_blamed_on_it():
    slowness = found(Convolutional, Recipe("static", keep_fp32="conv"))
    assert [layer.name for layer in slowness.stayed] == ["conv"]
    assert "keep_fp32, which is 'conv'" in text_of(slowness)


def test_the_fast_path_that_only_fp32_takes_is_named():
    assert "fast path for attention" in text_of(found(Transformer, "dynamic", tokens))


def test_weight_only_is_said_to_be_no_faster():
    assert "smaller, not faster" in found(Interrupted, "weight_only", numbers).sentences[1]


@pytest.mark.parametrize("make", [lambda m: lambda x: m(x), lambda m: nn.Sequential(m)])
def test_a_custom_build_is_profiled_too(make):
    slowness = found(Interrupted, Recipe("custom", build=make), numbers)
    assert slowness.notes == () or "under the profiler" in slowness.notes[0]
    assert slowness.operators
    assert slowness.ms > 0


def test_recurrent_layers_are_told_from_others():
    slowness = found(Tagger, "dynamic", tokens)
    assert {"int8 recurrent", "float recurrent"} <= {
        each.does for each in slowness.operators + slowness.fp32_operators
    }


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_the_steps_of_a_recurrent_layer_are_its_own(kind):
    torch.manual_seed(0)
    layer = kind(8, 16, batch_first=True).eval()
    with known_warnings_silenced():
        both = layer, torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {kind})
    for what, model in zip(("float", "int8"), both, strict=True):
        if kind is nn.RNN and what == "int8":
            continue  # PyTorch has none
        with torch.inference_mode():
            profile = profiled(lambda model=model: model(torch.ones(4, 9, 8)), nullcontext)
        steps = {"tanh_", "tanh", "sigmoid_", "mul", "linear", "cat", "chunk", "addmm"}
        assert not steps & {each.name.removeprefix("aten::") for each in profile.operators}
        (own,) = (each for each in profile.operators if each.does == f"{what} recurrent")
        assert own.calls == 1
        assert own.share > 0.4
        assert profile.counted > 9
        assert sum(each.share for each in profile.operators) == pytest.approx(1, abs=0.02)


def test_there_are_three_sentences_at_most_and_the_first_says_where_the_time_goes():
    for kind in ("dynamic", "static"):
        slowness = found(Convolutional, kind)
        assert 2 <= len(slowness.sentences) <= 3
        assert slowness.sentences[0].startswith(f"{kind} takes ")


def test_nothing_is_left_behind():
    variant = built(made(Interrupted), "static", numbers)
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slowness_of(variant)
    assert not torch.autograd._profiler_enabled()
    assert not any(module._forward_hooks for module in variant.model.modules())
    assert not any(module._forward_hooks for module in variant.fp32.model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert gc.isenabled()
    assert torch.is_grad_enabled()


def test_nothing_is_written(capfd):
    found(Interrupted, "static", numbers)
    assert capfd.readouterr() == ("", "")


def test_another_profiler_goes_on_and_is_a_note():
    with torch.autograd.profiler.profile() as outer:
        slowness = found(Interrupted, "static", numbers)
        torch.ones(3).cumsum(0)
    assert "another profiler" in slowness.notes[0]
    assert "aten::cumsum" in {event.key for event in outer.key_averages()}


def test_what_cannot_run_is_a_note():
    is_late = []

    def build(module):
        def refuse(x):
            if is_late:
                raise RuntimeError("not today")
            return module(x)

        return refuse

    variant = built(made(Interrupted), Recipe("custom", build=build), numbers, metric=anything)
    is_late.append(True)
    slowness = slowness_of(variant)
    assert slowness.operators == ()
    assert "not today" in slowness.notes[0]
    assert str(slowness) == slowness.notes[0]


def test_the_models_that_were_timed_are_those_profiled():
    """An int8 convolution keeps the kernel of its first batch, so a used model would not do."""
    variant = open_store(ONE_THREAD).variant(toy_subject(tiny_linear()), Recipe("static"))
    pair = variant.pair()
    called = []
    inner = pair.b.call
    pair.b.call = lambda: called.append(1) or inner()
    slowness_of(variant)
    assert called
    assert not pair.seconds_a


def test_it_is_plain_json_and_comes_back():
    slowness = found(Interrupted, Recipe("static", keep_fp32="second"), numbers)
    assert slowness.stayed
    plain = json.loads(json.dumps(slowness.to_dict()))
    assert Slowness.from_dict(plain) == slowness


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("quantized::conv2d_relu", "int8 convolution"),
        ("quantized::linear_dynamic", "int8 linear"),
        ("quantized::add", "int8 other"),
        ("onednn::qconv2d_pointwise", "int8 convolution"),
        ("aten::quantized_lstm", "int8 recurrent"),
        ("aten::quantize_per_tensor", "float to int8"),
        ("quantized_decomposed::quantize_per_tensor", "float to int8"),
        ("aten::_choose_qparams_per_tensor", "float to int8"),
        ("aten::dequantize", "int8 to float"),
        ("quantized_decomposed::dequantize_per_tensor", "int8 to float"),
        ("aten::mkldnn_convolution", "float convolution"),
        ("aten::addmm", "float linear"),
        ("aten::bmm", "float linear"),
        ("aten::mkldnn_rnn_layer", "float recurrent"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "float attention"),
        ("aten::native_batch_norm", "float normalization"),
        ("aten::max_pool2d_with_indices", "float pooling"),
        ("aten::relu", ""),
        ("aten::converted", ""),
    ],
)
def test_what_an_operator_does_is_read_off_its_name(name, what):
    assert does(name) == what


def test_a_profiler_that_runs_is_an_error_of_the_profile_itself():
    with (
        torch.autograd.profiler.profile(),
        pytest.raises(QuantStageError, match="another profiler"),
    ):
        profiled(lambda: None, nullcontext)


# ---- sentences from planted profiles, so that no clock decides


def operator(name, share, ms=10.0, calls=1):
    return Operator(name, does(name), calls, ms * share, share)


def profile(ms, **shares):
    operators = tuple(
        operator(name.replace("__", "::"), share, ms)
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    )
    return Profile(ms, ms, 3, operators, sum(each.calls for each in operators))


FLOAT = profile(20.0, aten__mkldnn_convolution=0.9, aten__relu=0.1)


def sentences(
    own, fp32=FLOAT, *, recipe="static", stretches=(), batch=16, int8_macs=1.0, threads=1
):
    variant = built(made(Convolutional), recipe)
    converting = [each for each in own.operators if each.does in ("float to int8", "int8 to float")]
    slowness = Slowness(
        "static",
        "Net",
        "",
        batch=batch,
        threads=threads,
        ms=own.ms,
        fp32_ms=fp32.ms,
        operators=own.operators,
        fp32_operators=fp32.operators,
        conversions=sum(each.calls for each in converting),
        conversion_share=sum(each.share for each in converting),
        stretches=stretches,
        stayed=(Stayed("conv", "Conv2d", 1 - int8_macs),),
        int8_macs=int8_macs,
    )
    return tuple(brake.sentence for brake in brakes_on(variant, slowness, own, fp32))


def test_conversions_that_take_time_are_named_with_the_place_and_a_remedy():
    own = profile(
        10.0, quantized__conv2d=0.6, aten__quantize_per_tensor=0.25, aten__dequantize=0.15
    )
    text = sentences(own, stretches=(Stretch(("conv",), ("gelu",), ("fc",)),))[1]
    assert text.startswith("40 % of the time goes into 2 conversions")
    assert "around gelu between conv and fc" in text
    assert "keep_fp32=('conv', 'fc')" in text
    assert "flow='pt2e'" in text


def test_few_conversions_are_not_mentioned():
    own = profile(10.0, quantized__conv2d=0.95, aten__quantize_per_tensor=0.05)
    assert "conversions" not in " ".join(sentences(own))


def test_int8_kernels_that_are_no_faster_point_to_the_engine():
    text = sentences(profile(19.0, quantized__conv2d=1.0), batch=1)[1]
    assert "The int8 layers take 19 ms where FP32 takes 18 ms for the same" in text
    assert "engine='auto'" in text
    assert f"({torch.backends.quantized.engine} here)" in text
    assert "--quant-latency-batch=32" in text


def test_what_lies_between_int8_layers_bounds_the_speed():
    text = sentences(profile(10.0, quantized__conv2d=0.4, aten__softplus=0.5, aten__gelu=0.1))[1]
    assert text.startswith("60 % of the time is between the int8 layers (softplus, gelu)")
    assert text.endswith("It could be 3.33x as fast as FP32 at most.")


def test_calls_that_are_little_but_calling_are_said_to_be_too_small():
    tiny = profile(0.03, aten__relu=0.6, aten__addmm=0.4)  # two operators of 15 us
    assert "--quant-latency-batch" not in " ".join(sentences(tiny, tiny))
    tiny = profile(0.01, aten__relu=0.6, aten__addmm=0.4)  # of 5 us
    text = " ".join(sentences(profile(0.03, aten__relu=0.6, aten__addmm=0.4), tiny))
    assert "--quant-latency-batch=64" in text
    assert "at this size FP32 is the faster one" in text
    assert "pt2e" not in text
    assert "FP32 is the faster" not in " ".join(sentences(tiny, tiny))
    heavy = profile(0.01, aten__relu=0.4, aten__addmm=0.6)  # most of it multiplies
    assert "--quant-latency-batch" not in " ".join(sentences(heavy, heavy))


def test_more_threads_than_cores_are_named():
    assert "--quant-threads" in sentences(profile(10.0, quantized__conv2d=1.0), threads=999)[1]


def test_where_nothing_stands_out_it_says_so():
    (text,) = sentences(profile(5.0, quantized__conv2d=0.9, quantized__linear=0.1))[1:]
    assert text.startswith("No single cause stands out: try Recipe('static', engine='auto')")
    assert f"({torch.backends.quantized.engine} here)" in text
    assert text.endswith("or Recipe('static', flow='pt2e'), which compiles the model.")


@pytest.mark.slow
def test_a_compiled_graph_says_what_cannot_be_told():
    slowness = found(Convolutional, Recipe("static", flow="pt2e"))
    assert "inductor has merged the conversions to int8, at 2 places" in slowness.notes[0]
    assert slowness.stretches == ()
    assert slowness.conversions is None
    assert "int8 convolution" in {each.does for each in slowness.operators}
    assert "flow='pt2e'" not in text_of(slowness)
