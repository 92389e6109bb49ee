"""How a call's tensors go into a file's inputs, and its outputs come back, whatever the runtime."""

import numpy as np
import pytest

from pytest_quant.runtimes.fit import Given, Unfit, fitted
from pytest_quant.runtimes.runtime import Port


class Session:
    """A file that gives 10 times its first input plus the second, where it has one."""

    def __init__(self, *inputs, outputs=None, run=None):
        self.inputs = inputs
        self.outputs = outputs or (Port("y", (None, 3), "float32"),)
        self.calls = []
        self._run = run or (lambda arrays: [10 * arrays[0] + sum(arrays[1:])])

    def run(self, arrays):
        for port, array in zip(self.inputs, arrays, strict=True):
            assert array.dtype == port.dtype
            assert all(
                size in (None, own)
                for size, own in zip(port.shape, array.shape, strict=bool(port.shape))
            )
        self.calls.append([array.shape for array in arrays])
        return self._run(arrays)


def port(name, *shape, dtype="float32", **more):
    return Port(name, shape, dtype, **more)


def given(name, array):
    return Given(name, np.asarray(array))


X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = X + 100


def test_inputs_are_matched_by_name_whatever_their_order():
    session = Session(port("second", None, 3), port("first", None, 3))
    fit = fitted(session, [given("first", X), given("second", Y)], [given(None, 10 * Y + X)])
    assert np.array_equal(fit.run(session, [X, Y])[0], 10 * Y + X)
    assert fit.notes == ()


def test_inputs_of_other_names_are_matched_by_order():
    session = Session(port("args_0", None, 3), port("args_1", None, 3))
    fit = fitted(session, [given("first", X), given("second", Y)], [given(None, 10 * X + Y)])
    assert np.array_equal(fit.run(session, [X, Y])[0], 10 * X + Y)


def test_a_tensor_that_the_file_does_not_take_is_noted():
    session = Session(port("serving_default_second:0", None, 3))
    fit = fitted(session, [given("first", X), given("second", Y)], [given(None, 10 * Y)])
    assert fit.notes == ("does not take first, which the model is called with",)
    assert np.array_equal(fit.run(session, [X, Y])[0], 10 * Y)


def test_more_inputs_than_the_model_is_called_with_are_refused_by_name():
    session = Session(port("ids", None, 3), port("mask", None, 3))
    with pytest.raises(Unfit, match=r"it takes ids .*, mask .*called with x \[4, 3\] float32"):
        fitted(session, [given("x", X)], [given(None, X)])


def test_a_fixed_number_of_samples_is_filled_up_and_cut():
    session = Session(port("x", 3, 3))
    fit = fitted(session, [given("x", X)], [given(None, 10 * X)])
    assert fit.notes == ("takes 3 samples at a time",)
    session.calls.clear()
    assert np.array_equal(fit.run(session, [X])[0], 10 * X)
    assert session.calls == [[(3, 3)], [(3, 3)]]


def test_other_sizes_are_refused_with_both():
    session = Session(port("x", None, 5))
    with pytest.raises(Unfit, match=r"x \[any, 5\] float32, and the model is given \[4, 3\]"):
        fitted(session, [given("x", X)], [given(None, X)])


def test_integers_are_narrowed_where_they_keep_their_values_alone():
    ids = np.array([[1, 2, 300]], dtype=np.int64)
    session = Session(port("ids", None, 3, dtype="int32"))
    assert fitted(session, [given("ids", ids)], [given(None, 10 * ids)]).batch is None
    session = Session(port("ids", None, 3, dtype="uint8"))
    with pytest.raises(Unfit, match="cannot hold the model's, which go up to 300"):
        fitted(session, [given("ids", ids)], [given(None, 10 * ids)])


def test_floats_do_not_become_integers_without_a_scale():
    session = Session(port("x", None, 3, dtype="uint8"))
    with pytest.raises(Unfit, match="takes other values than the model's, which are float32"):
        fitted(session, [given("x", X)], [given(None, X)])


def test_integers_that_stand_for_real_values_are_scaled_both_ways():
    scaled = port("x", None, 3, dtype="int8", scale=0.5, zero_point=-3)
    result = port("y", None, 3, dtype="int8", scale=2.0, zero_point=1)
    session = Session(scaled, outputs=(result,), run=lambda arrays: [arrays[0]])
    x = np.array([[0.0, 1.0, 1000.0]], dtype=np.float32)
    fit = fitted(session, [given("x", x)], [given(None, x)])
    # 0 -> -3, 1 -> 2 - 3, 1000 saturates at 127; then (q - 1) * 2
    assert fit.run(session, [x])[0].tolist() == [[-8.0, -4.0, 252.0]]


