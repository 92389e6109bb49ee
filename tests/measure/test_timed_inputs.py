"""Timed inputs: no call of a block is given what was given before, and who does not look is found."""

import pytest
import torch
from builders import ONE_THREAD, batches, open_store, tiny_linear, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.measure.timed_inputs import TimedCall
from pytest_quant.subject.batches import tensors_in


class Notes(nn.Module):
    """Notes the values that it is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, *args, **named):
        self.seen.append(tuple(t.clone() for t in tensors_in([args, named])))
        return args[0] if args else next(iter(named.values()))


IDS = torch.arange(24).reshape(4, 6)
INPUTS = {
    "numbers": torch.randn(4, 3),
    "one image": torch.randn(1, 3, 8, 8),
    "zeros": torch.zeros(2, 3),
    "ids": IDS,
    "half": torch.randn(8, 3).half(),
    "one text": IDS[:1],
    "ids and mask": {"ids": IDS, "mask": torch.ones(4, 6, dtype=torch.bool)},
    "image and ids": [torch.randn(4, 3), IDS],
}


def distinct(seen):
    return len({tuple(tensor.numpy().tobytes() for tensor in each) for each in seen})


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_each_call_of_a_block_is_given_other_values_in_the_same_form(inputs):
    model = Notes()
    timed = TimedCall(model, inputs, None)
    for _ in range(2):
        call = timed.fresh(5)
        for _ in range(5):
            call()
    is_float = any(tensor.dtype == torch.float32 for tensor in tensors_in(inputs))
    assert distinct(model.seen) >= (10 if is_float else 6)
    given = list(tensors_in(inputs))
    for each in model.seen:
        for own, like in zip(each, given, strict=True):
            assert (own.shape, own.dtype) == (like.shape, like.dtype)
            if like.is_floating_point():
                assert torch.allclose(own.sort(0)[0], like.sort(0)[0], rtol=1e-3, atol=1e-3)
            else:
                assert torch.equal(own.flatten().sort()[0], like.flatten().sort()[0])


def test_rows_of_ids_and_mask_stay_together():
    model = Notes()
    ids = torch.arange(1, 25).reshape(4, 6)
    call = TimedCall(model, {"ids": ids, "mask": ids[:, 0] * 10}, None).fresh(8)
    for _ in range(8):
        call()
    assert all(torch.equal(own[:, 0] * 10, mask) for own, mask in model.seen)
    assert distinct(model.seen) > 4


def test_large_inputs_are_no_more_than_a_block_can_read():
    for numel, slots in ((10**6, 4 + 16), (10**7, 1), (10**8 // 5, 1)):  # of 64 MB
        timed = TimedCall(len, torch.zeros(numel), None)
        timed.fresh(1000)()
        assert len(timed._slots) == slots


def test_what_a_model_writes_into_its_inputs_is_nobodys():
    x = torch.ones(4, 3)
    timed = TimedCall(lambda inputs: inputs.mul_(2), x, None)
    assert timed.check() is None
    for _ in range(3):
        timed()
        timed.fresh(2)()
    assert torch.equal(x, torch.ones(4, 3))


def remembering(key):
    class Remembering(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)
            self.known = {}

        def forward(self, x):
            if key(x) not in self.known:
                self.known[key(x)] = self.inner(x)
            return self.known[key(x)]

    return Remembering


@pytest.mark.parametrize("key", [id, lambda x: (x.data_ptr(), x.shape)])
def test_a_build_that_remembers_without_looking_cannot_be_timed(key):
    recipe = Recipe("custom", build=remembering(key))
    told = "mine cannot be timed: for an input that was|who shares its batch|FP32 takes|outputs for"
    with pytest.raises(QuantStageError, match=told):  # where a new input lies where an old one lay
        open_store(ONE_THREAD).variant(toy_subject(), recipe, "mine").pair()


def test_a_build_that_remembers_values_is_timed_at_its_work():
    recipe = Recipe("custom", build=remembering(lambda x: x.numpy().tobytes()))
    variant = open_store(ONE_THREAD).variant(toy_subject(), recipe, "mine")
    pair = variant.pair()
    known = variant.model.known
    for _ in range(3):
        call = pair.b.fresh(4)
        for _ in range(4):
            call()
    assert len(pair.b.call.model.known) >= len(known) + 12


def test_rows_that_belong_to_their_places_are_left_there():
    """As sorted lengths, which a packed sequence demands."""

    class Sorted(nn.Module):
        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)[0]

    for x in (torch.randn(4, 5, 2), torch.arange(40).reshape(4, 5, 2)):
        timed = TimedCall(Sorted(), [x, torch.tensor([5, 4, 2, 1])], None)
        assert timed.check() is None
        for _ in range(3):
            timed.fresh(3)()


def test_a_model_that_gives_the_same_for_all_inputs_is_no_memory():
    assert TimedCall(lambda x: x * 0, torch.randn(4, 3), None).check() is None


def test_the_users_inputs_stay_as_they_were():
    data = batches()
    variant = open_store(ONE_THREAD).variant(
        toy_subject(tiny_linear(), latency_inputs=data[0][0]), Recipe("dynamic")
    )
    variant.pair().add_rounds(3, 0.1)
    assert torch.equal(data[0][0], batches()[0][0])


class Columns(nn.Module):
    """Embeds each column of ids by a table of its own."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count, 3) for count in (2, 50, 7, 100))

    def forward(self, ids):
        return sum(table(ids[:, i]) for i, table in enumerate(self.tables))


@pytest.mark.parametrize("samples", [1, 4])
def test_ids_of_columns_with_a_meaning_stay_in_their_columns(samples):
    ids = torch.tensor([[1, 49, 6, 99], [0, 3, 2, 98], [1, 7, 5, 0], [0, 48, 1, 3]])[:samples]
    with torch.inference_mode():
        timed = TimedCall(Columns(), ids, None)
        assert timed.check() is None
        for _ in range(3):
            call = timed.fresh(5)
            for _ in range(7):
                call()
    assert torch.equal(ids[0], torch.tensor([1, 49, 6, 99]))


def test_a_failure_of_the_model_itself_is_no_matter_of_values():
    class Fails(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("broken")
            return x

    timed = TimedCall(Fails(), torch.arange(6).reshape(2, 3), None)
    timed.check()
    with pytest.raises(RuntimeError, match="broken"):
        timed.fresh(4)()


def test_each_sample_of_ids_is_one_that_was_never_seen():
    """So that what remembers samples, and not batches, is timed at its work."""
    model, ids = Notes(), torch.randint(1000, (8, 32))
    call = TimedCall(model, {"ids": ids, "mask": ids % 2}, None).fresh(6)
    for _ in range(6):
        call()
    rows = {row.numpy().tobytes() for given, _ in model.seen for row in given}
    assert len(rows) == 6 * 8
    assert all(torch.equal(given % 2, mask) for given, mask in model.seen)


def test_inputs_in_an_object_are_nobodys_but_the_users():
    class Pair:
        def __init__(self):
            self.pixels, self.mask = torch.ones(4, 3), torch.ones(4, 3)

    given = Pair()
    timed = TimedCall(lambda pair: pair.pixels * pair.mask, given, None)
    assert timed.check() is None
    for _ in range(5):
        timed.fresh(3)()
    assert torch.equal(given.pixels, torch.ones(4, 3))
    assert torch.equal(given.mask, torch.ones(4, 3))
