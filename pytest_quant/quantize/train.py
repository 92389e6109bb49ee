"""Quantization-aware training: a short fine-tuning with fake-quantize modules in place."""

import copy
from collections.abc import Iterator
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.machine.progress import Progress
from pytest_quant.quantize.calibrate import refuse_eval_data
from pytest_quant.quantize.dense_gradients import with_dense_gradients
from pytest_quant.quantize.device import moved, on_device
from pytest_quant.quantize.own_loop import train_by_own_loop
from pytest_quant.quantize.trained_elsewhere import take_state
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.subject.batches import (
    call,
    count_of,
    described,
    each_batch,
    on_cpu,
    size_of,
    tensors_in,
    unpack,
)
from pytest_quant.subject.counted import is_empty
from pytest_quant.subject.digests import digests
from pytest_quant.subject.logits import logits_of
from pytest_quant.subject.subject import Admitted, Subject, forward
from pytest_quant.variant.recipe import Recipe

# When, as a share of all steps, BatchNorm's statistics and the observers stand still, so that the
# weights settle on the ranges that the converted model will have. PyTorch's reference training
# freezes in the same order (torchvision, references/classification/train_quantization.py).
FREEZE_BATCHNORM = 0.75
FREEZE_OBSERVERS = 0.85


def train(prepared: Any, admitted: Admitted, recipe: Recipe, who: str, progress: Progress) -> Tuned:
    """Train the prepared model in place: by the user's `quant_train`, else by the built-in loop. What
    was trained elsewhere (`quant_qat_state`) is taken instead.

    Returns:
        With the inputs of the first epoch, or those that the user's own loop was seen to learn from.

    Raises:
        QuantStageError: when there is no training data, or training fails or gives a loss of NaN.
    """
    subject = admitted.subject
    if subject.qat_state is not None:
        return take_state(prepared, subject.qat_state, recipe.flow)
    _refuse_frozen(prepared)
    if subject.train is not None:
        return train_by_own_loop(prepared, admitted)
    if subject.train_data is None:
        raise QuantStageError(
            "train",
            "there is nothing to train on; QAT needs batches of (inputs, targets), or your "
            "own loop. Override the fixture quant_train_data or quant_train, or give the state of a "
            "model that was trained elsewhere by quant_qat_state.",
        )
    refuse_eval_data("train", "quant_train_data", subject.train_data, subject)
    with_dense_gradients(prepared)
    with on_device(prepared, recipe.device):
        return _loop(prepared, subject, recipe, who, progress)


def _refuse_frozen(prepared: Any) -> None:
    """A model that was loaded to be run may have all its parameters frozen."""
    if not any(parameter.requires_grad for parameter in prepared.parameters()):
        raise QuantStageError(
            "train",
            "all parameters of quant_model are frozen (requires_grad=False), so that QAT has nothing to "
            "train. Call model.requires_grad_(True) in quant_model; a copy of it is trained.",
        )


def _loop(prepared: Any, subject: Subject, recipe: Recipe, who: str, progress: Progress) -> Tuned:
    import torch

    steps = recipe.epochs * _count(subject)
    optimizer = torch.optim.Adam(prepared.parameters(), lr=recipe.lr)
    # A rate that stays high leaves the last steps' noise in the weights: in six builds ResNet-18
    # lost up to 2.3 points on held-back digits at a constant 1e-4, and up to 0.7 with this decay.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    seen, done = set[bytes](), 0
    prepared.train()
    with torch.enable_grad(), progress(f"train {who}", steps, "steps") as advance:
        for epoch, inputs, targets in _batches(subject, recipe.epochs):
            _freeze(prepared, done, steps)
            if epoch == 0:
                seen.update(digests(inputs, size_of(inputs)))
            inputs, targets = moved(inputs, recipe.device), moved(targets, recipe.device)
            loss = _loss(prepared, subject, inputs, targets, done)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            advance(1)
    if not done:
        raise QuantStageError(
            "train",
            "quant_train_data yielded nothing; QAT needs batches of (inputs, targets). "
            "Override the fixture quant_train_data.",
        )
    return Tuned(frozenset(seen))


def _batches(subject: Subject, epochs: int) -> Iterator[tuple[int, Any, Any]]:
    """The epoch, inputs and targets of each step."""
    for epoch in range(epochs):
        for batch in each_batch(subject.train_data, "quant_train_data", subject.batch):
            inputs, targets = unpack(batch, "quant_train_data", subject.batch)
            if not is_empty(inputs):  # whose mean loss would be NaN
                yield epoch, on_cpu(inputs), targets


def _freeze(prepared: Any, done: int, steps: int) -> None:
    """Freeze what is to stand still from this step on; nothing at the very first."""
    if done == max(int(steps * FREEZE_BATCHNORM), 1):
        torch_api.freeze_batchnorm(prepared)
    if done == max(int(steps * FREEZE_OBSERVERS), 1):
        torch_api.freeze_observers(prepared)


