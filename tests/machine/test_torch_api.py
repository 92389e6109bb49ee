"""PyTorch API: each private or deprecated name that we use is there; a test fails for each that is gone."""

import importlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import batches, tiny_linear
from torch import nn

import pytest_quant
from pytest_quant import Conditions, QuantStageError, Recipe, Subject, open_store
from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import known_warnings_silenced

# What a module's, tensor's or graph's own attributes are; looked up where they are used.
ATTRIBUTES = {
    nn.Linear: ("_parameters", "_buffers", "_modules", "_apply"),
    nn.LSTM: ("_flat_weights", "_flat_weights_names"),
    nn.modules.rnn.RNNBase: ("_init_flat_weights", "_update_flat_weights"),
}
AO = (
    "QuantStub", "DeQuantStub", "QConfig", "FakeQuantize", "prepare", "prepare_qat", "convert",
    "fuse_modules", "fuse_modules_qat", "quantize_dynamic", "get_default_qconfig_mapping",
    "get_default_qat_qconfig_mapping", "per_channel_dynamic_qconfig", "default_dynamic_qconfig",
    "float_qparams_weight_only_qconfig", "default_embedding_qat_qconfig", "default_weight_observer",
    "default_weight_fake_quant",
)  # fmt: skip


@pytest.mark.parametrize("name", torch_api.MODULES)
def test_each_module_is_there(name):
    assert torch_api.has(name) is None
    assert torch_api.module(name) is importlib.import_module(name)


@pytest.mark.parametrize("name", AO)
def test_each_name_of_pytorchs_stack_is_there(name):
    assert hasattr(torch_api.ao(), name)


@pytest.mark.parametrize(
    "lookup",
    [
        torch_api.convolution_base, torch_api.transposed_base, torch_api.batchnorm_base,
        torch_api.norm_base, torch_api.attention_linear, torch_api.packed_classes,
        torch_api.int8_matmul, torch_api.int4_kernel, torch_api.profiler_runs, torch_api.kernels_found,
    ],
)  # fmt: skip
def test_each_look_up_finds_something(lookup):
    assert lookup() is not None


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in ATTRIBUTES.items() for name in names]
)
def test_each_attribute_is_there(owner, name):
    made = owner(2, 2) if owner in (nn.Linear, nn.LSTM) else owner
    assert hasattr(made, name)


def test_base_classes_are_those_of_the_layers():
    assert issubclass(nn.Conv3d, torch_api.convolution_base())
    assert issubclass(nn.ConvTranspose1d, torch_api.transposed_base())
    assert issubclass(nn.BatchNorm2d, torch_api.batchnorm_base())
    assert issubclass(nn.InstanceNorm1d, torch_api.norm_base())
    assert isinstance(nn.MultiheadAttention(4, 1).out_proj, torch_api.attention_linear())


def test_kernels_are_counted_under_the_names_that_inductor_uses():
    text = Path(
        importlib.import_module("torchao.quantization.pt2e.inductor_passes.x86").__file__
    ).read_text()
    for name in torch_api.KERNEL_COUNTERS:
        assert f'"{name}"' in text


def test_loggers_are_those_that_pytorch_has():
    known = logging.Logger.manager.loggerDict
    assert set(torch_api.NOISY_LOGGERS) & set(known)


def test_buffers_that_no_state_dict_has_are_seen():
    module = nn.Linear(2, 2)
    module.register_buffer("kept", torch.zeros(1))
    module.register_buffer("unsaved", torch.zeros(3), persistent=False)
    assert [name for name, _ in torch_api.unsaved_buffers(module)] == ["unsaved"]


def test_a_compiled_model_is_known():
    assert torch_api.is_compiled(torch.compile(nn.Linear(2, 2)))
    assert not torch_api.is_compiled(nn.Linear(2, 2))


def test_nodes_of_an_exported_graph_name_their_modules():
    program = torch.export.export(tiny_linear(), (torch.zeros(4, 8),), strict=True)
    graph = program.module()
    owners = {torch_api.owner_of(node) for node in graph.graph.nodes if node.op == "call_function"}
    assert {"0", "1", "2"} <= owners
    torch_api.refuse_unowned(graph)
    assert torch_api.form_of_outputs(graph) is not None
    for node in graph.graph.nodes:
        node.meta.pop(torch_api.STACK, None)
    with pytest.raises(QuantStageError, match="no layer has a name"):
        torch_api.refuse_unowned(graph)


class Net(nn.Sequential):
    """A fused convolution with BatchNorm, one alone, and a Linear."""

    def __init__(self):
        super().__init__(
            nn.Conv1d(1, 2, 3),
            nn.BatchNorm1d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.BatchNorm1d(12),
            nn.Linear(12, 3),
        )


@pytest.fixture(params=["fx", "pt2e"])
def prepared(request):
    """A model that QAT is about to train, in either stack."""
    from pytest_quant.quantize.flows import fx, pt2e
    from pytest_quant.quantize.flows.example import Example

    torch.manual_seed(0)
    module, x = Net(), torch.randn(4, 1, 8)
    example = Example((x,), {}, module.eval()(x))
    flow = {"fx": fx, "pt2e": pt2e}[request.param]
    with known_warnings_silenced():
        made = flow.prepare(module.train(), Recipe("qat"), "onednn", example).train()
    made(x)
    return made, x