@pytest.mark.parametrize("sizes", [(None, None, None, None), (None, 4, 5, 2)])
def test_channels_that_come_last_are_told_by_sizes_or_by_what_comes_out(sizes):
    images = np.random.default_rng(0).normal(size=(6, 2, 4, 5)).astype(np.float32)
    session = Session(
        port("x", *sizes),
        outputs=(port("y", None, 2),),
        run=lambda arrays: [arrays[0].sum((1, 2)) if arrays[0].shape[-1] == 2 else 1 / 0],
    )
    fit = fitted(session, [given("x", images)], [given(None, images.sum((2, 3)))])
    assert fit.notes == ("takes its inputs channels last (NHWC)",)
    assert np.allclose(fit.run(session, [images])[0], images.sum((2, 3)), atol=1e-5)


def test_channels_first_are_kept_where_both_run_and_these_are_nearer():
    images = np.random.default_rng(0).normal(size=(6, 4, 4, 4)).astype(np.float32)
    session = Session(
        port("x", None, None, None, None),
        outputs=(port("y", None, 4),),
        run=lambda arrays: [arrays[0].sum((2, 3))],
    )
    fit = fitted(session, [given("x", images)], [given(None, images.sum((2, 3)))])
    assert not fit.last
    assert fit.notes == ()


def test_outputs_with_channels_last_come_back_as_the_model_has_them():
    images = np.random.default_rng(0).normal(size=(6, 2, 4, 5)).astype(np.float32)
    session = Session(
        port("x", None, 2, 4, 5),
        outputs=(port("y", None, 4, 5, 2),),
        run=lambda arrays: [np.moveaxis(arrays[0], 1, -1)],
    )
    fit = fitted(session, [given("x", images)], [given(None, images)])
    assert np.array_equal(fit.run(session, [images])[0], images)


def test_outputs_are_matched_by_name_and_what_is_more_is_noted():
    ports = (port("hidden", None, 3), port("logits", None, 3))
    session = Session(port("x", None, 3), outputs=ports, run=lambda a: [a[0], 2 * a[0]])
    fit = fitted(session, [given("x", X)], [given("logits", 2 * X)])
    assert np.array_equal(fit.run(session, [X])[0], 2 * X)
    fit = fitted(session, [given("x", X)], [given(None, X)])
    assert fit.notes == ("gives logits beside what the model gives",)


def test_outputs_of_another_size_are_refused():
    session = Session(port("x", None, 3), outputs=(port("y", None, 1000),), run=lambda a: [a[0]])
    with pytest.raises(Unfit, match=r"it gives \[4, 3\] where the model gives a tensor \[4, 7\]"):
        fitted(session, [given("x", X)], [given(None, np.zeros((4, 7), np.float32))])


def test_where_some_have_a_name_the_others_are_told_by_what_comes_out():
    inputs = (port("second", None, 3), port("renamed", None, 3))
    call = [given("first", X), given("second", Y)]
    fit = fitted(Session(*inputs), call, [given(None, 10 * Y + X)])
    assert fit.order == (1, 0)
    fit = fitted(Session(*inputs), call, [given(None, 10 * X + Y)])  # "second" as it was numbered
    assert fit.order == (0, 1)


def test_names_that_are_the_same_but_for_what_exporters_put_around_them_are_one_tensor_each():
    session = Session(port("x:0", None, 3), port("x:1", None, 3))
    fit = fitted(session, [given("x", X), given("y", Y)], [given(None, 10 * X + Y)])
    assert fit.order == (0, 1)
    session = Session(port("X", None, 3), port("x", None, 3))
    fit = fitted(session, [given("x", X), given("X", Y)], [given(None, 10 * Y + X)])
    assert fit.order == (1, 0)


def test_outputs_whose_names_differ_in_case_alone():
    outputs = (port("A", None, 3), port("a", None, 3))
    session = Session(port("x", None, 3), outputs=outputs, run=lambda arrays: [arrays[0], Y])
    fit = fitted(session, [given("x", X)], [given("a", Y), given("A", X)])
    assert fit.results == (1, 0)
    assert np.array_equal(fit.run(session, [X])[0], Y)


def test_an_output_that_is_one_number_for_all_samples_of_a_part():
    session = Session(
        port("x", 2, 3), outputs=(port("y", dtype="float32"),), run=lambda arrays: [arrays[0].sum()]
    )
    with pytest.raises(Unfit, match="is one number for all samples"):
        fitted(session, [given("x", X)], [given(None, X.sum())])


def test_an_input_that_tells_no_sizes_takes_what_the_runtime_takes():
    fit = fitted(Session(port("x")), [given("x", X)], [given(None, 10 * X)])
    assert fit.batch is None


def test_an_input_of_no_samples_is_refused_with_its_sizes():
    with pytest.raises(Unfit, match=r"x \[0, 3\] float32, and the model is given \[4, 3\]"):
        fitted(Session(port("x", 0, 3)), [given("x", X)], [given(None, X)])
