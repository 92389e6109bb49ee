"""Repos: a small model repo in one process, of which each thing can be changed alone."""

import copy
import random
import types
from dataclasses import dataclass, field, replace

import torch

from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.store.cache.keys import Keys
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.subject import Subject, admit
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

HELPER = """
SHIFT = {shift}
TABLE = {{"scale": {scale}}}

class Options:
    gain = {gain}

def activation(x):
    return torch.relu(x) * TABLE["scale"] + 0 * SHIFT
"""
MODEL = """
def factory(k):
    return lambda x: x * k

first, second = lambda x: x * {left}, lambda x: x * {right}

def decorated(function):
    def inner(self, x):
        return function(self, x) * {wrapped}
    return inner

class Net(torch.nn.Module):
    slope = {slope}

    def __init__(self, k):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
        self.register_buffer("seen", torch.tensor({buffer}), persistent=False)
        self.k = k
        self.scaled = factory({closed})
        self.options = {{"p": {option}}}

    @decorated
    def forward(self, x):
        hidden = helper.activation(self.one(x)) * self.slope * helper.Options.gain
        return second(first(self.scaled(self.two(hidden)))) * self.k + 0 * self.options["p"]
"""
LOSS = """
def loss(outputs, targets, weight={default}):
    return torch.nn.functional.cross_entropy(outputs * weight, targets) * {factor}

def metric(outputs, targets):
    return ((outputs.argmax(1) == targets).float() * {points}).tolist()

def forward(model, x):
    return model(x * {given})

def batch(pair):
    return pair[0] + {added}, pair[1]
"""


@dataclass(frozen=True)
class Repo:
    """Every thing that a repo has; each is changed by itself."""

    numbers: dict = field(
        default_factory=lambda: {
            "shift": 1.0, "scale": 1.0, "gain": 1.0, "left": 1.0, "right": 1.0, "wrapped": 1.0,
            "slope": 1.0, "buffer": 1.0, "k": 1.0, "closed": 1.0, "option": 0.5, "default": 1.0,
            "factor": 1.0, "points": 1.0, "given": 1.0, "added": 0.0,
        }
    )  # fmt: skip
    weight_bit: int | None = None  # of which weight the last bit is flipped
    strided: str = ""
    hook: float | None = None
    own_forward: float | None = None
    frozen: str = ""
    train_mode: str = ""
    data: tuple = (("eval", 1), ("calibration", 2), ("train", 3))
    flipped: tuple | None = None  # which data, which sample, inputs or label
    order: str = ""  # whose samples come in another order
    sizes: tuple = (("eval", 16), ("calibration", 16), ("train", 16))
    sampler: int = 0
    recipe: tuple = ()
    conditions: tuple = ()

    def parts(self):
        """The keys of its FP32, its static and QAT builds, its eval data and its metric."""
        conditions = Conditions(**{"threads": 1, **dict(self.conditions)})
        keys = Keys(conditions)
        subject = self.subject()
        with isolated(conditions):
            admitted = admit(subject)
        with isolated(conditions, state=admitted.door.state):
            static = keys.build(admitted, Recipe("static", **self._given("static")))
            qat = keys.build(admitted, Recipe("qat", **self._given("qat")))
            scored = keys.scored(Variant("fp32", admitted, admitted.module, None))
        evaluation = keys.evaluated(admitted, keys.read_eval_data(subject), scored)
        return str(static), str(qat), evaluation

    def _given(self, kind):
        return {name: value for kinds, name, value in self.recipe if kind in kinds}

    def subject(self):
        made = self._code()
        model = made.Net(self.numbers["k"]).eval()
        if self.weight_bit is not None:
            flat = model.one.weight.detach().view(torch.int32).view(-1)
            flat[self.weight_bit] ^= 1
        if self.strided:
            weight = model.get_submodule(self.strided).weight
            weight.data = weight.data.t().contiguous().t()
        if self.hook is not None:
            by = self.hook
            model.one.register_forward_hook(lambda module, args, out: out * by)
        if self.own_forward is not None:
            by = self.own_forward
            linear = torch.nn.functional.linear
            model.two.forward = types.MethodType(
                lambda self, x: linear(x, self.weight, self.bias) * by, model.two
            )
        if self.frozen:
            model.get_submodule(self.frozen).weight.requires_grad_(False)
        data = {name: self._loader(name) for name, _ in self.data}
        return Subject(
            model,
            eval_data=data["eval"],
            calibration_data=data["calibration"],
            train_data=data["train"],
            loss=made.loss,
            metric=Metric(made.metric, "hits", higher_is_better=True, unit="raw"),
            forward=made.forward,
            batch=made.batch,
        )

    def _code(self):
        scope = {"torch": torch, "helper": types.SimpleNamespace(torch=torch), "__name__": "own"}
        helper = {"torch": torch, "__name__": "own_helper"}
        exec(HELPER.format(**self.numbers), helper)
        scope["helper"] = types.SimpleNamespace(
            activation=helper["activation"], Options=helper["Options"]
        )
        exec(MODEL.format(**self.numbers), scope)
        exec(LOSS.format(**self.numbers), scope)
        return types.SimpleNamespace(**scope)

    def _loader(self, name):
        seed, size = dict(self.data)[name], dict(self.sizes)[name]
        x = torch.randn(48, 8, generator=torch.Generator().manual_seed(seed))
        y = x[:, :3].argmax(1)
        if self.flipped is not None and self.flipped[0] == name:
            _, sample, what = self.flipped
            if what == "label":
                y[sample] = (y[sample] + 1) % 3
            else:
                x.view(torch.int32)[sample, 3] ^= 1
        order = torch.arange(48)
        if self.order.startswith(name):
            a, b = map(int, self.order.split()[1:])
            order[a], order[b] = b, a
        dataset = torch.utils.data.TensorDataset(x[order], y[order])
        sampler = None
        if name == "train" and self.sampler:
            weights = torch.ones(48)
            weights[self.sampler - 1] += 1e-6
            sampler = torch.utils.data.WeightedRandomSampler(weights, 48)
        elif name == "train":
            sampler = torch.utils.data.WeightedRandomSampler(torch.ones(48), 48)
        return torch.utils.data.DataLoader(dataset, batch_size=size, sampler=sampler)


