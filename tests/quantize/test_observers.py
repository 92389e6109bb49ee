"""Observers that clip: the same class for both of PyTorch's stacks, used as their own ones."""

import copy
import importlib
import io
import pickle

import pytest
import torch
from activations import bins_of, normal, with_outlier
from torch.ao import quantization as ao
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx

from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.quantize.flows.flow import unobserved
from pytest_quant.quantize.observers import activation_observer
from pytest_quant.quantize.ranges import percentile_range

NAMES = ("percentile", "entropy", "mse")
STACKS = ("torch.ao.quantization.observer", "torchao.quantization.pt2e.observer")
every_name = pytest.mark.parametrize("name", NAMES)
OUTLIER = 40.0


@pytest.fixture(params=STACKS)
def stack(request):
    """The module of observers of one stack after the other."""
    pytest.importorskip(request.param.partition(".")[0])
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def _silenced():
    with known_warnings_silenced():
        yield


def observer(name, module=ao, **arguments):
    return activation_observer(name, module).with_args(**arguments)()


def qparams(observer, values):
    """Scale and zero point after the values were seen."""
    assert observer(values) is values
    scale, zero_point = observer.calculate_qparams()
    assert scale.shape == zero_point.shape == (1,)
    return float(scale), int(zero_point)


def conv_net():
    """Three convolutions on [n, 3, 8, 8], with weights that FX fuses and quantizes."""
    torch.manual_seed(0)
    conv, norm, relu = torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU
    layers = [conv(3, 8, 3), norm(8), relu(), conv(8, 8, 3), relu(), conv(8, 4, 1)]
    return torch.nn.Sequential(*layers).eval()


def images(seed=0, outlier=None):
    batch = normal(16 * 3 * 8 * 8, seed).reshape(16, 3, 8, 8)
    if outlier is not None:
        batch[0, 0, 0, 0] = outlier
    return batch


def sqnr(exact, approximate):
    """Signal to quantization noise in dB."""
    return float(20 * torch.log10(exact.norm() / (exact - approximate).norm()))


# --- the class


@every_name
def test_it_is_one_class_for_each_stack(name, stack):
    found = activation_observer(name, stack)
    assert found is activation_observer(name, stack)
    assert issubclass(found, stack.UniformQuantizationObserverBase)
    assert isinstance(observer(name, stack), stack.ObserverBase)
    assert pickle.loads(pickle.dumps(found)) is found


def test_stacks_do_not_share_classes():
    pytest.importorskip("torchao")
    first, second = (importlib.import_module(stack) for stack in STACKS)
    assert activation_observer("mse", first) is activation_observer("mse", ao)
    assert activation_observer("mse", first) is not activation_observer("mse", second)


def test_what_cannot_be_observed_is_refused():
    with pytest.raises(ValueError, match="there are histogram, percentile, entropy, mse"):
        activation_observer("kl", ao)
    with pytest.raises(NotImplementedError, match="one static range for a tensor"):
        observer("mse", qscheme=torch.per_channel_affine)
    with pytest.raises(NotImplementedError, match="is_dynamic True"):
        observer("mse", is_dynamic=True)
    for percentile in (0, 101):
        with pytest.raises(ValueError, match="more than 0 and at most 100"):
            observer("percentile", percentile=percentile)


