"""Cache: a second run builds and evaluates nothing, gives the same bits, and never what is not so."""

import copy
import functools
import gc
from dataclasses import replace

import pytest
import torch
from builders import ONE_THREAD, batches, tiny_linear, toy_subject

from pytest_quant import QuantStageError, Recipe, open_store
from pytest_quant.quantize import build as build_room
from pytest_quant.runtimes import fp32_file
from pytest_quant.store import open as opened
from pytest_quant.store.cache.cache import Cache
from pytest_quant.variant.kept import BUILD, EVALUATION

TRAIN = {"train_data": batches(seed=3)}
RELU = torch.nn.functional.relu


@pytest.fixture
def made(monkeypatch):
    """What is built and evaluated, by name, in order."""
    names = []

    def building(admitted, recipe, conditions, *look):
        names.append(f"build {recipe.kind}")
        return build_room.build(admitted, recipe, conditions, *look)

    real = opened.evaluate

    def evaluating(variant, conditions, spread):
        names.append(f"evaluate {variant.name}")
        return real(variant, conditions, spread)

    monkeypatch.setattr(opened, "build", building)
    monkeypatch.setattr(opened, "evaluate", evaluating)
    return names


@pytest.fixture
def run(tmp_path):
    """One run after the other, each with a store of its own and the same cache."""

    def runs(recipe, name=None, conditions=ONE_THREAD, **parts):
        cache = Cache(tmp_path / "cache", conditions)
        return open_store(conditions, cache).variant(toy_subject(**parts), recipe, name)

    return runs


RECIPES = {
    "dynamic": Recipe("dynamic"),
    "static": Recipe("static"),
    "qat": Recipe("qat", epochs=1),
    "weight only": Recipe("weight_only"),
    "cast": Recipe("cast"),
    "equalized": Recipe("static", equalize=True),
    "of one type": Recipe("static", keep_fp32=("0",)),
    "a file": Recipe("static", flow="onnx"),
    "a dynamic file": Recipe("dynamic", flow="onnx"),
    "two files": Recipe("static", flow="openvino"),
}


def bits(variant):
    return variant(torch.linspace(-2, 2, 80).reshape(10, 8))


@pytest.mark.parametrize("name", RECIPES)
def test_a_second_run_builds_and_evaluates_nothing_and_gives_the_same_bits(run, made, name):
    first = run(RECIPES[name], **TRAIN)
    before = first.evaluation
    assert made == [f"build {first.recipe.kind}", "evaluate fp32", f"evaluate {first.name}"]
    assert not first.measured(BUILD).is_old
    made.clear()
    second = run(RECIPES[name], **TRAIN)
    after = second.evaluation
    assert made == []
    assert torch.equal(bits(first), bits(second))
    assert second.recipe == first.recipe
    assert second.tuned_on == first.tuned_on
    assert second.notes == first.notes
    assert second.measured(BUILD).is_old
    assert second.measured(EVALUATION).is_old
    assert second.fp32.measured(EVALUATION).is_old
    for field in ("samples", "order", "which_input", "outputs", "irregular", "labels"):
        assert (getattr(before, field) == getattr(after, field)).all(), field
        assert getattr(before, field).dtype == getattr(after, field).dtype
    assert before.values == after.values
    assert before.inputs == after.inputs
    assert before.fake_quantized == after.fake_quantized
    assert before.scores.keys() == after.scores.keys()
    assert all((before.scores[each] == after.scores[each]).all() for each in before.scores)


@pytest.mark.parametrize("flow", ["onnx", "openvino"])
def test_a_file_comes_back_byte_for_byte_with_what_is_known_of_it(run, flow):
    first, second = (run(Recipe("static", flow=flow)) for _ in range(2))
    assert second.measured(BUILD).is_old
    assert first.model.path != second.model.path
    files = [{each.name: each.read_bytes() for each in own.model.files} for own in (first, second)]
    assert files[0] == files[1]
    assert first.model.told == second.model.told
    assert first.int8_share == second.int8_share
    folder = second.model.path.parent
    del second
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("flow", ["onnx", "openvino"])
def test_fp32_in_the_runtime_of_a_file_is_exported_once(run, monkeypatch, flow):
    exported = []
    real = fp32_file.onnx_file

    def counted(*given):
        exported.append(given[4])
        return real(*given)

    monkeypatch.setattr(fp32_file, "onnx_file", counted)
    first, second = (fp32_file.fp32_file(run(Recipe("static", flow=flow))) for _ in range(2))
    assert exported == ["fp32"]
    assert first.path.read_bytes() == second.path.read_bytes()
    x = torch.linspace(-2, 2, 80).reshape(10, 8)
    assert torch.equal(first(x), second(x))
    other = tiny_linear()
    with torch.no_grad():
        other[0].weight[3, 2] += 1e-3
    third = fp32_file.fp32_file(run(Recipe("static", flow=flow), model=other))
    assert exported == ["fp32", "fp32"]
    assert not torch.equal(first(x), third(x))


