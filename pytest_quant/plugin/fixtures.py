"""The quant_* fixtures. Override the inputs in your conftest; ask for the variants in your tests."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_quant.plugin.run import Run
    from pytest_quant.variant.variant import Variant

RUN: "pytest.StashKey[Run]" = pytest.StashKey()  # the run, in the config's stash, when gates are on


@pytest.fixture(scope="session")
def quant_model(request: pytest.FixtureRequest) -> Any:
    """Override: the trained FP32 model, an nn.Module or Subject(model, name="resnet18").

    It is never changed. Parametrize it to judge several models.
    """
    return _missing(request, "quant_model", "a trained FP32 torch.nn.Module")


@pytest.fixture(scope="session")
def quant_eval_data(request: pytest.FixtureRequest) -> Any:
    """Override: the data that accuracy is measured on: a DataLoader, a list of (inputs, targets) batches,
    a map-style Dataset, or anything that can be iterated more than once.

    Inputs: a tensor (model(x)), a list or tuple (model(*x)) or a dict (model(**x)). A batch that
    is a dict has its targets in "labels".
    """
    return _missing(request, "quant_eval_data", "batches of (inputs, targets)")


@pytest.fixture(scope="session")
def quant_calibration_data() -> Any:
    """Override: data for the calibration of static quantization, batches of inputs or of (inputs,
    targets); default: quant_train_data. It must not be the eval data."""
    return None


@pytest.fixture(scope="session")
def quant_train_data() -> Any:
    """Override: batches of (inputs, targets) for quantization-aware training."""
    return None


@pytest.fixture(scope="session")
def quant_train() -> Any:
    """Override: your own QAT loop, a callable(model) -> None that replaces the built-in one."""
    return None


@pytest.fixture(scope="session")
def quant_loss() -> Any:
    """Override: callable(outputs, targets) -> scalar tensor for the built-in QAT loop; default:
    cross-entropy."""
    return None


@pytest.fixture(scope="session")
def quant_qat_state() -> Any:
    """Override: the state dict of a fake-quantized model that was trained elsewhere, or a file with one;
    it replaces the training."""
    return None


@pytest.fixture(scope="session")
def quant_metric() -> Any:
    """Override: a Metric, a function of (outputs, targets), an object with update, compute and reset
    as in torchmetrics, or a dict name -> one of these; default: top-1 accuracy."""
    return None


@pytest.fixture(scope="session")
def quant_batch() -> Any:
    """Override: callable(batch) -> (inputs, targets), for loaders that yield batches of another form."""
    return None


@pytest.fixture(scope="session")
def quant_forward() -> Any:
    """Override: callable(model, inputs) -> outputs, for models that are not called
    as model(inputs), model(*inputs) or model(**inputs)."""
    return None


@pytest.fixture(scope="session")
def quant_latency_inputs() -> Any:
    """Override: the inputs of one timed call; default: the first eval batch."""
    return None


@pytest.fixture(scope="session")
def quant_slices() -> Any:
    """Override: callable(inputs, targets) -> a name for each sample of a batch, such as its camera or
    language, by which losses are reported and gated; None for a sample in no slice; default: the
    class, if targets are class numbers."""
    return None


@pytest.fixture(scope="session")
def _quant_switch(pytestconfig: pytest.Config) -> Any:
    """The run's session, or a skip; named first by each variant, so that no input is built."""
    run = pytestconfig.stash.get(RUN, None)
    return run if run is not None else pytest.skip("quantization gates run with --quant")


@pytest.fixture
def _quant_inputs(
    quant_model: Any,
    quant_eval_data: Any,
    quant_metric: Any,
    quant_batch: Any,
    quant_forward: Any,
    quant_latency_inputs: Any,
    quant_slices: Any,
) -> None:
    """What every variant depends on, so that a test's parameters of these reach it."""


@pytest.fixture
def _quant_fp32_inputs(_quant_inputs: Any) -> None:
    """What FP32 depends on; the fixture that a test has where our quant_fp32 is its, not its repo's own."""


@pytest.fixture
def _quant_dynamic_inputs(_quant_inputs: Any) -> None:
    """What a dynamic variant depends on."""


@pytest.fixture
def _quant_static_inputs(
    _quant_inputs: Any, quant_calibration_data: Any, quant_train_data: Any
) -> None:
    """What a static variant depends on."""


@pytest.fixture
def _quant_qat_inputs(
    _quant_inputs: Any,
    quant_train_data: Any,
    quant_train: Any,
    quant_loss: Any,
    quant_qat_state: Any,
) -> None:
    """What a QAT variant depends on."""


@pytest.fixture
def _quant_variant_inputs(_quant_inputs: Any) -> None:
    """What all variants depend on; the rest is looked up, since it depends on the parameter."""


@pytest.fixture
def quant_fp32(
    _quant_switch: Any, request: pytest.FixtureRequest, _quant_fp32_inputs: Any
) -> "Variant":
    """The FP32 baseline: a copy of quant_model, in eval mode on the CPU."""
    return _look_up(_quant_switch, request, None)


@pytest.fixture
def quant_dynamic(
    _quant_switch: Any, request: pytest.FixtureRequest, _quant_dynamic_inputs: Any
) -> "Variant":
    """Dynamic quantization: int8 weights of Linear, recurrent and embedding layers, activations
    quantized during each call. Needs no data."""
    return _look_up(_quant_switch, request, "dynamic")


@pytest.fixture
def quant_static(
    _quant_switch: Any, request: pytest.FixtureRequest, _quant_static_inputs: Any
) -> "Variant":
    """Static post-training quantization: int8 weights and activations, calibrated on about 200
    samples of quant_calibration_data."""
    return _look_up(_quant_switch, request, "static")


@pytest.fixture
def quant_qat(
    _quant_switch: Any, request: pytest.FixtureRequest, _quant_qat_inputs: Any
) -> "Variant":
    """Quantization-aware training: fine-tuned with fake-quantize modules, then converted."""
    return _look_up(_quant_switch, request, "qat")


@pytest.fixture
def quant_variant(
    _quant_switch: Any, request: pytest.FixtureRequest, _quant_variant_inputs: Any
) -> "Variant":
    """Each variant in turn: dynamic, static, qat and the recipes of pytest_quant_recipes; or those of
    @pytest.mark.parametrize("quant_variant", [Recipe(...)], indirect=True)."""
    return _look_up(_quant_switch, request, request.param)


def _look_up(run: Any, request: pytest.FixtureRequest, recipe: Any) -> "Variant":
    from pytest_quant.errors import hidden

    __tracebackhide__ = hidden
    variant: Variant = run.lookup.variant(request, recipe)
    return variant


def _missing(request: pytest.FixtureRequest, fixture: str, expected: str) -> Any:
    from pytest_quant.errors import QuantStageError
    from pytest_quant.plugin.misspelt import misspelt

    questions = [f" {text}" for meant, text in misspelt(request.session) if meant == fixture]
    raise QuantStageError(
        "fixture",
        f"{fixture} is not defined; pytest-quant needs {expected}. Override the "
        f"session-scoped fixture {fixture} in your conftest.py.{''.join(questions)}",
    )
