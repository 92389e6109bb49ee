"""Swept: the models of the sweep by name, each with data of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import attending as a
import convolving as c
import sharing as s
import torch
import torchvision
from torch import nn

SIZES = (8, 8, 5)  # of the eval batches
WRONG = 0.25  # of the targets are not what FP32 says


@dataclass(frozen=True, slots=True)
class Swept:
    """One model of the sweep.

    Args:
        make: makes it; weights are seeded by the caller.
        inputs: (samples, generator) -> inputs of one batch.
        idle: names of the modules that no call uses.
        flow: of its static variant; what `auto` would compile here takes ten seconds each.
        keep_fp32: what no flow takes.
        is_swappable: whether it has a layer that dynamic quantization knows.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[int, torch.Generator], Any]
    idle: tuple[str, ...] = ()
    flow: str = "auto"
    keep_fp32: tuple[str, ...] = ()
    is_swappable: bool = True


def _normal(*shape):
    return lambda n, generator: torch.randn(n, *shape, generator=generator)


def _tokens(n, generator):
    return torch.randint(0, a.WORDS, (n, 8), generator=generator)


def _questions(n, generator):
    mask = torch.ones(n, 8)
    mask[::2, 6:] = 0
    return {"input_ids": _tokens(n, generator), "attention_mask": mask}


def _pairs(n, generator):
    return _normal(8)(n, generator), _normal(8)(n, generator)


def _columns(n, generator):
    return torch.randint(0, 5, (n, 2), generator=generator), _normal(6)(n, generator)


IMAGES, NUMBERS, SIGNALS, VOLUMES = (
    _normal(3, 16, 16),
    _normal(8),
    _normal(2, 16),
    _normal(1, 6, 8, 8),
)
BY_HAND = {
    "vit-like": Swept(a.ViTLike, IMAGES),
    "vit-like by einsum": Swept(a.ViTByEinsum, IMAGES, flow="parts"),
    "vit-like by function": Swept(a.ViTByFunction, IMAGES, flow="parts"),
    "swin-like": Swept(a.SwinLike, IMAGES, flow="parts"),
    "gpt2-like": Swept(a.GPT2Like, _tokens),
    "bert-like": Swept(a.BertLike, _questions, flow="parts"),
    "llama-like": Swept(a.LlamaLike, _tokens, flow="parts"),
    "attention": Swept(a.OwnAttention, _tokens),
    "attention, weights": Swept(partial(a.OwnAttention, True), _tokens),
    "encoder": Swept(a.Encoder, _tokens, flow="fx"),
    "cross-attention": Swept(a.CrossAttending, _tokens, flow="parts"),
    "resnet-like": Swept(c.ResNetLike, IMAGES),
    "convnext-like": Swept(c.ConvNeXtLike, IMAGES),
    "efficientnet-like": Swept(c.EfficientNetLike, IMAGES),
    "mobilenet-like": Swept(c.MobileNetLike, IMAGES),
    "mobilenet-like, hardswish": Swept(partial(c.MobileNetLike, nn.Hardswish), IMAGES),
    "unet-like": Swept(c.UNetLike, IMAGES, is_swappable=False),
    "densenet-like": Swept(c.DenseLike, IMAGES),
    "inception-like": Swept(c.InceptionLike, IMAGES),
    "mixer-like": Swept(c.Mixer, IMAGES),
    "norms": Swept(c.Normed, IMAGES),
    "shuffles": Swept(c.Patches, IMAGES, is_swappable=False),
    "conv1d": Swept(c.Signal, SIGNALS),
    "transposed conv1d": Swept(c.Generator1d, SIGNALS, is_swappable=False),
    "conv3d": Swept(c.Volume, VOLUMES),
    "lstm": Swept(partial(s.Tagging, bidirectional=True), _tokens, flow="fx"),
    "lstm of two layers": Swept(partial(s.Tagging, num_layers=2), _tokens, flow="fx"),
    "lstm with projection": Swept(partial(s.Tagging, proj_size=8, hidden=12), _tokens, flow="fx"),
    "gru": Swept(partial(s.Tagging, nn.GRU), _tokens, flow="fx"),
    "rnn": Swept(partial(s.Tagging, nn.RNN), _tokens, flow="fx"),
    "gru under two names": Swept(s.Rereading, _tokens, flow="fx"),
    "gru cell": Swept(s.Cells, _tokens, flow="parts"),
    "siamese": Swept(s.Siamese, _pairs),
    "called three times": Swept(s.Twice, NUMBERS),
    "tied autoencoder": Swept(s.TiedAutoencoder, NUMBERS, flow="parts", keep_fp32=("encoder",)),
    "tied linear": Swept(s.TiedLinear, NUMBERS),
    "teacher inside": Swept(s.WithTeacher, NUMBERS, idle=("teacher",)),
    "auxiliary head": Swept(s.WithAuxiliary, IMAGES, idle=("aux",)),
    "buffers": Swept(s.Buffered, NUMBERS),
    "bilinear": Swept(s.Bilinear, NUMBERS),
    "functions": Swept(s.ByFunctions, IMAGES, flow="parts"),
    "computed kernel": Swept(s.ComputedKernel, IMAGES, flow="parts"),
    "bag of words": Swept(s.Bags, _tokens),
    "bag of means": Swept(partial(s.Bags, "mean"), _tokens, flow="parts"),
    "categories": Swept(s.Categories, _columns, flow="parts"),
    "experts": Swept(s.Experts, NUMBERS),
    "weight norm": Swept(s.WeightNormed, NUMBERS),
    "lora": Swept(s.LoRA, NUMBERS),
}
# name -> pixels; FX takes ShuffleNet only where more than one is left at the end
TORCHVISIONS = {
    "googlenet": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 32,
}


def _torchvisions(name):
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **more)


MODELS = BY_HAND | {
    name: Swept(
        partial(_torchvisions, name),
        _normal(3, side, side),
        is_swappable=not name.startswith("squeezenet"),
    )
    for name, side in TORCHVISIONS.items()
}


def made(name):
    """A seeded model in eval mode, whose norms have statistics."""
    torch.manual_seed(0)
    model = MODELS[name].make().eval()
    for child in model.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.running_mean.uniform_(-0.2, 0.2)
            child.running_var.uniform_(0.5, 1.5)
    return model


def inputs(name, seed, sizes=SIZES):
    """Batches of inputs."""
    generator = torch.Generator().manual_seed(seed)
    return [MODELS[name].inputs(size, generator) for size in sizes]


def called(model, given):
    """The model's outputs for one batch."""
    if isinstance(given, dict):
        return model(**given)
    return model(*given) if isinstance(given, tuple) else model(given)


def labelled(name, model):
    """Batches of (inputs, targets), of which FP32 is right on about three in four."""
    generator, batches = torch.Generator().manual_seed(3), []
    for batch in inputs(name, 1):
        with torch.no_grad():
            outputs = called(model, batch)
        targets = outputs.argmax(1)
        wrong = torch.rand(targets.shape, generator=generator) < WRONG
        batches.append((batch, torch.where(wrong, (targets + 1) % outputs.shape[1], targets)))
    return batches
