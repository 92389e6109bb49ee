"""Traps of PyTorch's quantization that a naive tool falls into; each was fallen into once."""

import pytest
import torch
from quantizable import anything
from torch import nn

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.one_call import multiply_adds
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject

EACH_KIND = """
def test_dynamic(quant_dynamic):
    assert_gates(quant_dynamic, max_accuracy_drop=0.5, max_size_ratio=1)

def test_static(quant_static):
    assert_gates(quant_static, max_accuracy_drop=0.5, max_size_ratio=1)

def test_qat(quant_qat):
    assert_gates(quant_qat, max_accuracy_drop=0.5, max_size_ratio=1)
"""
CONVNET = """
@pytest.fixture(scope="session")
def quant_model():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
    return Subject(nn.Sequential(body, head).eval(), name="bad")

@pytest.fixture(scope="session")
def quant_eval_data():
    return images(1)

@pytest.fixture(scope="session")
def quant_train_data():
    return images(2)
"""


def model(source):
    """Source of a folder's model, a class Mine that derives from toys.Own."""
    return (
        f"{source}\n@pytest.fixture(scope='session')\n"
        "def quant_model():\n    return Subject(Mine().eval(), name='bad')\n"
    )


# PyTorch's warnings


@pytest.mark.parametrize("filter", ["error", "always"])
def test_pytorchs_known_warnings_reach_nobody(model_repo, filter):
    model_repo.spoil(CONVNET, EACH_KIND)
    result = model_repo.judge("-W", filter, passed=3)
    result.stdout.no_fnmatch_line("*warnings summary*")


@pytest.mark.slow
def test_a_fresh_process_in_which_warnings_are_errors_is_clean(model_repo):
    model_repo.spoil(CONVNET, EACH_KIND)
    result = model_repo.pytester.runpytest_subprocess("--quant", "-W", "error")
    result.assert_outcomes(passed=4)


def test_the_users_own_warnings_pass(model_repo):
    model_repo.spoil(
        model("""
import warnings

class Mine(Own):
    def forward(self, x):
        warnings.warn("inputs are scaled twice")
        warnings.warn("torch.ao.quantization: Mine.forward is old", DeprecationWarning)
        return super().forward(x)
"""),
        EACH_KIND,
    )
    result = model_repo.judge("-W", "always", passed=3)
    result.stdout.fnmatch_lines_random(
        ["*UserWarning: inputs are scaled twice", "*DeprecationWarning: *Mine.forward is old"]
    )
    result.stdout.no_fnmatch_line("*reduce_range*")


# dynamic quantization of a convolutional network


@pytest.mark.slow
def test_a_convnets_one_linear_layer_is_a_tiny_share_and_a_speed_gate_is_told_so(model_repo):
    model_repo.spoil(
        CONVNET, "def test_speed(quant_dynamic):\n    assert_min_speedup(quant_dynamic, 20)\n"
    )
    result = model_repo.judge(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *speed-up FAIL: dynamic is *x*required 20x",
            "*cause and remedy*",
            "dynamic takes * ms for a batch of 80, FP32 * ms; of its time*: * % float convolution, *",
            "Dynamic quantization has no int8 convolutions, and they are * % of this model's "
            "multiply-adds: take Recipe('static') *",
            "bad * fp32 * 1.00x *",
            "bad * dynamic *x ?*, *?*x * 1.?? %  speed-up FAIL",  # both ratios, and the share
            "bad dynamic: stayed FP32: *0.0, *0.3*",
        ]
    )


def test_a_share_gate_names_what_stayed_fp32(model_repo):
    model_repo.spoil(
        CONVNET, "def test_share(quant_dynamic):\n    assert_min_int8_share(quant_dynamic)\n"
    )
    result = model_repo.judge(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *int8 share FAIL: 1.0? % of dynamic's parameters became int8, required 90 %; stayed*: 0.0*"
        ]
    )


# attention

ENCODER = model("""
seen = []

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.encoder(x.squeeze(1)).mean(dim=1))

@pytest.fixture(scope="session")
def quant_eval_data():
    return images(1)

@pytest.fixture(scope="session")
def quant_train_data():
    return images(2)

@pytest.fixture(scope="session")
def quant_forward():
    def forward(model, inputs):
        fp32 = isinstance(model.head, nn.Linear) and not hasattr(model.head, "_packed_params")
        seen.append((fp32, torch.backends.mha.get_fastpath_enabled()))
        return model(inputs)
    return forward

@pytest.fixture(params=[True, False])
def fast_path(request):
    seen.clear()
    torch.backends.mha.set_fastpath_enabled(request.param)
    yield request.param
    torch.backends.mha.set_fastpath_enabled(True)

@pytest.fixture
def seen_so_far():
    return seen
""")


