"""NNCF's search: `nncf.quantize_with_accuracy_control` on OpenVINO, since it has none for PyTorch.

Default settings. The validation function gives the accuracy and the score of every item, as NNCF
likes it best: without the latter it would call the function once more for each item. It ranks by
up to 300 items; an item is an image, or a batch, of which there are fewer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mend_case import Task, digits, fidelity, loaded, logits, top1
from mend_outcome import Outcome
from torch import Tensor

WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
PASSED = (
    "Convert",
    "Subtract",
    "Multiply",
    "Reshape",
    "Transpose",
)  # from a weight to its constant


class Validation:
    """The validation function: top-1 and each item's score; it keeps count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.samples: list[int] = []  # of each call
        self.scores: list[float] = []
        self.ended: list[float] = []

    def __call__(self, model: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        scored = [(top1(answer(model, images), labels), len(labels)) for images, labels in items]
        self.samples.append(sum(size for _, size in scored))
        self.scores.append(sum(score * size for score, size in scored) / self.samples[-1])
        self.ended.append(self.clock())
        return self.scores[-1], [score for score, _ in scored]


def answer(model: Any, images: Tensor) -> Tensor:
    """A compiled model's logits."""
    outputs = model(images.numpy(), share_inputs=True, share_outputs=True)[0]
    return torch.from_numpy(outputs.copy())


def nncf(task: Task, *, batch: int, per_channel: bool) -> Outcome:
    """NNCF's answer."""
    import nncf
    import openvino as ov
    from nncf.quantization.advanced_parameters import QuantizationParameters

    module = loaded(task.case, task.folder)
    calibration, validation = ([*_cut(part, batch)] for part in digits(task.shifts))
    model = ov.convert_model(module, example_input=validation[0][0])
    model.reshape([batch, *validation[0][0].shape[1:]])
    validate = Validation(task.clock)
    advanced = None
    if not per_channel:
        weights = QuantizationParameters(per_channel=False)
        advanced = nncf.AdvancedQuantizationParameters(weights_quantization_params=weights)
    start = task.clock()
    mended = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(calibration, lambda item: item[0].numpy()),
        validation_dataset=nncf.Dataset(validation, lambda item: item[0].numpy()),
        validation_fn=validate,
        max_drop=task.limit,
        target_device=nncf.TargetDevice.CPU,
        advanced_quantization_parameters=advanced,
    )
    seconds = task.clock() - start
    size = sum(len(labels) for _, labels in validation)
    full = [number for number, samples in enumerate(validate.samples) if samples == size]
    fp32, quantized = full[:2]  # first the two models are compared; what follows is the search
    search = slice(quantized + 1, None)
    kept, layers = _kept(mended)
    compiled = ov.compile_model(mended, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    own = torch.cat([answer(compiled, images) for images, _ in validation])
    labels = torch.cat([labels for _, labels in validation])
    final = top1(own, labels)
    return Outcome(
        before=validate.scores[fp32] - validate.scores[quantized],
        kept=kept,
        layers=layers,
        full=validate.samples[search].count(size),
        part=sum(samples for samples in validate.samples[search] if samples != size),
        search=seconds - (validate.ended[quantized] - start),
        seconds=seconds,
        accuracy=final,
        drop=validate.scores[fp32] - final,
        sqnr=fidelity(own, logits(module, validation)),
    )


def _cut(batches: Iterable[tuple[Tensor, Tensor]], batch: int) -> Iterable[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield from zip(images.split(batch), labels.split(batch), strict=True)


def _kept(model: Any) -> tuple[int, int]:
    """How many layers have a floating-point weight, and how many there are."""
    layers = [op for op in model.get_ops() if op.get_type_name() in WEIGHTED]
    return sum(not _is_int8(op.input_value(1).get_node()) for op in layers), len(layers)


def _is_int8(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return node.get_element_type().get_type_name() in ("i8", "u8")
    if node.get_type_name() == "FakeQuantize":
        return True
    return node.get_type_name() in PASSED and _is_int8(node.input_value(0).get_node())