def test_what_is_frozen_stands_still(prepared):
    module, x = prepared
    torch_api.freeze_batchnorm(module)
    torch_api.freeze_observers(module)

    def state():
        return {name: value.clone() for name, value in module.state_dict().items()
                if re.search("running|min_val|max_val|scale|zero_point", name)}  # fmt: skip

    before = state()
    for _ in range(3):
        module(100 * x)
    assert before.keys()
    for name, value in state().items():
        assert torch.equal(value, before[name]), name


def test_with_rounding_off_the_model_computes_as_fp32(prepared):
    module, x = prepared
    torch_api.freeze_batchnorm(module)
    rounded = module.eval()(x)
    torch_api.round_nothing(module)
    assert not torch.equal(module(x), rounded)


@pytest.mark.parametrize(
    ("freeze", "method"),
    [
        (torch_api.freeze_observers, "disable_observer"),
        (torch_api.round_nothing, "disable_fake_quant"),
    ],
)
@pytest.mark.parametrize("loss", ["gone", "without effect"])
def test_a_switch_that_pytorch_has_lost_is_an_error_and_not_silence(
    prepared, freeze, method, loss, monkeypatch
):
    module, _ = prepared
    fakes = [
        m
        for m in module.modules()
        if any(c.__name__ == "FakeQuantizeBase" for c in type(m).__mro__)
    ]
    assert fakes
    for owner in {c for fake in fakes for c in type(fake).__mro__ if method in vars(c)}:
        if loss == "gone":
            monkeypatch.delattr(owner, method)
        else:
            monkeypatch.setattr(owner, method, lambda self: None)
    with pytest.raises(
        QuantStageError, match="this PyTorch is another one than this pytest-quant knows"
    ):
        freeze(module)


def test_statistics_that_go_on_learning_are_an_error(monkeypatch):
    qat = torch.ao.nn.intrinsic.qat.modules.conv_fused._ConvBnNd
    from pytest_quant.quantize.flows import fx
    from pytest_quant.quantize.flows.example import Example

    x = torch.randn(4, 1, 8)
    with known_warnings_silenced():
        made = fx.prepare(Net().train(), Recipe("qat"), "x86", Example((x,), {}, None)).train()
    monkeypatch.setattr(qat, "freeze_bn_stats", lambda self: None)
    with pytest.raises(QuantStageError, match="goes on learning"):
        torch_api.freeze_batchnorm(made)


HIDDEN = """
import sys
sys.modules[{hidden!r}] = None
import torch
from pytest_quant import Conditions, QuantStageError, Recipe, Subject, open_store
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
x = torch.randn(32, 8)
data = [(x, x[:, :3].argmax(1))]
store = open_store(Conditions(threads=1))
variant = store.variant(Subject(model, eval_data=data, calibration_data=[x + 1]), Recipe({recipe}))
print(variant.evaluation.values)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "recipe"),
    [
        ("torchao", "'static', flow='fx'"),
        ("torch._inductor", "'dynamic'"),
        ("torch.ao.quantization.quantize_fx", "'dynamic'"),
        ("torch.ao.quantization.fx.custom_config", "'weight_only'"),
    ],
)
def test_what_is_gone_breaks_only_what_needs_it(hidden, recipe):
    script = HIDDEN.format(hidden=hidden, recipe=recipe)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "top-1" in done.stdout, done.stderr


def test_a_module_that_is_gone_is_named_with_what_is_lost(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.ao.quantization.quantize_fx", None)
    store = open_store(Conditions(threads=1))
    subject = Subject(tiny_linear(), eval_data=batches(), calibration_data=batches(seed=2))
    with pytest.raises(QuantStageError, match="this PyTorch has no FX quantization any more"):
        store.variant(subject, Recipe("static", flow="fx"))
    with pytest.raises(QuantStageError, match="without which there is no flows fx and parts"):
        torch_api.module("torch.ao.quantization.quantize_fx")


def test_no_other_file_of_the_package_names_what_is_private():
    private = r"torch\.ao\.quantization\.|_ConvNd|_BatchNorm\b|_NormBase|_out_spec|nn_module_stack"
    private += r"|_non_persistent_buffers_set|import_module\(\"torch|\._metadata|_profiler_enabled"
    private += r"|\b_dynamo\b|_orig_mod"
    package = Path(pytest_quant.__file__).parent
    found = [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path in package.rglob("*.py")
        if path.parent.name != "torch_api"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(private, line) and not line.strip().startswith(("#", '"', "`"))
    ]
    assert [line for line in found if "``torch" not in line and 'STACKS = {"ao"' not in line] == []


def test_what_attention_is_made_of_can_be_seen():
    seen = []

    class Seeing(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            if func.__name__ == "multi_head_attention_forward":
                with self:
                    return torch_api.unguarded(func)(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    layer, x = torch.nn.MultiheadAttention(8, 2).eval(), torch.randn(3, 2, 8)
    expected = layer(x, x, x, need_weights=False)[0]
    with Seeing(), torch.no_grad(), torch_api.without_fast_path():
        assert torch.equal(layer(x, x, x, need_weights=False)[0], expected)
    assert seen.count("multi_head_attention_forward") == 1
    assert seen.count("linear") == 2
