"""Own casts: a model in half precision that casts by itself is measured as float32."""

import copy

import pytest
import torch
from builders import ONE_THREAD, batches, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant
from pytest_quant.subject.own_casts import follow_float32

X = batches()[0][0]


class Mixed(nn.Module):
    """Half precision but for its head."""

    def __init__(self, dtype=torch.float16):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.dtype = nn.Linear(8, 16).to(dtype), nn.Linear(16, 3), dtype


class ByMethod(Mixed):
    def forward(self, x):
        return self.head(torch.relu(self.body(x.half())).float())


class ByType(Mixed):
    def forward(self, x):
        return self.head(torch.relu(self.body(x.to(torch.float16))).to(torch.float32))


class ByAttribute(Mixed):
    def forward(self, x):
        return self.head(torch.relu(self.body(x.to(self.dtype))).float())


class ByHelper(Mixed):
    def low(self, x):
        return next(each.half() for each in (x,))

    def forward(self, x):
        return self.head(torch.relu(self.body(self.low(x))).float())


class Derived(ByMethod):
    """Has forward from another class."""


class Deeper(Derived):
    def forward(self, x):
        return super().forward(x.half() * 2)


class ByBfloat16(Mixed):
    def __init__(self):
        super().__init__(torch.bfloat16)

    def forward(self, x, scale=1.0, *, shift=0.0):
        low = self.body(x.bfloat16() * scale + shift)
        return self.head(torch.relu(low).float())


class Halved(Mixed):
    """Has a number under a name of half precision."""

    def __init__(self):
        super().__init__()
        self.half = 8

    def forward(self, x):
        x = torch.relu(self.body(x.to(self.body.weight.dtype)))
        return self.head(torch.cat([x[:, : self.half], x[:, self.half :]], 1).float())


@pytest.mark.parametrize(
    "kind", [ByMethod, ByType, ByAttribute, ByHelper, Derived, Deeper, ByBfloat16, Halved]
)
def test_a_model_that_casts_by_itself_is_quantized(kind, tmp_path):
    model = kind().eval()
    data = [(x.half(), y) for x, y in batches()]
    subject = toy_subject(model, eval_data=data)
    store = open_store(ONE_THREAD)
    dynamic = store.variant(subject, Recipe("dynamic"))
    assert kept_db(dynamic) > 20
    assert kept_db(store.variant(subject, Recipe("static", flow="fx"))) > 20
    assert torch.allclose(dynamic.fp32.model(X), model(X), atol=2e-2)
    assert type(model) is kind
    loaded = load_variant(dynamic.save(tmp_path / "mixed.pt"), kind())
    assert torch.equal(loaded.model(X), dynamic(X))


def test_what_has_another_meaning_is_left_alone():
    model = copy.deepcopy(Halved()).float()
    assert follow_float32(model)  # of its attribute alone
    assert type(model) is Halved
    assert model.half == 8
    assert model.dtype is torch.float32
