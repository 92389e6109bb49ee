"""Batches: what a loader yields, taken apart."""

from collections import UserDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pytest_quant import QuantStageError
from pytest_quant.subject.batches import (
    DATASET_BATCH,
    batches_of,
    call,
    described,
    each_batch,
    inputs_only,
    mapped,
    on_cpu,
    run,
    size_of,
    taken,
    tensors_in,
    unpack,
)

X, Y = torch.arange(12.0).reshape(4, 3), torch.arange(4)
Point = namedtuple("Point", "x y")


class Encoding(UserDict):
    """As a tokenizer gives: its entries are attributes too."""

    def __getattr__(self, name):
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None


class Sealed(UserDict):
    """Whose entries stay."""

    def __delitem__(self, key):
        raise TypeError("not this one")


def test_entries_that_are_attributes_stay_so():
    batch = Encoding(ids=X.double(), labels=Y)
    inputs, targets = unpack(batch, "quant_eval_data")
    assert targets is Y
    assert type(inputs) is Encoding
    assert [*inputs] == ["ids"]
    assert [*batch] == ["ids", "labels"]
    own = on_cpu(inputs)
    assert own.ids.dtype == torch.float32
    assert inputs.ids.dtype == torch.float64
    assert call(lambda **given: given, own)["ids"].tolist() == X.tolist()
    assert call(None, own, lambda _, given: given.ids).tolist() == X.tolist()
    assert inputs_only(batch, "quant_train_data").ids is batch.ids


def test_a_mapping_with_rules_of_its_own_becomes_a_dict():
    inputs, _ = unpack(Sealed(ids=X, labels=Y), "quant_eval_data")
    assert inputs == {"ids": X}
    assert type(inputs) is dict


