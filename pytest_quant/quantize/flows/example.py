"""Example: one call of the model as it is really made, and a forward narrowed to just that call."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api
from pytest_quant.quantize.arguments import arguments_by_name, passed_by_place
from pytest_quant.subject.batches import call, size_of, tensors_in
from pytest_quant.subject.subject import Admitted


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One call of the FP32 model: what a flow traces.

    Args:
        args, kwargs: that the model is called with, whoever calls it.
        outputs: what it returned.
        parts: calls of submodules by name, where it is known which of them flow parts is to trace.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    parts: dict[str, "Example"] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Samples in the call."""
        return size_of([*self.args, *self.kwargs.values()])

    def by_name(self, module: Any) -> dict[str, Any] | None:
        """As `arguments_by_name`; None where a name of ``**options`` is none that Python takes."""
        given = arguments_by_name(_signature(module), self.args, self.kwargs)
        return given if all(name.isidentifier() for name in given) else None


def example_of(module: Any, admitted: Admitted) -> Example:
    """The call that really reaches the model when the first eval batch is run.

    Raises:
        QuantStageError: when `quant_forward` does not call the model it is given.
    """
    own = admitted.subject.forward
    calls = calls_of({"": module}, lambda: call(module, admitted.first_inputs, own))
    if not calls:
        raise QuantStageError(
            "prepare",
            "quant_forward does not call the model it is given; static quantization and "
            "QAT trace model(...), so let quant_forward(model, inputs) call it.",
        )
    return calls[""]


def calls_of(
    modules: Mapping[str, Any], run: Callable[[], Any], *, alike: bool = False
) -> dict[str, Example]:
    """The first call of each of these modules while `run` runs; those never called are left out.

    Args:
        alike: leave out also those that are called in more than one way: with other flags, or with
            an argument that is a tensor only at times.
    """
    import torch

    caught: dict[str, Example] = {}
    unlike = set[str]()

    def catch(name: str) -> Callable[..., None]:
        def hook(_: Any, args: Any, kwargs: Any, outputs: Any) -> None:
            first = caught.setdefault(name, Example(args, kwargs, outputs))
            if _plain(first.args, first.kwargs) != _plain(args, kwargs):
                unlike.add(name)

        return hook

    hooks = [
        child.register_forward_hook(catch(name), with_kwargs=True)
        for name, child in modules.items()
        if torch_api.takes_hooks(child)
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: call for name, call in caught.items() if not (alike and name in unlike)}


def _plain(args: Any, kwargs: Any) -> dict[Any, Any]:
    """Arguments, by place or name, with all that hold tensors alike."""
    given = {**dict(enumerate(args)), **kwargs}
    return {key: value if holds_no_tensor(value) else ... for key, value in given.items()}


def holds_no_tensor(value: Any) -> bool:
    """Whether an argument says what forward does; a traced graph has it as a constant."""
    return next(tensors_in(value), None) is None


def narrow(module: Any, example: Example) -> "Rebuild | None":
    """Give the module a forward with just the call's arguments, that returns what can be traced.

    A tracer makes a value of every parameter of forward, also of those that are None, and would then
    take both branches of ``if labels is not None``. An argument without a tensor (None, a flag, a
    number) is still accepted, but inside it is a constant, the example's. An output object
    (``.logits``) becomes the tuple of its tensors, from which `Rebuild` makes the object again.
    """
    original, signature = type(module).forward, _signature(module)
    rebuild = Rebuild(example.outputs) if _is_object(example.outputs) else None
    given = example.by_name(module)
    whole = given is None or (
        [*signature.parameters] == [*given] and not any(map(holds_no_tensor, given.values()))
    )
    if whole and rebuild is None:
        return None
    accepted, passed, optional = ["*args", "**kwargs"], ["*args", "**kwargs"], False
    if given is not None:
        accepted, passed = [], []
        by_place = passed_by_place(signature, example.args, example.kwargs)
        for name, value in given.items():
            optional = optional or holds_no_tensor(value)
            accepted.append(f"{name}=_omitted.get({name!r})" if optional else name)
            inner = f"_given[{name!r}]" if holds_no_tensor(value) else name
            passed.append(inner if name in by_place else f"{name}={inner}")
    outputs = "outputs" if rebuild is None else f"({''.join(f'{p}, ' for p in rebuild.places)})"
    body = f"outputs = _original(self, {', '.join(passed)})\n    return {outputs}"
    named = signature.parameters.items()
    omitted = {name: each.default for name, each in named if each.default is not each.empty}
    space: dict[str, Any] = {"_original": original, "_given": given, "_omitted": omitted}
    exec(f"def forward(self, {', '.join(accepted)}):\n    {body}", space)
    module.__class__ = type(type(module).__name__, (type(module),), {"forward": space["forward"]})
    return rebuild


def _signature(module: Any) -> inspect.Signature:
    """Of the forward of the module's class, without self."""
    whole = inspect.signature(type(module).forward)
    return whole.replace(parameters=list(whole.parameters.values())[1:])


class Rebuild:
    """Makes a model's output object again from the tuple of its tensors.

    Args:
        template: an output of the FP32 model; all in it but its tensors is kept.

    Attributes:
        places: where in ``outputs`` each tensor is, as Python says it: ``outputs.logits``.
    """

    __name__ = "rebuild"
    __module__ = __name__

    def __init__(self, template: Any) -> None:
        self.places: list[str] = []
        self.template = _mapped(template, lambda tensor: tensor.detach().clone(), self.places)

    def __call__(self, tensors: Any) -> Any:
        left = iter(tensors)
        return _mapped(self.template, lambda _: next(left), [])


def _mapped(
    value: Any, change: Callable[[Any], Any], places: list[str], place: str = "outputs"
) -> Any:
    """The same nest, output objects included, with each tensor changed, and each one's place."""
    import torch

    if isinstance(value, torch.Tensor):
        places.append(place)
        return change(value)
    if isinstance(value, Mapping):
        made: Any = copy.copy(value)
        for key, item in value.items():
            made[key] = _mapped(item, change, places, f"{place}[{key!r}]")
        return made
    if isinstance(value, list | tuple):
        items = [_mapped(item, change, places, f"{place}[{i}]") for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if _is_object(value):
        made = copy.copy(value)
        for name, item in vars(value).items():
            object.__setattr__(made, name, _mapped(item, change, places, f"{place}.{name}"))
        return made
    return value


def _is_object(value: Any) -> bool:
    """Whether an output is more than what a tracer returns: tensors in lists, tuples and dicts."""
    import torch

    plain = (torch.Tensor, list, tuple, str, int, float, type(None))
    return type(value) is not dict and not isinstance(value, plain) and hasattr(value, "__dict__")
