"""Planted faults: small networks of random weights in which one layer is known to be hard to quantize.

Each is worth as much as FP32 as before the fault was planted; labels are FP32's own answers.
"""

import torch

from pytest_quant import Recipe, Subject

nn = torch.nn
CLASSES = 10


class Net(nn.Module):
    """Four layers: two convolutions, a third one (depthwise on request), and a head."""

    def __init__(self, depthwise=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        groups = 16 if depthwise else 1
        self.middle = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=groups), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.last = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.last(self.middle(self.stem(x))).mean((2, 3)))


def images(samples, seed):
    """[samples, 3, 8, 8], with a pattern of their own so that the classes differ."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.randn(samples, 3, 1, 1, generator=generator)
    return torch.randn(samples, 3, 8, 8, generator=generator) + 2 * pattern


def net(seed, **how):
    """A network of random weights whose BatchNorms have seen data."""
    torch.manual_seed(seed)
    model = Net(**how)
    with torch.no_grad():
        for _ in range(20):
            model.train()(images(64, seed + 1000))
    return model.eval()


def subject(model, seed, *, calibration=None):
    """With 256 samples to be judged on, labelled by FP32 itself: of 512 those that it is surest of."""
    x = images(512, seed + 1)
    with torch.no_grad():
        logits = model(x)
    best = logits.topk(2).values
    surest = (best[:, 0] - best[:, 1]).argsort(descending=True)[:256].sort().values
    x, y = x[surest], logits.argmax(1)[surest]
    given = images(128, seed + 2) if calibration is None else calibration
    return Subject(
        model,
        "planted",
        eval_data=list(zip(x.split(64), y.split(64), strict=True)),
        calibration_data=list(given.split(64)),
    )


def none(seed):
    """Nothing at fault."""
    return subject(net(seed), seed), Recipe("static"), ""


def outlier_channel(seed):
    """One channel of `middle` is 1000 times as large, and taken back by `last`."""
    model = net(seed)
    with torch.no_grad():
        norm, after = model.middle[1], model.last[0]
        norm.weight[3] *= 1000
        norm.bias[3] *= 1000
        after.weight[:, 3] /= 1000
    return subject(model, seed), Recipe("static"), "middle.0"


def saturating_activation(seed):
    """`middle` answers 40 times as much to what calibration never shows: a third color channel."""
    model = net(seed)
    with torch.no_grad():
        stem, middle, last = model.stem, model.middle, model.last[0]
        stem[0].weight[5].zero_()
        stem[0].weight[5, 2, 1, 1] = 1.0
        stem[1].weight[5] = (stem[1].running_var[5] + stem[1].eps).sqrt()
        stem[1].bias[5] = stem[1].running_mean[5]
        stem[0].bias[5] = 0.0
        middle[0].weight[7].zero_()
        middle[0].weight[7, 5, 1, 1] = 40.0
        middle[0].bias[7] = 0.0
        middle[1].weight[7] = (middle[1].running_var[7] + middle[1].eps).sqrt()
        middle[1].bias[7] = middle[1].running_mean[7]
        last.weight[:, 7] = last.weight[:, 7].sign() * last.weight.abs().mean() / 20
    calibration = images(128, seed + 2)
    calibration[:, 2] = 0
    return subject(model, seed, calibration=calibration), Recipe("static"), "middle.0"


def depthwise_per_tensor(seed):
    """One channel of a depthwise `middle` has a weight 300 times as large, for inputs as much smaller;
    its scale is that of all channels."""
    model = net(seed, depthwise=True)
    with torch.no_grad():
        before, layer = model.stem[1], model.middle[0]
        before.weight[3] /= 300
        before.bias[3] /= 300
        layer.weight[3] *= 300
    return subject(model, seed), Recipe("static", per_channel=False), "middle.0"


def head_that_must_stay(seed):
    """All logits share a number that is far larger than what tells them apart."""
    model = net(seed)
    with torch.no_grad():
        model.head.bias += 300
    return subject(model, seed), Recipe("static"), "head"


def wrong_fold(seed):
    """A quantizer that folds BatchNorm into `middle` and forgets its scale; it is right elsewhere."""
    model = net(seed)

    def build(module):
        for name in ("stem", "middle", "last"):
            conv, norm, relu = getattr(module, name)
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias + (conv.bias - norm.running_mean) * factor
            with torch.no_grad():
                conv.weight *= 1.0 if name == "middle" else factor[:, None, None, None]
                conv.bias.copy_(shift)
                step = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
                conv.weight.copy_((conv.weight / step).round() * step)
            setattr(module, name, nn.Sequential(conv, nn.Identity(), relu))
        return module

    return subject(model, seed), Recipe("custom", build=build), "middle.0"


FAULTS = (
    outlier_channel,
    saturating_activation,
    depthwise_per_tensor,
    head_that_must_stay,
    wrong_fold,
)
