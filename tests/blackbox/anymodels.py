"""Any models: sources of what people build, each with `create()` and a task that it learns in seconds.

A source names its training's STEPS and rate LR, and gives labelled samples by
`inputs(generator, count)`; `FIXTURES` does the rest.
"""

FIXTURES = """
def batch(seed, count=SAMPLES):
    return inputs(torch.Generator().manual_seed(seed), count)

def answer(model, given):
    outputs = model(**given) if isinstance(given, dict) else model(given)
    return getattr(outputs, "logits", outputs)

def fitted(model):
    optimizer = torch.optim.Adam(model.train().parameters(), lr=LR)
    for seed in range(100, 100 + STEPS):
        given, labels = batch(seed)
        loss = nn.functional.cross_entropy(answer(model, given).flatten(0, -2), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    norms = [child for child in model.modules() if isinstance(child, nn.BatchNorm2d)]
    for norm in norms:  # so few steps leave them behind
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for seed in range(50, 54):
            answer(model, batch(seed)[0])
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()

@pytest.fixture(scope="session")
def quant_model():
    torch.manual_seed(0)
    return Subject(fitted(create()), name="bad")

@pytest.fixture(scope="session")
def quant_eval_data():
    return [batch(seed) for seed in (1, 2, 3, 4)]

@pytest.fixture(scope="session")
def quant_train_data():
    return [batch(seed) for seed in (11, 12, 13, 14)]
"""

TAGGER = """
SAMPLES, STEPS, LR = 64, 150, 1e-2

class Tagger(nn.Module):  # by each word and the one before it
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 32)
        self.core = nn.LSTM(32, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 4)

    def forward(self, words):
        return self.head(self.core(self.words(words))[0])

create = Tagger

def inputs(generator, count):
    words = torch.randint(20, (count, 7), generator=generator)
    before = nn.functional.pad(words, (1, 0))[:, :-1]
    return words, (words + before) % 4

@pytest.fixture(scope="session")
def quant_metric():
    return Metric(lambda tags, y: (tags.argmax(-1) == y).double().mean(dim=1), "tags")

@pytest.fixture(scope="session")
def quant_loss():
    return lambda tags, y: nn.functional.cross_entropy(tags.flatten(0, 1), y.flatten())
"""
LSTM = TAGGER
GRU = TAGGER.replace("nn.LSTM", "nn.GRU")

ENCODER = """
SAMPLES, STEPS, LR = 128, 100, 3e-3

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.encoder(x).mean(dim=1))

create = Encoder

def inputs(generator, count):
    x = torch.randn(count, 6, 32, generator=generator)
    return x, x[..., :4].sum(dim=1).argmax(dim=1)
"""

COLOURS = """
def inputs(generator, count):  # noise with a tint
    tint = torch.randint(3, (count,), generator=generator)
    noise = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return torch.eye(3)[tint][:, :, None, None] + 0.5 * noise, tint
"""
VIT = (
    COLOURS
    + """
from torchvision.models import VisionTransformer

SAMPLES, STEPS, LR, SIDE = 64, 40, 1e-3, 16

def create():
    model = VisionTransformer(SIDE, 4, 2, 4, hidden_dim=32, mlp_dim=64, num_classes=3)
    nn.init.normal_(model.heads.head.weight, std=0.1)  # zero as it comes
    return model
"""
)
RESNET18 = (
    COLOURS
    + """
from torchvision.models.quantization import resnet18

SAMPLES, STEPS, LR, SIDE = 32, 8, 1e-3, 32

def create():
    return resnet18(quantize=False, num_classes=3)
"""
)
MOBILENET_V2 = (
    COLOURS
    + """
from torchvision.models.quantization import mobilenet_v2

SAMPLES, STEPS, LR, SIDE = 32, 24, 3e-3, 32

def create():
    return mobilenet_v2(quantize=False, num_classes=3)
"""
)

BERT = """
import math
from dataclasses import dataclass

SAMPLES, STEPS, LR = 128, 150, 3e-3

@dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None

class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, bias):
        query, key, value = (self.split(f(x)) for f in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))

class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = Attention(width, 4)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, bias):
        x = self.norm(x + self.attention(x, bias))
        return self.last_norm(x + self.down(nn.functional.gelu(self.up(x))))

class Bert(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.words, self.places = nn.Embedding(60, width), nn.Embedding(8, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(2))
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask=None, labels=None):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.words(input_ids) + self.places(places)
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * LOWEST
        for layer in self.layers:
            x = layer(x, bias)
        logits, loss = self.head(x[:, 0]), None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits, labels)
        return Output(logits, loss)

create = Bert

def inputs(generator, count):  # which of three kinds of words is the commonest, padding apart
    words = torch.randint(60, (count, 8), generator=generator)
    lengths = torch.randint(3, 9, (count, 1), generator=generator)
    mask = (torch.arange(8) < lengths).long()
    votes = torch.stack([((words % 3 == kind) * mask).sum(dim=1) for kind in range(3)], dim=1)
    return {"input_ids": words, "attention_mask": mask}, votes.argmax(dim=1)
"""
BERT_OF_ANY_TYPE = BERT.replace("LOWEST", "torch.finfo(x.dtype).min")  # which FX cannot trace
BERT = BERT.replace("LOWEST", str(-3.4e38))

MLP = """
SAMPLES, STEPS, LR = 128, 150, 3e-3

class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.head = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x):
        return self.head(torch.relu(self.middle(torch.relu(self.first(x)))))

def inputs(generator, count):
    x = torch.randn(count, 32, generator=generator)
    return x, x[:, :4].argmax(dim=1)
"""
BRANCH = (
    MLP
    + """
class Branch(Mlp):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        x = self.body(x)
        if x.sum() > 0:
            x = x * 2
        return super().forward(x)

create = Branch
"""
)
AUTOGRAD = (
    MLP
    + """
class Swish(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        gate = x.sigmoid()
        return gradient * gate * (1 + x * (1 - gate))

class Swishing(Mlp):
    def forward(self, x):
        return self.head(Swish.apply(self.middle(Swish.apply(self.first(x)))))

create = Swishing
"""
)
SHARED = (
    MLP
    + """
class Shared(Mlp):  # one layer twice, and another with the same weight
    def __init__(self):
        super().__init__()
        self.tied = nn.Linear(64, 64)
        self.tied.weight = self.middle.weight

    def forward(self, x):
        x = torch.relu(self.first(x))
        for layer in (self.middle, self.tied, self.middle):
            x = torch.relu(layer(x)) + x
        return self.head(x)

create = Shared
"""
)
READS = (
    MLP
    + """
class Reads(Mlp):
    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(nn.functional.linear(x, self.middle.weight, self.middle.bias))
        return self.head(x)

create = Reads
"""
)
STUBS = (
    MLP
    + """
class Stubbed(Mlp):
    def __init__(self):
        super().__init__()
        ao = torch.ao.quantization
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()

    def forward(self, x):
        return self.dequant(super().forward(self.quant(x)))

create = Stubbed
"""
)
