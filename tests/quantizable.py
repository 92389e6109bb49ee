"""Quantizable: tiny models, each of which asks something else of a flow, and their data."""

from dataclasses import dataclass

import torch
from builders import ONE_THREAD
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from pytest_quant import Metric, Recipe, Subject
from pytest_quant.store.open import open_store
from pytest_quant.subject.batches import call, tensors_in
from pytest_quant.variant.sqnr import sqnr

SIZES = (8, 8, 5)  # of the eval batches; the last one is short
TUNING = (64, 64)  # of calibration and training: enough that nothing in the eval data is clipped
CLASSES = 4


class Convolutional(nn.Module):
    """Convolution, norm, shared ReLU and Linear on [n, 3, 12, 12]; 285 parameters."""

    def __init__(self, eps=1e-5):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, eps=eps)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 5)

    def features(self, x):
        x = self.relu(self.norm(self.conv(x)))
        return self.relu(self.dropout(x.mean((2, 3))))

    def forward(self, x):
        return self.fc(self.features(x))


CONV, FC = 8 * 3 * 3 * 3, 8 * 5  # weights
PARAMETERS = CONV + 8 + 2 * 8 + FC + 5
CONV_MACS, FC_MACS = CONV * 10 * 10, FC  # of one sample


class Branching(Convolutional):
    """What no tracer can take: a branch that depends on values."""

    def forward(self, x):
        x = self.features(x)
        if x.sum() > 0:
            x = x * 2
        return self.fc(x)


class Checking(Convolutional):
    """What FX cannot take and `torch.export` can: a branch that depends on the shape."""

    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError(f"3 channels are expected, not {x.shape[1]}")
        return super().forward(x)


class Stubbed(nn.Module):
    """The convolutional model as eager mode wants it, on [n, 3, 12, 12]."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.dequant(self.fc(self.stem(self.quant(x)).mean((2, 3))))


@dataclass
class Answer:
    """An output object, as language models have them."""

    logits: torch.Tensor
    hidden: tuple
    task: str = "tag"
    loss: torch.Tensor | None = None


class Answering(nn.Module):
    """Tokens [n, 7] of 20 in, an object out, with arguments that may be left out; 661 parameters."""

    def __init__(self):
        super().__init__()
        self.embed, self.inner = nn.Embedding(20, 16), nn.Linear(16, 16)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, input_ids, attention_mask=None, labels=None, return_hidden=True):
        hidden = torch.relu(self.inner(self.embed(input_ids)))
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        answer = Answer(self.fc(hidden.mean(1)), (hidden,) if return_hidden else ())
        if labels is not None:
            answer.loss = nn.functional.cross_entropy(answer.logits, labels)
        return answer


class Two(nn.Module):
    """Two Linear layers on [n, ..., 8]; what goes in and out is up to those that derive from it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, CLASSES)

    def hidden(self, x):
        return torch.relu(self.first(x))

    def forward(self, x):
        return self.last(self.hidden(x))


TWO_PARAMETERS = 8 * 16 + 16 + 16 * CLASSES + CLASSES


class Tagger(nn.Module):
    """Tokens [n, 7] to tags [n, 4, 7], by an LSTM."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, ids):
        return self.fc(self.lstm(self.embed(ids))[0]).transpose(1, 2)


def made(make, *args, seed=0, **kwargs):
    """A seeded model in eval mode; norms have seen some data."""
    torch.manual_seed(seed)
    model = make(*args, **kwargs)
    for child in model.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.uniform_(-0.2, 0.2)
            child.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(child.weight, 0.5, 1.5)
    return model.eval()


def classes(count, seed=0):
    return torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed))


def normal(shape, seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, *shape, generator=generator), classes(n, seed)) for n in sizes]


def numbers(seed=1, sizes=SIZES):
    """Batches of (inputs [n, 8], targets [n])."""
    return normal((8,), seed, sizes)


def images(seed=1, sizes=SIZES):
    """Batches of (inputs [n, 3, 12, 12], targets [n])."""
    return normal((3, 12, 12), seed, sizes)


def tokens(seed=1, sizes=SIZES):
    """Batches of (ids [n, 7] of 20, targets [n])."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randint(0, 20, (n, 7), generator=generator), classes(n, seed)) for n in sizes]


def questions(seed=1, sizes=SIZES):
    """Batches of named inputs and labels; every third token is masked out."""
    mask = torch.ones(7)
    mask[::3] = 0
    return [
        {"input_ids": ids, "attention_mask": mask.expand(len(ids), 7).clone(), "labels": targets}
        for ids, targets in tokens(seed, sizes)
    ]


def magnitude(outputs, targets):
    """The mean size of all outputs, of whatever form."""
    sizes = [tensor.double().nan_to_num(0, 0, 0).abs().mean() for tensor in tensors_in(outputs)]
    return float(sum(sizes))


# A metric for outputs that are no logits of classes.
anything = Metric(magnitude, "size of outputs", higher_is_better=True, unit="raw")


def subject_of(model, data=images, **parts):
    """A Subject with data of its own for each purpose; `data` makes batches from seed and sizes."""
    given = {
        "eval_data": data(1),
        "calibration_data": data(2, TUNING),
        "train_data": data(3, TUNING),
    }
    return Subject(model, **(given | parts))


def nudge(model):
    """Train it, in a way."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 2**-20)


def built(model, recipe, data=images, **parts):
    """A variant of a model, built and measured as the plugin does it."""
    recipe = Recipe(recipe) if isinstance(recipe, str) else recipe
    return open_store(ONE_THREAD).variant(subject_of(model, data, **parts), recipe)


def decibels(variant, inputs=None):
    """How near a variant's outputs are to FP32's; by default on the first eval batch."""
    inputs = variant.admitted.first_inputs if inputs is None else inputs
    with variant.running():
        outputs = variant.forward(inputs)
    with variant.fp32.running():
        return sqnr(variant.fp32.forward(inputs), outputs)


def decibels_of_conversion(variant, inputs=None):
    """How near QAT's converted model is to its fake-quantized one, on the first eval batch by default."""
    inputs = variant.admitted.first_inputs if inputs is None else inputs
    with variant.running():
        fake_quantized = call(variant.fake_quantized, inputs, variant.subject.forward)
        return sqnr(fake_quantized, variant.forward(inputs))
