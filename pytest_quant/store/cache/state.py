"""State: what a variant is now, whatever a test has done to it since it was built."""

from typing import Any

from pytest_quant.errors import in_brief
from pytest_quant.machine.libraries import is_installed
from pytest_quant.store.cache.not_kept import NotKept
from pytest_quant.subject.batches import call, size_of
from pytest_quant.subject.digests import digests
from pytest_quant.subject.fingerprint import UnknownValue, fingerprint
from pytest_quant.subject.named import PLAIN
from pytest_quant.variant.variant import Variant


def state_of(variant: Variant) -> bytes:
    """What a variant is now: its tensors, the code of its graphs, its hooks, its plain attributes, and its
    outputs for the first eval batch, bit for bit.

    Raises:
        NotKept: it is no module.
    """
    import torch

    model = variant.model
    if not isinstance(model, torch.nn.Module):
        raise NotKept(f"{variant.name} is no nn.Module, so that nothing tells whether it changed")
    try:
        told: list[Any] = [model.state_dict(), dict(model.named_buffers())]
        told.append([_code_of(name, each) for name, each in model.named_modules()])
        with variant.running():
            outputs = call(model, variant.admitted.first_inputs, variant.subject.forward)
        size = size_of(variant.admitted.first_inputs)
        return fingerprint(told, digests(outputs, size))
    except UnknownValue as error:
        raise NotKept(f"{variant.name} holds what no digest can be made of: {error}") from None
    except Exception as error:  # which its evaluation will tell
        raise NotKept(f"{variant.name} cannot run ({in_brief(error)})") from None


def _code_of(name: str, module: Any) -> list[Any]:
    own = vars(module)
    hooks = [len(value) for key, value in own.items() if "_hooks" in key and value]
    called = [[*own.get(kind, {}).values()] for kind in ("_forward_hooks", "_forward_pre_hooks")]
    plain = {key: value for key, value in own.items() if _is_plain(value)}
    return [name, type(module).__qualname__, getattr(module, "code", None), hooks, called,
            _forward_of(own), plain]  # fmt: skip


def _forward_of(own: dict[str, Any]) -> Any:
    """A forward that was set on the layer itself; of PyTorch's compiler's only that it is there."""
    forward = own.get("forward")
    code = getattr(getattr(forward, "__func__", forward), "__code__", None)
    return True if code is not None and is_installed(code.co_filename) else forward


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in PLAIN