def test_the_attention_fast_path_is_off_for_the_variant_only_and_restored(model_repo):
    model_repo.spoil(
        ENCODER,
        """
        MHA = "torch.backends.mha.set_fastpath_enabled"

        def test_evaluation(fast_path, seen_so_far, quant_model, quant_dynamic):
            import torch
            seen_so_far.clear()  # multiply-adds are counted off the fast path
            for variant in (quant_dynamic, quant_dynamic.fp32):
                variant._measures.evaluate(variant)  # a fresh pass, without counting multiply-adds
            at_the_door = quant_dynamic.admitted.door.state.values[MHA]
            assert set(seen_so_far) >= {(True, at_the_door), (False, False)}
            assert (True, not at_the_door) not in seen_so_far
            assert (False, True) not in seen_so_far
            assert torch.backends.mha.get_fastpath_enabled() is fast_path

        def test_counting(fast_path, quant_dynamic):
            import torch
            assert_max_accuracy_drop(quant_dynamic, 0.5)
            assert quant_dynamic.int8_share.macs > 0
            assert torch.backends.mha.get_fastpath_enabled() is fast_path

        def test_timing(fast_path, seen_so_far, quant_dynamic):
            import torch
            pair = quant_dynamic.pair("given")
            seen_so_far.clear()
            for side in (pair.a, pair.b):
                with side.context():
                    side.call()
            assert seen_so_far == [(True, fast_path), (False, False)]
            assert torch.backends.mha.get_fastpath_enabled() is fast_path
        """,
    )
    model_repo.judge(passed=6)


def test_an_encoder_inside_a_model_stays_fp32_under_static_and_qat(model_repo):
    model_repo.spoil(ENCODER, EACH_KIND.replace("max_size_ratio=1", "min_int8_share=0.02"))
    result = model_repo.judge(passed=3)
    result.stdout.fnmatch_lines(
        [f"bad {kind}: stayed FP32: encoder.layers.0.self_attn, *" for kind in ("static", "qat")]
    )


@pytest.mark.slow
def test_an_encoder_that_fx_cannot_trace_is_quantized_by_pt2e(model_repo):
    encoder = ENCODER.replace(
        "class Mine(nn.Module):",
        """
class Traced(nn.TransformerEncoder):
    def forward(self, x):
        return super().forward(x)

class Mine(nn.Module):
""",
    ).replace("self.encoder = nn.TransformerEncoder(", "self.encoder = Traced(")
    encoder = encoder.replace("isinstance(model.head, nn.Linear)", "None")  # a graph has no head
    model_repo.spoil(encoder, EACH_KIND.replace("max_size_ratio=1", "min_int8_share=0.5"))
    result = model_repo.judge(passed=3)
    result.stdout.fnmatch_lines(
        [
            f"bad {kind}: quantized by flow pt2e, since fx cannot trace quant_model: *"
            "(conftest.py:*: return super().forward(x))"
            for kind in ("static", "qat")
        ]
    )


def test_a_recurrent_layer_is_int8_in_dynamic_and_stays_fp32_in_static(model_repo):
    model_repo.spoil(
        model("""
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.core = nn.LSTM(4, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.core(x.squeeze(1))[0][:, -1])

@pytest.fixture(scope="session")
def quant_eval_data():
    return images(1)

@pytest.fixture(scope="session")
def quant_train_data():
    return images(2)
"""),
        """
        def test_dynamic(quant_dynamic):
            assert_gates(quant_dynamic, max_accuracy_drop=0.05, min_int8_share=0.9)
            assert_min_int8_share(quant_dynamic, 1, of="macs")

        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.05)
            of_head = 16 * 3 / (16 * 3 + 4 * 4 * (16 * 4 + 16 * 16))
            assert quant_static.int8_share.macs == of_head
            assert quant_static.int8_share.stayed_fp32 == ("core",)
        """,
    )
    model_repo.judge(passed=2)


# what FX traces