def test_a_trained_model_is_there_before_its_conversion_too(run):
    first, second = (run(Recipe("qat", epochs=1), **TRAIN) for _ in range(2))
    own, other = first.fake_quantized.state_dict(), second.fake_quantized.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_another_weight_is_built_and_evaluated_anew(run, made):
    assert run(Recipe("static")).evaluation
    made.clear()
    model = tiny_linear()
    with torch.no_grad():
        model[0].weight[3, 2] += 1e-3
    assert not run(Recipe("static"), model=model).measured(BUILD).is_old
    assert made == ["build static"]


def test_other_labels_are_evaluated_anew_and_nothing_is_trained(run, made):
    assert run(Recipe("qat", epochs=1), **TRAIN).evaluation
    made.clear()
    data = batches(seed=1)
    data[1][1][5] = (data[1][1][5] + 1) % 3
    variant = run(Recipe("qat", epochs=1), eval_data=data, **TRAIN)
    assert variant.evaluation.values
    assert made == ["evaluate fp32", f"evaluate {variant.name}"]


def test_another_metric_is_scored_anew_on_what_was_built(run, made):
    assert run(Recipe("static")).evaluation
    made.clear()

    def hits(outputs, targets):
        return (outputs.argmax(1) == targets).float().tolist()

    assert run(Recipe("static"), metric=hits).evaluation.values
    assert made == ["evaluate fp32", "evaluate static"]


def test_a_variant_that_a_test_has_changed_is_evaluated_as_it_is(run, made):
    good = run(Recipe("static")).evaluation.values
    spoilt = run(Recipe("static"))
    made.clear()
    state = copy.deepcopy(spoilt.model.state_dict())
    name = next(key for key, value in state.items() if key.endswith("scale"))
    state[name] *= 40
    spoilt.model.load_state_dict(state)
    assert spoilt.evaluation.values != good
    assert made == ["evaluate static"]


def test_a_variant_with_a_hook_of_a_test_is_evaluated_as_it_is(run, made):
    assert run(Recipe("static")).evaluation
    spoilt = run(Recipe("static"))
    made.clear()
    spoilt.model.register_forward_hook(lambda module, args, out: -out)
    assert spoilt.evaluation
    assert made == ["evaluate static"]


def test_training_of_ones_own_is_not_kept_unless_it_is_said_what_it_depends_on(run, made):
    def train(model):
        step = torch.optim.SGD(model.parameters(), lr=1e-3)
        for inputs, targets in batches(seed=3):
            step.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), targets).backward()
            step.step()

    for _ in range(2):
        variant = run(Recipe("qat"), train=train)
        assert "quant_train is code of yours" in variant.measured(BUILD).why_not
        assert variant.evaluation
    assert made.count("build qat") == 2
    assert made.count("evaluate qat") == 2
    made.clear()
    for key, old in (("v1", False), ("v1", True), ("v2", False)):
        variant = run(Recipe("qat", cache_key=key), train=train)
        assert variant.measured(BUILD).is_old is old
    assert made == ["build qat", "build qat"]


def test_a_build_of_ones_own_is_built_anew_and_evaluated_once_where_a_key_is_given(run, made):
    def halved(model):
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})

    for _ in range(2):
        assert run(Recipe("custom", build=halved, cache_key="1"), "mine").evaluation
    assert made == ["build custom", "evaluate fp32", "evaluate mine", "build custom"]


def test_what_has_no_digest_is_not_kept_and_says_why(run, made):
    class Holding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_linear()
            self.stream = iter([])

        def forward(self, x):
            return self.inner(x)

        def __deepcopy__(self, memo):
            return Holding().eval()

    for _ in range(2):
        variant = run(Recipe("dynamic"), model=Holding().eval())
        assert variant.evaluation
        assert "quant_model holds what no digest can be made of" in variant.measured(BUILD).why_not
    assert made.count("build dynamic") == 2


def test_an_entry_that_gives_other_bits_here_is_made_anew(run, made, tmp_path, monkeypatch):
    assert run(Recipe("static"))
    made.clear()
    told = []
    from pytest_quant.store.cache import kept_builds

    monkeypatch.setattr(kept_builds, "_outputs", lambda *_: ["another"])
    conditions = copy.copy(ONE_THREAD)
    object.__setattr__(conditions, "tell", told.append)
    assert not run(Recipe("static"), conditions=conditions).measured(BUILD).is_old
    assert made == ["build static"]
    assert any("other outputs here than it gave" in line for line in told)


def test_no_failure_is_kept(run, made):
    for _ in range(2):
        with pytest.raises(Exception, match="yielded nothing"):
            run(Recipe("static"), calibration_data=[])
    assert made == ["build static", "build static"]


def test_a_model_that_was_moved_since_is_an_error_though_all_is_kept(run):
    assert run(Recipe("static")).evaluation
    moved = run(Recipe("static"))
    with torch.no_grad():
        moved.fp32.model[0].weight.mul_(2)
    with pytest.raises(Exception, match="FP32 was changed during the run"):
        _ = moved.evaluation


