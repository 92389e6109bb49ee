"""The models that are to be mended: trained on the example's digits, then made hard to quantize.

Trained on digits alone, neither model loses much in int8, with weights per tensor or per channel. What
makes MobileNets lose their accuracy is put in by hand, ranges that differ from channel to channel
(Nagel et al. 2019, https://arxiv.org/abs/1906.04721): the output channels of a few layers are
scaled by factors log-uniform in [1/16, 16], the input channels of the layer that reads them by their
inverse, so that FP32 computes the same function. A scale passes ReLU, but not ReLU6, which clips at
6; so MobileNetV2 has ReLU in its place, from the start of its training.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock

sys.path.insert(0, str(Path(__file__).parents[1] / "example_project"))

EPOCHS = {"mobilenet_v2": 8, "resnet18": 4}
RATES = {"mobilenet_v2": 3e-3, "resnet18": 1e-3}  # the highest learning rate
PLANTED = {"mobilenet_v2": 4, "resnet18": 3}  # pairs of layers
MOST = 16.0  # a factor, or its inverse
EVAL_IMAGES = 540
BATCH = 20  # of which both sets of digits are whole multiples
Pair = tuple[nn.BatchNorm2d, nn.Conv2d]
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is to mend.

    Args:
        case: the model's name.
        folder: with its weights.
        limit: drop in top-1 that is allowed, as a share.
        shifts: of the validation images, see `digits`.
        threads: to work with.
    """

    case: str
    folder: Path
    limit: float
    shifts: int
    threads: int

    @property
    def clock(self) -> Callable[[], float]:
        """Of one thread in processor seconds, which other programs change little; else of the wall."""
        return time.process_time if self.threads == 1 else time.perf_counter


def loaded(name: str, folder: Path) -> nn.Module:
    """The model that `make` left in the folder, in eval mode."""
    module = bare(name)
    module.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return module.eval()


def digits(shifts: int = 1) -> tuple[Batches, Batches]:
    """Calibration and validation batches of the example.

    Args:
        shifts: of each validation image, from 1, where it stays, to 9: a pixel to every side.
    """
    from data import calibration_loader, eval_loader

    steps = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)][:shifts]
    validation = [
        (images.roll(step, dims=(2, 3)), labels)  # the margin is background
        for step in steps
        for images, labels in eval_loader(BATCH)
    ]
    return list(calibration_loader(BATCH)), validation


def make(name: str, folder: Path, seed: int) -> str:
    """Train, plant the spreads and write the weights; what was done, in a sentence."""
    import train
    from data import eval_loader, train_loader

    torch.manual_seed(seed)
    module, start = bare(name), time.perf_counter()
    train.MAX_LEARNING_RATE = RATES[name]
    train.train(module, train_loader(), EPOCHS[name])
    module.eval()
    seconds = time.perf_counter() - start
    images = digits()[1]
    before = logits(module, images)
    generator = torch.Generator().manual_seed(seed)
    found = pairs(module)
    chosen = torch.randperm(len(found), generator=generator)[: PLANTED[name]].sort().values
    planted = [plant(*found[number], generator) for number in chosen]
    names = {child: child_name for child_name, child in module.named_modules()}
    change = float((logits(module, images) - before).abs().max() / before.abs().max())
    torch.save(module.state_dict(), folder / f"{name}.pt")
    return (
        f"{EPOCHS[name]} epochs in {seconds:.0f} s, FP32 top-1 "
        f"{train.accuracy(module, eval_loader()):.2%}; channels spread before "
        f"{', '.join(names[layer] for layer in planted)}, which changed FP32's logits by {change:.0e} of "
        "the largest"
    )


def bare(name: str) -> nn.Module:
    """The architecture, for 10 classes and with ReLU alone."""
    module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10)
    for child in list(module.modules()):
        for inner, activation in child.named_children():
            if isinstance(activation, nn.ReLU6):
                setattr(child, inner, nn.ReLU(inplace=True))
    return module


def pairs(module: nn.Module) -> list[Pair]:
    """Normalizations with the convolution that alone reads them, after a ReLU."""
    found: list[Pair] = []
    for block in module.modules():
        if isinstance(block, BasicBlock):
            found.append((block.bn1, block.conv2))
        if isinstance(block, InvertedResidual):
            convolutions = [child for child in block.modules() if isinstance(child, nn.Conv2d)]
            norms = [child for child in block.modules() if isinstance(child, nn.BatchNorm2d)]
            found += zip(norms[:-1], convolutions[1:], strict=True)
    return found


@torch.no_grad()
def plant(norm: nn.BatchNorm2d, reader: nn.Conv2d, generator: torch.Generator) -> nn.Conv2d:
    """Scale a normalization's channels, and undo it in the weights that read them."""
    exponents = 2 * torch.rand(norm.num_features, generator=generator) - 1
    factors = torch.exp(math.log(MOST) * exponents)
    norm.weight *= factors
    norm.bias *= factors
    depthwise = reader.groups == reader.in_channels
    reader.weight /= factors.view((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
    return reader


def logits(module: nn.Module, batches: Batches) -> Tensor:
    """Of all images, [n, 10]."""
    with torch.inference_mode():
        return torch.cat([module(images) for images, _ in batches])


def fidelity(own: Tensor, exact: Tensor) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    ratio = exact.double().square().sum() / (own - exact).double().square().sum()
    return float(10 * torch.log10(ratio))


def top1(own: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest logit is that of their label.

    By ``topk``, as in the package: 8-bit logits can tie, and ``argmax`` takes another one of them.
    """
    return float((own.topk(1).indices[:, 0] == labels).double().mean())


def weighted(module: nn.Module) -> Sequence[str]:
    """Names of the convolutions and matrix products: what is counted as a layer."""
    return [n for n, child in module.named_modules() if isinstance(child, nn.Conv2d | nn.Linear)]