@pytest.mark.parametrize(
    "call", ["model(x)", "model(x, None)", "model(x, labels=None)", "model(x=x)"]
)
def test_an_optional_argument_that_is_not_given_is_not_traced(model_repo, call):
    model_repo.spoil(
        model(f"""
class Mine(Own):
    def forward(self, x, labels=None):
        x = super().forward(x)
        if labels is not None:
            return nn.functional.cross_entropy(x, labels)
        return x

@pytest.fixture(scope="session")
def quant_forward():
    return lambda model, x: {call}
"""),
        """
        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.05, min_baseline=1)

        def test_qat(quant_qat):
            assert_max_accuracy_drop(quant_qat, 0.05)
        """,
    )
    model_repo.judge(passed=2)


def test_batches_that_are_dicts_pass_by_name_and_keep_their_labels_out(model_repo):
    model_repo.spoil(
        model("""
class Mine(Own):
    def forward(self, mask=None, x=None, labels=None):
        logits = super().forward(x if mask is None else x * mask)
        return {"logits": logits} if labels is None else {"loss": logits.sum(), "logits": logits}

@pytest.fixture(scope="session")
def quant_eval_data():
    return [{"x": x, "labels": y} for x, y in batches(1)]

@pytest.fixture(scope="session")
def quant_train_data():
    return [{"x": x, "labels": y} for x, y in batches(2)]
"""),
        EACH_KIND.replace("0.5", "0.05"),
    )
    model_repo.judge(passed=3)


DROPOUT = {
    "F.dropout": "nn.functional.dropout(x, 0.9, self.training)",
    "F.dropout1d": "nn.functional.dropout1d(x.unsqueeze(2), 0.9, self.training).squeeze(2)",
    "torch.dropout": "torch.dropout(x, 0.9, self.training)",
    "attention": "nn.functional.scaled_dot_product_attention(x, x, x, None, 0.9 if self.training else 0.0)",
    "attention by name": "nn.functional.scaled_dot_product_attention("
    "x, x, x, dropout_p=0.9 if self.training else 0.0)",
    "nn.Dropout": "self.drop(x)",
}


@pytest.mark.parametrize("how", DROPOUT)
def test_dropout_does_not_stay_on_after_qat(model_repo, how):
    model_repo.spoil(
        model(f"""
class Mine(Own):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last({DROPOUT[how]})
"""),
        """
        import torch

        def test_qat(quant_qat):
            x = torch.randn(64, 6)
            assert torch.equal(quant_qat(x), quant_qat(x))
            with torch.no_grad():
                assert torch.equal(quant_qat.fake_quantized(x), quant_qat.fake_quantized(x))
        """,
    )
    model_repo.judge(passed=1)


# QAT and calibration that see nothing


@pytest.mark.parametrize(
    "body", ["pass", "model.eval()", "model(torch.empty(0, 6))"], ids=["never", "eval", "empty"]
)
def test_observers_that_saw_nothing_are_refused(model_repo, body):
    model_repo.spoil(
        f"""
@pytest.fixture(scope="session")
def quant_train():
    def train(model):
        {body}
    return train
""",
        EACH_KIND,
    )
    result = model_repo.judge(errors=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            "bad * static * 2 PASS",
            "bad qat: train ERROR: observers saw nothing (*quant_train must run the whole*",
        ]
    )


def test_a_quant_forward_that_does_not_call_the_model_is_refused(model_repo):
    model_repo.spoil(
        """
@pytest.fixture(scope="session")
def quant_forward():
    return lambda model, x: torch.cat([x[:, :2], x[:, 2:3]], dim=1)
""",
        "def test_static(quant_static): pass",
    )
    result = model_repo.judge(errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR: quant_forward does not run the model that it is given: none of its layers*"]
    )


# size


def test_size_is_counted_to_the_byte(model_repo):
    model_repo.spoil(
        "",
        """
        WEIGHTS, CHANNELS = 6 * 12 + 12 * 3, 12 + 3
        OUTPUTS = 2 * (4 + 8)  # each quantized layer saves a scale and a zero point of its outputs
        SCALES = CHANNELS * (8 + 8)  # a float64 scale and an int64 zero point

        def test_fp32(quant_fp32):
            assert quant_fp32.size.tensor_bytes == 4 * (WEIGHTS + CHANNELS)

        def test_dynamic(quant_dynamic):
            assert quant_dynamic.size.tensor_bytes == WEIGHTS + SCALES + 4 * CHANNELS + OUTPUTS

        @pytest.mark.parametrize("quant_variant", [Recipe("dynamic", per_channel=False)], indirect=True)
        def test_per_tensor(quant_variant):
            assert quant_variant.size.tensor_bytes == WEIGHTS + 4 * CHANNELS + OUTPUTS

        def test_static(quant_static):
            inputs = 4 + 8
            assert quant_static.size.tensor_bytes == WEIGHTS + SCALES + 4 * CHANNELS + OUTPUTS + inputs
        """,
    )
    model_repo.judge(passed=4)


