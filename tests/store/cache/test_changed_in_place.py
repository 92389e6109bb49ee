"""Data that a test changes in place: what is built of it is not kept under the key of what it was."""

import pytest
import torch
from builders import ONE_THREAD, batches, tiny_linear, toy_subject

from pytest_quant import Recipe, open_store
from pytest_quant.store.cache.cache import Cache
from pytest_quant.variant.kept import BUILD, EVALUATION


@pytest.mark.parametrize("changed", [False, True])
def test_calibration_data_that_is_changed_between_two_builds(tmp_path, changed):
    data, other = batches(seed=2), Recipe("static", observer="minmax")
    store = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
    subject = toy_subject(calibration_data=data)
    assert store.variant(subject, Recipe("static"))
    if changed:
        with torch.no_grad():
            data[0][0].mul_(3)
    assert store.variant(subject, other)
    again = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
    found = again.variant(toy_subject(calibration_data=batches(seed=2)), other)
    assert found.measured(BUILD).is_old is not changed


class Words(torch.nn.Module):
    """Of 100 words, of which the eval data has ten."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = torch.nn.Embedding(100, 8), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.words(x).mean(1))


def ids(seed, high):
    found = torch.randint(high, (32, 5), generator=torch.Generator().manual_seed(seed))
    return list(zip(found.split(16), found[:, 0].remainder(3).split(16), strict=True))


@pytest.mark.parametrize("recipe", [Recipe("dynamic"), Recipe("static")], ids=["dynamic", "static"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_weight_that_the_first_batch_does_not_use_is_changed_before_a_build(
    tmp_path, changed, recipe
):
    def opened():
        store = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
        data = {"eval_data": ids(1, 10), "calibration_data": ids(2, 10)}
        return store, toy_subject(Words().eval(), **data)

    store, subject = opened()
    with torch.no_grad():
        store.fp32(subject).model.words.weight[99] += 5.0 * changed
    first = store.variant(subject, recipe)
    assert first.evaluation
    store, subject = opened()
    again = store.variant(subject, recipe)
    assert again.measured(BUILD).is_old is not changed
    if changed:
        assert "FP32 was changed" in first.measured(BUILD).why_not


class Late:
    """A hook that changes the outputs of all batches but the first."""

    def __init__(self, by):
        self.by = by

    def __call__(self, module, given, outputs):
        is_first = torch.equal(given[0], batches(seed=1)[0][0])
        return outputs if is_first else outputs * self.by


@pytest.mark.parametrize("what", ["hook", "forward", "attribute"])
def test_a_variant_that_a_test_has_changed_where_the_first_batch_does_not_show_it(tmp_path, what):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.by = tiny_linear(), 1.0
            self.first = batches(seed=1)[0][0]

        def forward(self, x):
            return self.inner(x) * (1.0 if torch.equal(x, self.first) else self.by)

    def evaluation_with(by):
        store = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
        variant = store.variant(toy_subject(Net().eval()), Recipe("dynamic", flow="eager"))
        model = variant.model
        if what == "hook":
            model.register_forward_hook(Late(by))
        elif what == "attribute":
            model.by = by
        else:
            own, late = model.forward, Late(by)
            model.forward = lambda x: late(None, (x,), own(x))
        assert variant.evaluation
        return variant.evaluation.outputs.tolist(), variant.measured(EVALUATION)

    found, other = evaluation_with(1.5), evaluation_with(-1.5)
    assert not (other[1].key and other[1].is_old)
    assert found[0] != other[0]
