"""Sharing: models that are odd to count: weights that are tied, read, used twice or not at all."""

import torch
from torch import nn

CLASSES, WORDS = 4, 40
F = nn.functional


class Tagging(nn.Module):
    """An LSTM, a GRU or a plain RNN over tokens; a tag for each."""

    def __init__(self, kind=nn.LSTM, hidden=8, **settings):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 8)
        self.rnn = kind(8, hidden, batch_first=True, **settings)
        self.fc = nn.Linear(8 * (2 if settings.get("bidirectional") else 1), CLASSES)

    def forward(self, ids):
        return self.fc(self.rnn(self.embed(ids))[0]).transpose(1, 2)


class Cells(nn.Module):
    """A GRUCell by hand, step by step."""

    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(WORDS, 8), nn.GRUCell(8, 12)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, ids):
        x, state = self.embed(ids), torch.zeros(len(ids), 12)
        for step in range(8):
            state = self.cell(x[:, step], state)
        return self.fc(state)


class Siamese(nn.Module):
    """One tower for both inputs."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, left, right):
        one, two = self.tower(left), self.tower(right)
        return self.head(torch.cat([(one - two).abs(), one * two], 1))


class Twice(nn.Module):
    """A layer under two names, and one that is called three times (ALBERT's way)."""

    def __init__(self):
        super().__init__()
        self.first, self.block = nn.Linear(8, 16), nn.Linear(16, 16)
        self.again, self.fc = self.block, nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.first(x).relu()
        for _ in range(2):
            x = self.block(x).relu()
        return self.fc(self.again(x))


class Rereading(nn.Module):
    """A GRU that reads its own outputs, under a second name."""

    def __init__(self):
        super().__init__()
        self.embed, self.gru = nn.Embedding(WORDS, 8), nn.GRU(8, 8, batch_first=True)
        self.again, self.fc = self.gru, nn.Linear(8, CLASSES)

    def forward(self, ids):
        return self.fc(self.again(self.gru(self.embed(ids))[0])[0]).transpose(1, 2)


class TiedAutoencoder(nn.Module):
    """A decoder that is the encoder's weight, transposed by a function."""

    def __init__(self):
        super().__init__()
        self.encoder, self.fc = nn.Linear(8, 6), nn.Linear(8, CLASSES)
        self.back = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        code = self.encoder(x).relu()
        return self.fc(F.linear(code, self.encoder.weight.t(), self.back))


class TiedLinear(nn.Module):
    """Two Linear with one weight."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.fc(self.two(self.one(x).relu()).relu())


class WithTeacher(nn.Module):
    """What it was distilled from is still inside."""

    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        self.teacher = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Linear(64, CLASSES))

    def forward(self, x):
        return self.student(x)


class WithAuxiliary(nn.Module):
    """A second head for training alone."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        self.fc, self.aux = nn.Linear(8, CLASSES), nn.Linear(8, 50)

    def forward(self, x):
        x = self.body(x).mean((2, 3))
        if self.training:
            return self.fc(x), self.aux(x)
        return self.fc(x)


class Buffered(nn.Module):
    """More in buffers and tables than in parameters, one of them unsaved, one a plain attribute."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("basis", torch.randn(8, 64))
        self.register_buffer("seen", torch.tensor(7))
        self.register_buffer("mask", torch.ones(64, dtype=torch.uint8))
        self.register_buffer("window", torch.hann_window(64, periodic=False), persistent=False)
        self.offset = 0.1 * torch.ones(64)
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = ((x - self.mean) @ self.basis + self.offset) * self.window
        return self.fc(x * self.mask)


class Bilinear(nn.Module):
    """`nn.Bilinear` of two halves."""

    def __init__(self):
        super().__init__()
        self.both, self.fc = nn.Bilinear(4, 4, 10), nn.Linear(10, CLASSES)

    def forward(self, x):
        return self.fc(self.both(x[:, :4], x[:, 4:]).relu())


class ByFunctions(nn.Module):
    """Convolution and Linear as functions of parameters of its own."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(0.3 * torch.randn(8, 3, 3, 3))
        self.weight, self.bias = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.zeros(8))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = F.conv2d(x, self.kernel, stride=2).relu().mean((2, 3))
        return self.fc(F.linear(x, self.weight, self.bias).relu())


class ComputedKernel(nn.Module):
    """A convolution whose kernel depends on the input."""

    def __init__(self):
        super().__init__()
        self.kernel, self.gate = nn.Parameter(0.3 * torch.randn(8, 3, 3, 3)), nn.Linear(3, 8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        gate = self.gate(x.mean((0, 2, 3))[None])[0].sigmoid()
        return self.fc(F.conv2d(x, self.kernel * gate[:, None, None, None]).relu().mean((2, 3)))


class Bags(nn.Module):
    """Bags of words by EmbeddingBag, [n, 8] ids each."""

    def __init__(self, mode="sum"):
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(WORDS, 16, mode=mode), nn.Linear(16, CLASSES)

    def forward(self, ids):
        return self.fc(self.bag(ids))


class Categories(nn.Module):
    """A table's columns: embeddings of some, numbers of others, crosses by a matrix product."""

    def __init__(self):
        super().__init__()
        self.columns = nn.ModuleList([nn.Embedding(5, 6), nn.Embedding(7, 6)])
        self.numbers = nn.Linear(6, 6)
        self.mlp = nn.Sequential(nn.Linear(15, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, ids, numbers):
        rows = [column(ids[:, i].contiguous()) for i, column in enumerate(self.columns)]
        rows = torch.stack([*rows, self.numbers(numbers)], 1)  # [n, 3, 6]
        crosses = torch.bmm(rows, rows.transpose(1, 2)).flatten(1)
        return self.mlp(torch.cat([self.numbers(numbers), crosses], 1))


class Experts(nn.Module):
    """A gate that weighs two experts."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 2)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES)) for _ in range(2)
        )

    def forward(self, x):
        weights = self.gate(x).softmax(1)
        return sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class WeightNormed(nn.Module):
    """Weights by a parametrization."""

    def __init__(self):
        super().__init__()
        self.one = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.fc(self.one(x).relu())


class LoRA(nn.Module):
    """A frozen layer, and a thin one beside it."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(8, 16).requires_grad_(False)
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 16, bias=False)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.fc((self.base(x) + 0.5 * self.up(self.down(x))).relu())