def _loss(prepared: Any, subject: Subject, inputs: Any, targets: Any, done: int) -> Any:
    import torch

    outputs = forward(
        subject,
        prepared,
        inputs,
        "the prepared model",
        stage="train",
        fixture="quant_train_data",
    )
    try:
        loss = (subject.loss or _cross_entropy)(outputs, targets)
    except QuantStageError:
        raise
    except Exception as error:
        raise QuantStageError(
            "train",
            f"the loss raised: {in_brief(error)}. {_left_out(subject, inputs, outputs)}Override the "
            "fixture quant_loss with a callable(outputs, targets) that fits the model.",
        ) from error
    if not any(tensor.requires_grad for tensor in tensors_in(outputs)):
        raise QuantStageError(
            "train",
            "the outputs of quant_model carry no gradient: its forward runs under torch.no_grad or "
            "torch.inference_mode, or detaches what it computes (detach, .data, .numpy()). Leave that to "
            "those who call the model.",
        )
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise QuantStageError(
            "train", f"quant_loss returned {loss!r}; expected a scalar tensor with a gradient."
        )
    if not torch.isfinite(loss):
        raise QuantStageError("train", _no_number(loss, done, inputs, outputs))
    return loss


def _no_number(loss: Any, done: int, inputs: Any, outputs: Any) -> str:
    """Why a loss is NaN or an infinity: of the data, of itself, or of training."""

    value, where = loss.item(), f"at step {done + 1}"
    if any(bool(tensor.isnan().any()) for tensor in tensors_in(inputs)):
        return (
            f"the loss is {value} {where}, whose inputs in quant_train_data hold NaN; clean the data, or "
            "leave these samples out."
        )
    if done:
        less = "a smaller learning rate may help (Recipe('qat', lr=...))"
        return f"the loss became {value} {where}; {less}."
    if not all(bool(tensor.isfinite().all()) for tensor in tensors_in(outputs)):
        return (
            f"the loss is {value} at the first step, before anything was trained, since the outputs of the "
            "prepared model are no finite numbers: look at quant_model in train mode."
        )
    return (
        f"the loss is {value} at the first step, before anything was trained: look at quant_loss, and at "
        "the targets of quant_train_data."
    )


def _left_out(subject: Subject, inputs: Any, outputs: Any) -> str:
    """A sentence where the model gives another form in train mode than QAT, which traces one mode; or
    nothing."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            trained = call(copy.deepcopy(subject.model).train(), inputs, subject.forward)
    except Exception:  # which the user's own training may call otherwise
        return ""
    forms = [(described(each), [t.shape for t in tensors_in(each)]) for each in (trained, outputs)]
    if forms[0] == forms[1]:
        return ""
    return (
        f"In train mode quant_model gives {forms[0][0]}, but what its forward does only in training is "
        f"left out of QAT, so that quant_loss gets what it gives in eval mode: {forms[1][0]}. "
    )


def _cross_entropy(outputs: Any, targets: Any) -> Any:
    import torch

    logits = logits_of(outputs)
    if why := _no_classes(logits, targets):
        raise QuantStageError(
            "train",
            f"the built-in loop trains by cross-entropy, which is not meant for {why}. Override the "
            "fixture quant_loss with a callable(outputs, targets) that gives a scalar tensor, such as "
            "torch.nn.functional.mse_loss.",
        )
    return torch.nn.functional.cross_entropy(logits, targets)


def _no_classes(logits: Any, targets: Any) -> str | None:
    """Why cross-entropy would train nonsense without a word, in half a sentence; or None."""
    import torch

    if not isinstance(logits, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return None
    shapes = f"of shape {list(targets.shape)} for outputs of shape {list(logits.shape)}"
    if logits.ndim < 2:
        return f"targets {shapes}, in which no axis holds classes"
    if logits.shape[1] == 1:
        return f"targets {shapes}, with one class alone"
    if targets.is_floating_point():
        sums = targets.double().sum(1) if targets.ndim > 1 else targets
        if targets.shape != logits.shape or (targets < 0).any() or ((sums - 1).abs() > 1e-3).any():
            return f"targets of {targets.dtype} {shapes} that are no probabilities of classes"
    elif logits.ndim == 3 and targets.ndim == 2 and logits.shape[1] == logits.shape[2]:
        return f"targets {shapes}, in which both axes could be the classes"
    return None


def _count(subject: Subject) -> int:
    """Batches in one epoch; data without a length is read once to know."""
    count = count_of(subject.train_data, "quant_train_data", subject.batch)
    if count is not None:
        return count
    return sum(1 for _ in each_batch(subject.train_data, "quant_train_data", subject.batch))