class Rows:
    """A map-style dataset that inherits from nothing."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index >= 40:
            raise IndexError
        return torch.full((3,), float(index)), index


class Broken:
    def __iter__(self):
        yield X, Y
        raise OSError("disk gone")


class Stream(IterableDataset):
    def __iter__(self):
        yield X, Y


def plain(value):
    return mapped(value, lambda tensor: tensor.tolist())


@pytest.mark.parametrize("data", [[(X, Y)], ((X, Y),), DataLoader(TensorDataset(X, Y)), Stream()])
def test_what_can_be_iterated_again_stays_as_it_is(data):
    assert batches_of(data, "quant_eval_data") is data


@pytest.mark.parametrize("data", [TensorDataset(torch.zeros(40, 3), torch.zeros(40)), Rows()])
def test_a_dataset_comes_in_batches_and_in_order(data):
    sizes = [size_of(inputs) for inputs, _ in each_batch(data, "quant_eval_data")]
    assert sizes == [DATASET_BATCH, 40 - DATASET_BATCH]


def test_a_dataset_keeps_its_order():
    targets = [target for _, targets in each_batch(Rows(), "f") for target in targets.tolist()]
    assert targets == list(range(40))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "gave None; expected a DataLoader"),
        (iter([(X, Y)]), "gave a list_iterator, which can be read only once"),
        (((x, 0) for x in X), "gave a generator, which can be read only once"),
        (X, "gave a Tensor; expected something that yields batches"),
        ({"x": X}, "gave a dict; expected something that yields batches"),
        ("data.csv", "gave a str; expected something that yields batches"),
        (7, "gave a int, which cannot be iterated"),
    ],
)
def test_what_is_no_data_is_refused_by_the_name_of_its_fixture(data, sentence):
    with pytest.raises(QuantStageError, match=f"quant_eval_data {sentence}") as caught:
        list(each_batch(data, "quant_eval_data"))
    assert caught.value.stage == "fixture"


def test_an_error_in_the_loader_names_the_fixture():
    read = each_batch(Broken(), "quant_train_data")
    assert next(read)[1] is Y
    with pytest.raises(QuantStageError, match=r"quant_train_data raised .*: OSError: disk gone"):
        next(read)


@pytest.mark.parametrize("batch", [(X, Y), [X, Y], Point(X, Y)])
def test_a_pair_is_inputs_and_targets(batch):
    inputs, targets = unpack(batch, "quant_eval_data")
    assert inputs is X
    assert targets is Y


def test_inputs_may_be_several():
    inputs, targets = unpack(((X, X), Y), "quant_eval_data")
    assert inputs == (X, X)
    assert targets is Y


def test_a_dict_with_labels_gives_its_other_entries_as_inputs():
    inputs, targets = unpack({"ids": X, "mask": X, "labels": Y}, "quant_eval_data")
    assert inputs == {"ids": X, "mask": X}
    assert targets is Y


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        (X, r"a Tensor of shape \[4, 3\]"),
        ((X, Y, Y), "a tuple of 3"),
        ({"ids": X}, r"a dict with \['ids'\]"),
        (3, "a int"),
    ],
)
def test_another_shape_is_refused_with_what_came_and_where_to_mend_it(batch, what):
    with pytest.raises(QuantStageError, match=rf"yielded {what}; expected .* fixture quant_batch"):
        unpack(batch, "quant_eval_data")


def test_the_users_own_rule_replaces_ours():
    assert unpack({"image": X, "y": Y}, "f", lambda batch: (batch["image"], batch["y"])) == (X, Y)


@pytest.mark.parametrize("own", [lambda batch: batch["gone"], lambda batch: (1, 2, 3)])
def test_an_own_rule_that_fails_is_named(own):
    with pytest.raises(QuantStageError, match="quant_batch could not take a batch of f apart"):
        unpack({"image": X}, "f", own)


@pytest.mark.parametrize("batch", [X, (X, Y), [X], (X,)])
def test_calibration_takes_inputs_with_or_without_targets(batch):
    assert inputs_only(batch, "quant_calibration_data") is X


@pytest.mark.parametrize("batch", [{"ids": X}, {"ids": X, "labels": Y}])
def test_calibration_takes_dicts_with_or_without_labels(batch):
    assert inputs_only(batch, "quant_calibration_data") == {"ids": X}


def test_calibration_refuses_another_shape():
    with pytest.raises(QuantStageError, match="yielded a tuple of 3; expected inputs or"):
        inputs_only((X, Y, Y), "quant_calibration_data")


def test_a_model_is_called_by_the_shape_of_its_inputs():
    def model(*args, **kwargs):
        return args, kwargs

    assert run(model, X) == ((X,), {})
    assert run(model, [X, Y]) == ((X, Y), {})
    assert run(model, (X, Y)) == ((X, Y), {})
    assert run(model, {"ids": X}) == ((), {"ids": X})
    assert run(model, [X, Y], lambda model, inputs: model(inputs)) == (([X, Y],), {})


def test_a_model_that_writes_into_its_inputs_writes_into_a_copy():
    before = X.clone()
    assert torch.equal(call(lambda x: x.add_(1), X), before + 1)
    assert torch.equal(X, before)
    call(lambda ids: ids.pop("mask"), inputs := {"mask": X}, lambda model, given: model(given))
    assert inputs == {"mask": X}


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        (X, 4),
        ([torch.tensor(1.0), X], 4),
        ({"scale": torch.tensor(2.0), "ids": X}, 4),
        (SimpleNamespace(ids=X), 4),
        (torch.tensor(1.0), 0),
        ("text", 0),
        (torch.zeros(0, 3), 0),
    ],
)
def test_the_size_is_the_first_dimension_of_the_first_tensor_that_has_one(inputs, size):
    assert size_of(inputs) == size


def test_tensors_are_found_in_order_in_any_nest():
    nest = {"a": (X, [Y]), "b": SimpleNamespace(logits=X), "c": "text", "d": Point(Y, None)}
    assert [id(tensor) for tensor in tensors_in(nest)] == [id(X), id(Y), id(X), id(Y)]


def test_a_nest_keeps_its_form_when_its_tensors_change():
    nest = {"a": (X, [Y]), "p": Point(Y, "text")}
    doubled = mapped(nest, lambda tensor: tensor * 2)
    assert plain(doubled) == {
        "a": ((X * 2).tolist(), [(Y * 2).tolist()]),
        "p": Point((Y * 2).tolist(), "text"),
    }


@pytest.mark.parametrize(
    ("count", "rows"),
    [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1])],
)
def test_a_batch_is_cut_or_repeated(count, rows):
    cut = taken((X, {"ids": Y}), count)
    assert cut[0].tolist() == X[rows].tolist()
    assert cut[1]["ids"].tolist() == rows


def test_what_does_not_belong_to_samples_is_not_cut():
    table, scale = torch.zeros(7, 2), torch.tensor(3.0)
    cut = taken([X, table, scale, "text"], 2)
    assert cut[0].shape == (2, 3)
    assert (cut[1] is table, cut[2] is scale, cut[3]) == (True, True, "text")


def test_inputs_without_tensors_are_not_cut():
    assert taken("text", 2) == "text"


def test_inputs_come_to_the_cpu_detached_and_as_float32():
    double, weight = torch.zeros(2, dtype=torch.float64), torch.ones(2, requires_grad=True)
    moved = on_cpu({"x": double, "w": weight, "i": Y, "h": torch.zeros(2, dtype=torch.float16)})
    assert {name: tensor.dtype for name, tensor in moved.items()} == {
        "x": torch.float32,
        "w": torch.float32,
        "i": torch.int64,
        "h": torch.float32,
    }
    assert moved["w"].requires_grad is False


def test_a_batch_is_described_by_type_and_parts():
    assert described(X) == "a Tensor of shape [4, 3]"
    assert described({"b": 1, "a": 2}) == "a dict with ['a', 'b']"
    assert described([1, 2, 3]) == "a list of 3"
    assert described(None) == "a NoneType"


def test_an_object_with_tensors_is_copied_and_cast_as_other_inputs_are():
    given = SimpleNamespace(pixels=X.double(), mask=[X > 3], name="one")
    inputs = on_cpu(given)
    assert inputs.pixels.dtype == torch.float32
    call(lambda value: value.pixels.zero_(), inputs)
    assert torch.equal(inputs.pixels, X)
    assert torch.equal(given.pixels, X.double())
    assert inputs.name == "one"
    assert inputs is not given


def test_an_object_without_tensors_stays_the_same_object():
    given = SimpleNamespace(name="one")
    assert mapped([given], torch.clone, objects=True)[0] is given
    assert mapped([SimpleNamespace(x=X)], torch.neg)[0].x is X