@every_name
@pytest.mark.parametrize("again", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_goes_on_by_itself(name, stack, again):
    first = observer(name, stack, dtype=torch.quint8)
    expected = qparams(first, normal(1000))
    second = again(first)
    qparams(second, 100 * normal(1000))
    assert qparams(first, torch.tensor([])) == expected
    assert qparams(second, torch.tensor([])) != expected


@every_name
def test_a_state_dict_carries_all_that_was_seen(name, stack):
    first, second, whole = (observer(name, stack) for _ in range(3))
    early, late = normal(3000), 5 * normal(3000, seed=1)
    first(early)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert qparams(second, late) == qparams(whole, torch.cat([late, early]))


# --- scale and zero point


def test_the_range_becomes_scale_and_zero_point(stack):
    values = with_outlier(normal(100_000) + 0.3, 100.0)
    low, high = percentile_range(bins_of(values), 99.9)
    scale, zero_point = qparams(observer("percentile", stack, percentile=99.9), values)
    assert scale == pytest.approx((high - low) / 255)
    assert zero_point == round(-low / scale)


@every_name
@pytest.mark.parametrize(
    ("arguments", "lowest", "highest", "zero_point"),
    [
        ({"dtype": torch.quint8}, 0, 255, None),
        ({"dtype": torch.quint8, "reduce_range": True}, 0, 127, None),
        ({"dtype": torch.uint8, "quant_min": 0, "quant_max": 127}, 0, 127, None),
        ({"dtype": torch.qint8}, -128, 127, None),
        ({"dtype": torch.qint8, "qscheme": torch.per_tensor_symmetric}, -128, 127, 0),
        ({"dtype": torch.quint8, "qscheme": torch.per_tensor_symmetric}, 0, 255, 128),
        (
            {
                "dtype": torch.quint8,
                "qscheme": torch.per_tensor_symmetric,
                "quant_min": 0,
                "quant_max": 127,
            },
            0,
            127,
            63,
        ),
        ({"dtype": torch.int16}, -(2**15), 2**15 - 1, None),
    ],
)
def test_every_kind_of_levels_quantizes_well(name, stack, arguments, lowest, highest, zero_point):
    values = normal(50_000)
    found = observer(name, stack, **arguments)
    scale, zero = qparams(found, values)
    assert (found.quant_min, found.quant_max) == (lowest, highest)
    assert zero == zero_point or (zero_point is None and lowest <= zero <= highest)
    back = torch.fake_quantize_per_tensor_affine(values, scale, zero, lowest, highest)
    assert sqnr(values, back) > (30 if highest - lowest < 256 else 45)


@every_name
@pytest.mark.parametrize(
    ("values", "scale", "zero_point"),
    [
        ([0.0, 0.0], torch.finfo(torch.float32).eps, 0),
        ([5.1, 5.1], 5.1 / 255, 0),
        ([-5.1, -5.1], 5.1 / 255, 255),
        ([1e-9, 3e-9], torch.finfo(torch.float32).eps, 0),
    ],
)
def test_constant_and_tiny_activations(name, values, scale, zero_point):
    assert qparams(observer(name), torch.tensor(values)) == (pytest.approx(scale), zero_point)


@pytest.mark.parametrize("name", ["entropy", "mse"])
def test_a_reduced_range_is_searched_with_the_levels_that_it_has(name, stack):
    values = normal(200_000) ** 3
    whole, _ = qparams(observer(name, stack), values)
    reduced, _ = qparams(observer(name, stack, reduce_range=True), values)
    assert 127 * reduced < 0.98 * 255 * whole  # fewer levels: clipped a little more


@every_name
def test_the_least_scale_is_honoured(name):
    scale, _ = qparams(observer(name, eps=2**-12), normal(1000) * 1e-3)
    assert scale == 2**-12


def test_mse_clips_nothing_that_the_least_scale_can_hold():
    values = normal(100_000) * 1e-3
    scale, zero_point = qparams(observer("mse", eps=2**-12), values)
    assert scale == 2**-12
    assert zero_point == round(-float(values.min()) / scale)


# --- what was seen


@every_name
@pytest.mark.parametrize("values", [[], [torch.nan, torch.inf]])
def test_an_observer_that_saw_no_value_is_found(name, values):
    module = torch.nn.Module()
    module.activation_post_process_0 = observer(name)
    assert unobserved(module) == ["activation_post_process_0"]
    if values:
        with pytest.warns(UserWarning, match="2 of 2 activations are NaN or infinite"):
            module.activation_post_process_0(torch.tensor(values))
    assert unobserved(module) == ["activation_post_process_0"]
    assert qparams(module.activation_post_process_0, torch.tensor([])) == (1, 0)
    module.activation_post_process_0(torch.tensor([0.0]))
    assert unobserved(module) == []


@every_name
def test_what_is_not_finite_is_told_once_and_changes_nothing(name):
    values = normal(1000)
    found, expected = observer(name), qparams(observer(name), values)
    with pytest.warns(UserWarning, match="1 of 1001 activations are NaN or infinite"):
        found(with_outlier(values, -torch.inf))
    found(torch.tensor([torch.nan]))  # a second warning would fail this test
    assert qparams(found, torch.tensor([torch.inf])) == expected
    assert found.histogram.non_finite == 3


@every_name
def test_an_outlier_is_clipped_where_minmax_gives_in(name):
    values = with_outlier(normal(4_000_000), 1000.0)
    ours, _ = qparams(observer(name), values)
    minmax, _ = qparams(ao.MinMaxObserver(), values)
    assert ours < minmax / 5


# --- in the flows


@every_name
def test_an_fx_model_calibrated_with_an_outlier_is_better_than_by_minmax(name):
    def quantized(observer):
        qconfig = ao.QConfig(
            activation=observer.with_args(dtype=torch.quint8, reduce_range=True),
            weight=ao.default_per_channel_weight_observer,
        )
        mapping = ao.QConfigMapping().set_global(qconfig)
        prepared = prepare_fx(copy.deepcopy(model), mapping, (images(),))
        with torch.no_grad():
            for seed in range(10):
                prepared(images(seed, outlier=OUTLIER if seed == 3 else None))
        assert unobserved(prepared) == []
        return convert_fx(copy.deepcopy(prepared))

    model, unseen = conv_net(), images(seed=99)
    with engine_set("x86"), torch.no_grad():
        exact = model(unseen)
        by_minmax = sqnr(exact, quantized(ao.MinMaxObserver)(unseen))
        ours = sqnr(exact, quantized(activation_observer(name, ao))(unseen))
    assert ours > by_minmax + 1


@every_name
def test_an_eager_model_is_quantized(name):
    model = torch.nn.Sequential(ao.QuantStub(), conv_net(), ao.DeQuantStub()).eval()
    model.qconfig = ao.QConfig(
        activation=activation_observer(name, ao).with_args(reduce_range=True),
        weight=ao.default_per_channel_weight_observer,
    )
    ao.fuse_modules(model[1], [["0", "1", "2"], ["3", "4"]], inplace=True)
    with engine_set("x86"), torch.no_grad():
        exact = model(images(seed=99))
        prepared = ao.prepare(model)
        prepared(images())
        assert sqnr(exact, ao.convert(prepared)(images(seed=99))) > 20


@every_name
def test_fake_quantize_modules_take_it(name):
    fake = ao.FakeQuantize.with_args(
        observer=activation_observer(name, ao), quant_min=0, quant_max=255, reduce_range=True
    )
    qconfig = ao.QConfig(activation=fake, weight=ao.default_per_channel_weight_fake_quant)
    mapping = ao.QConfigMapping().set_global(qconfig)
    with engine_set("x86"):
        trainee = prepare_qat_fx(conv_net().train(), mapping, (images(),))
        trainee(images()).square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in trainee.parameters())
        trained = trainee.eval()
        with torch.no_grad():
            faked = trained(images())
            assert sqnr(faked, convert_fx(copy.deepcopy(trained))(images())) > 20


@every_name
def test_a_pt2e_model_is_quantized(name):
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e import observer as observers
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationSpec, x86_inductor_quantizer

    usual = x86_inductor_quantizer.get_default_x86_inductor_quantization_config(reduce_range=True)
    given = usual.input_activation
    activation = QuantizationSpec(
        dtype=given.dtype,
        quant_min=given.quant_min,
        quant_max=given.quant_max,
        qscheme=given.qscheme,
        is_dynamic=False,
        observer_or_fake_quant_ctr=activation_observer(name, observers).with_args(eps=2**-12),
    )
    config = type(usual)(activation, activation, usual.weight, usual.bias)
    quantizer = x86_inductor_quantizer.X86InductorQuantizer().set_global(config)
    model, unseen = conv_net(), images(seed=99)
    exported = torch.export.export(model, (images(),), strict=True).module()
    prepared = prepare_pt2e(exported, quantizer)
    found = [m for m in prepared.modules() if isinstance(m, activation_observer(name, observers))]
    assert len(found) >= 3
    with torch.no_grad():
        prepared(images())
        assert all(observer.quant_max == 127 for observer in found)
        assert sqnr(model(unseen), convert_pt2e(prepared)(unseen)) > 20
