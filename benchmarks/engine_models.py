"""The FP32 models that engines are compared on: the same weights, inputs and ONNX for everybody.

Weights are random, since nothing is downloaded; BatchNorm has the statistics of a few passes and no
layer is left at zero, so that activations have the ranges and ReLUs the zeros of a trained net.
"""

import logging
import sys
import warnings
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

SIDE = 224  # pixels
STEPS, WIDTH = 32, 256  # of the LSTM
WORDS, HIDDEN, LAYERS = 64, 384, 6  # of the encoder of texts
PASSES = 4  # for BatchNorm's statistics
MODELS = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "vit_b_16", "bert", "lstm")
WEIGHTS, INPUTS, OUTPUTS, ONNX = "weights.pt", "inputs.pt", "outputs.pt", "model.onnx"


class LastState(nn.Module):
    """A two-layer LSTM's output at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        last: Tensor = self.lstm(inputs)[0][:, -1]
        return last


class Encoder(nn.Module):
    """An encoder like BERT's, of embedded texts, with a head on the first word."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            HIDDEN, 6, 4 * HIDDEN, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        # It copies one layer. A runtime that stores equal weights once would have all six in its cache.
        for weight in (p for p in self.encoder.parameters() if p.ndim > 1):
            nn.init.xavier_uniform_(weight)
        self.head = nn.Linear(HIDDEN, 16)

    def forward(self, inputs: Tensor) -> Tensor:
        first: Tensor = self.head(self.encoder(inputs)[:, 0])
        return first


def bare(name: str) -> nn.Module:
    """The architecture in eval mode, before its weights are loaded."""
    if name == "lstm":
        return LastState().eval()
    if name == "bert":
        return Encoder().eval()
    module: nn.Module = torchvision.models.get_model(name, weights=None)
    return module.eval()


def loaded(name: str, folder: Path) -> nn.Module:
    """The model with the weights that `make` left in the folder."""
    module = bare(name)
    module.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return module


def inputs_of(name: str, samples: int) -> Tensor:
    """Coarse random patterns with noise over them, [samples, 3, 224, 224]; else sequences of numbers."""
    if name == "lstm":
        return torch.randn(samples, STEPS, WIDTH)
    if name == "bert":
        return torch.randn(samples, WORDS, HIDDEN)
    coarse = torch.randn(samples, 3, 14, 14)
    smooth = nn.functional.interpolate(coarse, size=SIDE, mode="bilinear", align_corners=False)
    return smooth + 0.3 * torch.randn_like(smooth)


def make(name: str, folder: Path, samples: int, seed: int) -> None:
    """Write weights, calibration inputs, FP32's outputs for them and the ONNX model."""
    torch.manual_seed(seed)
    module, inputs = bare(name), inputs_of(name, samples)
    for parameter in module.parameters():  # ViT's head, which torchvision leaves at zero
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over all passes
            norm.train()
        for part in inputs.chunk(PASSES) if norms else ():
            module(part)
        module.eval()
        outputs = torch.cat([module(part) for part in inputs.split(8)])
    torch.save(module.state_dict(), folder / WEIGHTS)
    torch.save(inputs, folder / INPUTS)
    torch.save(outputs, folder / OUTPUTS)
    export(module, inputs[:2], folder / ONNX, lstm=name == "lstm")


def export(module: nn.Module, inputs: Tensor, path: Path, lstm: bool) -> None:
    """ONNX for any batch size. The older exporter keeps an LSTM as clean as ONNX has it."""
    logging.disable(logging.WARNING)
    names = {"input_names": ["input"], "output_names": ["output"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if lstm:
            axes = {"input": {0: "batch"}, "output": {0: "batch"}}
            torch.onnx.export(
                module, (inputs,), str(path), dynamo=False, dynamic_axes=axes, **names
            )
            return
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            module,
            (inputs,),
            str(path),
            dynamo=True,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
            **names,
        )


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