# What a change must change of: the static build, the QAT build, the evaluation.
ALL, DATA = (True, True, True), {"eval": (False, False, True), "calibration": (True, False, False)}
DATA["train"] = (False, True, False)
TRAINS, SCORES = (False, True, False), (False, False, True)
OF_NUMBERS = {"default": TRAINS, "factor": TRAINS, "points": SCORES}


def changed(rng: random.Random):
    """A repo with one thing changed, what that is, and which keys must be others."""
    base, names = Repo(), ("eval", "calibration", "train")
    way = rng.randrange(12)
    if way < 3:
        name = rng.choice(sorted(base.numbers))
        by = rng.choice([1e-7, -1e-7, 0.25, 3.0, rng.uniform(0.01, 9)])
        numbers = {**base.numbers, name: base.numbers[name] + by}
        return replace(base, numbers=numbers), f"{name} + {by}", OF_NUMBERS.get(name, ALL)
    if way == 3:
        place = rng.randrange(128)
        return replace(base, weight_bit=place), f"the last bit of weight {place}", ALL
    if way == 4:
        layer = rng.choice(["one", "two"])
        what = rng.choice(["strided", "frozen"])
        return replace(base, **{what: layer}), f"{what} {layer}", ALL
    if way == 5:
        what, by = rng.choice(["hook", "own_forward"]), rng.uniform(1, 2)
        return replace(base, **{what: by}), f"a {what} of {by}", ALL
    if way == 6:
        name, sample = rng.choice(names), rng.randrange(48)
        what = rng.choice(["label", "bit"])
        if name == "calibration":
            what = "bit"
        first = name == "eval" and sample < 16 and what == "bit"  # the first batch is FP32's
        needs = ALL if first else DATA[name]
        return replace(base, flipped=(name, sample, what)), f"{what} {sample} of {name}", needs
    if way == 7:
        name, (a, b) = rng.choice(names), rng.sample(range(48), 2)
        needs = ALL if name == "eval" and min(a, b) < 16 else DATA[name]
        return replace(base, order=f"{name} {a} {b}"), f"{a} and {b} of {name} swapped", needs
    if way == 8:
        name = rng.choice(names)
        sizes = tuple((n, 12 if n == name else size) for n, size in base.sizes)
        needs = ALL if name == "eval" else DATA[name]
        return replace(base, sizes=sizes), f"batches of 12 of {name}", needs
    if way == 9:
        sample = rng.randrange(48)
        return replace(base, sampler=sample + 1), f"the sampler's weight of {sample}", TRAINS
    if way == 10:
        given = rng.choice(
            [
                ("static", "observer", "minmax"), ("static", "calibration_samples", rng.randrange(2, 40)),
                ("static qat", "keep_fp32", (rng.choice(["one", "two"]),)),
                ("static qat", "per_channel", False), ("qat", "lr", rng.uniform(1e-5, 1e-3)),
                ("qat", "epochs", rng.randrange(3, 9)), ("static", "equalize", True),
                ("static qat", "engine", "onednn"), ("static qat", "qscheme", "per_tensor_symmetric"),
            ]
        )  # fmt: skip
        needs = ("static" in given[0], "qat" in given[0], False)
        return replace(base, recipe=(given,)), f"recipe {given[1]}={given[2]}", needs
    given = rng.choice([("seed", rng.randrange(1, 99)), ("engine", "onednn"), ("threads", 2)])
    repo = replace(base, conditions=(given,))
    return repo, f"{given[0]} = {given[1]}", ALL


def same():
    """The same repo, made again."""
    return copy.deepcopy(Repo())