def test_tied_weights_are_stored_once(model_repo):
    model_repo.spoil(
        model("""
class Mine(Own):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(6, 12, bias=False)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.relu(self.first(x)) + 0 * self.again(x))
"""),
        """
        def test_fp32(quant_fp32):
            assert quant_fp32.size.tensor_bytes == 4 * (6 * 12 + 12 + 12 * 3 + 3)
        """,
    )
    model_repo.judge(passed=1)


def test_a_layer_that_is_called_twice_is_stored_once_and_stays_right(model_repo):
    model_repo.spoil(
        model("""
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.same = nn.Linear(6, 6)
        nn.init.eye_(self.same.weight)
        nn.init.constant_(self.same.bias, 5.0)
        self.last = nn.Linear(6, 3)
        nn.init.eye_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x):
        return self.last(self.same(self.same(x)))
"""),
        """
        BYTES = 36 + 18 + (6 + 3) * (8 + 8 + 4) + 2 * (4 + 8)

        def test_dynamic(quant_dynamic):
            assert quant_dynamic.size.tensor_bytes == BYTES
            assert_max_accuracy_drop(quant_dynamic, 0.1, min_baseline=0.99)

        def test_static(quant_static):
            assert BYTES <= quant_static.size.tensor_bytes < BYTES + 36
            assert_max_accuracy_drop(quant_static, 0.1)

        def test_qat(quant_qat):
            assert BYTES <= quant_qat.size.tensor_bytes < BYTES + 36
            assert_max_accuracy_drop(quant_qat, 0.1)
        """,
    )
    model_repo.judge(passed=3)


def test_a_megabyte_is_a_million_bytes(model_repo):
    model_repo.spoil(
        """
@pytest.fixture(scope="session")
def quant_model():
    wide = nn.Sequential(nn.Linear(6, 100_000, bias=False), nn.Linear(100_000, 4))
    return Subject(wide.eval(), name="bad")
""",
        """
        def test_size(quant_fp32):
            assert_max_size(quant_fp32, mb=4.000016)

        def test_too_large(quant_fp32):
            assert_max_size(quant_fp32, mb=4.000015)
        """,
    )
    result = model_repo.judge(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*size FAIL: fp32 needs 4.00 MB*", "bad * fp32 * 4.00 * size FAIL"]
    )


# engines


@pytest.mark.parametrize("engine", ["onednn", "fbgemm", "qnnpack"])
def test_a_variant_runs_and_is_copied_in_its_own_engine(model_repo, engine):
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"this PyTorch has no {engine}")
    model_repo.spoil(
        CONVNET,
        f"""
        import torch

        @pytest.mark.parametrize("quant_variant", [Recipe("static", engine="{engine}")], indirect=True)
        def test_engine(quant_variant, quant_eval_data):
            before = torch.backends.quantized.engine
            assert before != "{engine}"
            assert quant_variant.recipe.engine == "{engine}"
            expected = quant_variant(quant_eval_data[0][0])
            assert torch.backends.quantized.engine == before
            copied = quant_variant.pair("given").remade()
            assert torch.backends.quantized.engine == before
            with copied.b.context():
                assert torch.backends.quantized.engine == "{engine}"
                # the side's call returns what the copied model gives
                assert torch.equal(copied.b.call(), expected)
            assert torch.backends.quantized.engine == before
            assert_max_accuracy_drop(quant_variant, 0.5)
            assert torch.backends.quantized.engine == before
        """,
    )
    model_repo.judge(passed=1)


# multiply-adds, counted by hand: batch x positions x inputs x outputs


class Attention(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **how)

    def forward(self, query, key=None):
        key = query if key is None else key
        return self.attention(query, key, key)[0][..., 0, :]