def test_an_explanation_is_made_once(run, monkeypatch):
    from pytest_quant.explain.lost import locate

    looks, real = [], locate.effects_in_float

    def looking(*arguments):
        looks.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(locate, "effects_in_float", looking)
    said = []
    for _ in range(2):
        variant = run(Recipe("static"))
        assert variant.evaluation
        said.append(locate.explain(variant).to_dict())
    assert said[0] == said[1]
    assert len(looks) == 1
    spoilt = run(Recipe("static"))
    spoilt.model.register_forward_hook(lambda module, args, out: -out)
    assert spoilt.evaluation
    locate.explain(spoilt)
    assert len(looks) == 2


def test_which_flow_is_the_best_is_found_once(run, made):
    recipes = (Recipe("static", flow="best"), Recipe("static", engine="auto"))
    for recipe in recipes:
        first = run(recipe)
        count = len(made)
        assert count > 1
        made.clear()
        second = run(recipe)
        assert made == []
        assert second.recipe == first.recipe
        assert second.notes == first.notes
        assert torch.equal(bits(first), bits(second))


def test_a_model_that_would_fill_the_cache_is_not_kept(run, made, monkeypatch):
    from pytest_quant.store.cache import entries

    monkeypatch.setattr(entries.Entries, "has_room_for", lambda self, size: size < 100)
    for _ in range(2):
        variant = run(Recipe("static"))
        assert variant.evaluation
        assert variant.measured(BUILD).why_not.startswith("build: it has 0 MB")
    assert made.count("build static") == 2
    assert made.count("evaluate static") == 1


@pytest.mark.parametrize("state", ["nowhere.pt", 7, [1, 2]])
def test_a_trained_state_that_cannot_be_read_is_the_builds_error(run, state):
    with pytest.raises(QuantStageError, match="quant_qat_state"):
        run(Recipe("qat"), qat_state=state, **TRAIN)


def test_a_trained_state_in_a_file_counts_by_its_content(run, tmp_path):
    trained = run(Recipe("qat", epochs=1), **TRAIN).fake_quantized.state_dict()
    path = tmp_path / "state.pt"
    recipe = Recipe("qat", flow="fx")
    for scale, old in ((1.0, False), (1.0, True), (1.5, False)):
        state = {k: v * scale if k.endswith("weight") else v for k, v in trained.items()}
        torch.save(state, path)
        assert run(recipe, qat_state=str(path), **TRAIN).measured(BUILD).is_old is old


@pytest.mark.parametrize("by", [1.0, 1.5])
def test_an_observer_of_pytorchs_that_is_patched(run, monkeypatch, by):
    kind = torch.ao.quantization.HistogramObserver
    real = kind.calculate_qparams

    def patch(by):
        def coarser(self):
            scale, zero = real(self)
            return scale * by, zero

        monkeypatch.setattr(kind, "calculate_qparams", coarser)

    patch(1.0)
    assert run(Recipe("static", flow="fx")).measured(BUILD).is_old is False
    patch(by)
    assert run(Recipe("static", flow="fx")).measured(BUILD).is_old is (by == 1.0)


@pytest.mark.parametrize("shift", ["warn", "error"])
def test_training_inputs_of_another_kind_are_told_in_each_run(run, shift):
    def train(model):
        step = torch.optim.SGD(model.parameters(), lr=1e-4)
        for inputs, targets in batches(320, seed=3):
            step.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs * 40), targets).backward()
            step.step()

    conditions = replace(ONE_THREAD, calibration_shift=shift)
    data, recipe = batches(320, seed=1), Recipe("qat", cache_key="1")
    assert run(recipe, train=train, eval_data=data).measured(BUILD).is_old is False
    for _ in range(2):
        if shift == "error":
            with pytest.raises(QuantStageError, match="quant_train"):
                run(recipe, conditions=conditions, train=train, eval_data=data)
        else:
            found = run(recipe, conditions=conditions, train=train, eval_data=data)
            assert found.measured(BUILD).is_old
            assert found.measured("shift")
            assert "raining inputs" in " ".join(found.notes)


class Clipped:
    """Called as an activation is."""

    def __init__(self, most):
        self.most = most

    def __call__(self, x, inplace=False):
        return x.clamp(0, self.most)


@pytest.mark.parametrize(
    "other",
    [
        lambda most: functools.partial(torch.nn.functional.hardtanh, min_val=0.0, max_val=most),
        Clipped,
        lambda most: RELU if most == 1e3 else torch.nn.functional.relu6,
    ],
)
def test_an_activation_of_pytorchs_that_was_put_there(run, monkeypatch, other):
    far = [*batches(seed=1), *((1e6 * x, y) for x, y in batches(seed=5))]

    def old(most):
        monkeypatch.setattr(torch.nn.functional, "relu", other(most))
        variant = run(Recipe("dynamic"), eval_data=far)
        assert variant.fp32.evaluation
        return variant.fp32.measured(EVALUATION).is_old

    assert [old(1e3), old(1e3), old(2e3)] == [False, True, False]