class Recurrent(nn.Module):
    def __init__(self, kind, **how):
        super().__init__()
        self.core = kind(6, 5, batch_first=True, **how)

    def forward(self, x):
        return self.core(x)[0][:, -1]


WIDTH, TOKENS, MEMORY = 8, 7, 3
# Of attention the projections; products of two activations, as of queries and keys, belong to no layer.
OUTPUT = {"attention.out_proj": 4 * TOKENS * WIDTH**2}
COUNTED = {
    "Linear": (nn.Linear(6, 5), torch.ones(4, 6), {"": 4 * 6 * 5}),
    "Linear on a sequence": (
        nn.Sequential(nn.Linear(6, 5), nn.Flatten()),
        torch.ones(4, 7, 6),
        {"0": 4 * 7 * 6 * 5},
    ),
    "one Linear called twice": (
        nn.Sequential(same := nn.Linear(6, 6), nn.ReLU(), same),
        torch.ones(4, 6),
        {"0": 2 * 4 * 6 * 6},
    ),
    "Conv2d": (
        nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten()),
        torch.ones(2, 3, 8, 8),
        {"0": 2 * (4 * 4) * 8 * 3 * 9},
    ),
    "depthwise Conv2d": (
        nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Flatten()),
        torch.ones(2, 6, 8, 8),
        {"0": 2 * (8 * 8) * 6 * 9},
    ),
    "Conv1d": (
        nn.Sequential(nn.Conv1d(6, 5, 3, dilation=2), nn.Flatten()),
        torch.ones(2, 6, 10),
        {"0": 2 * 6 * 5 * 6 * 3},
    ),
    "ConvTranspose2d": (
        nn.Sequential(nn.ConvTranspose2d(3, 8, 2, stride=2), nn.Flatten()),
        torch.ones(2, 3, 4, 4),
        {"0": 2 * (4 * 4) * 3 * 8 * 4},
    ),
    "LSTM": (
        Recurrent(nn.LSTM, num_layers=2),
        torch.ones(4, 7, 6),
        {"core": 4 * 7 * 4 * (5 * 6 + 5 * 5 + 5 * 5 + 5 * 5)},
    ),
    "GRU in both directions": (
        Recurrent(nn.GRU, bidirectional=True),
        torch.ones(4, 7, 6),
        {"core": 4 * 7 * 2 * 3 * (5 * 6 + 5 * 5)},
    ),
    "self-attention": (
        Attention(batch_first=True),
        torch.ones(4, TOKENS, WIDTH),
        {"attention": 4 * 3 * TOKENS * WIDTH**2, **OUTPUT},
    ),
    "cross-attention": (
        Attention(batch_first=True, kdim=WIDTH, vdim=WIDTH),
        (torch.ones(4, TOKENS, WIDTH), torch.ones(4, MEMORY, WIDTH)),
        {"attention": 4 * (TOKENS * WIDTH**2 + 2 * MEMORY * WIDTH**2), **OUTPUT},
    ),
    "cross-attention with keys of another width": (
        Attention(batch_first=True, kdim=5, vdim=5),
        (torch.ones(4, TOKENS, WIDTH), torch.ones(4, MEMORY, 5)),
        {"attention": 4 * (TOKENS * WIDTH**2 + 2 * MEMORY * WIDTH * 5), **OUTPUT},
    ),
    "TransformerEncoder": (
        nn.Sequential(
            nn.TransformerEncoderLayer(WIDTH, 2, dim_feedforward=16, batch_first=True), nn.Flatten()
        ),
        torch.ones(4, TOKENS, WIDTH),
        {
            "0.self_attn": 4 * 3 * TOKENS * WIDTH**2,
            "0.self_attn.out_proj": 4 * TOKENS * WIDTH**2,
            "0.linear1": 4 * TOKENS * WIDTH * 16,
            "0.linear2": 4 * TOKENS * 16 * WIDTH,
        },
    ),
}


@pytest.mark.parametrize("what", COUNTED)
def test_multiply_adds_are_counted_on_fp32(what):
    module, inputs, expected = COUNTED[what]
    first = inputs[0] if isinstance(inputs, tuple) else inputs
    subject = Subject(
        module.eval(),
        eval_data=[(inputs, torch.zeros(len(first), dtype=torch.long))],
        metric=anything,
    )
    fp32 = open_store(Conditions(threads=1)).fp32(subject)
    assert multiply_adds(fp32) == expected
