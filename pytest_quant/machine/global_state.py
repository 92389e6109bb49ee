"""Global state: PyTorch's settings for the whole process that change what a model computes, or how fast."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name as a user writes it, how it is read, how it is set."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class GlobalState:
    """The settings at one moment. Inference mode is none of them: PyTorch has it as a context alone.

    Args:
        values: of each setting by its name; those that PyTorch cannot tell are left out.
    """

    values: Mapping[str, Any]

    @classmethod
    def now(cls) -> "GlobalState":
        """The settings as they are."""
        found = {setting.name: _read(setting) for setting in _settings()}
        return cls({name: value for name, value in found.items() if value is not None})

    def without_hooks(self) -> "GlobalState":
        """The same with no hook that is called for all modules of the process."""
        return GlobalState({**self.values, HOOKS: torch_api.no_global_hooks()})

    def put_back(self) -> tuple[str, ...]:
        """Make the settings those again; the names of those that had been changed.

        Raises:
            QuantStageError: one cannot be set; names it.
        """
        changed = []
        for setting in _settings():  # in their order, since some follow those before them
            if setting.name not in self.values or _read(setting) == self.values[setting.name]:
                continue
            changed.append(setting.name)
            try:
                setting.write(self.values[setting.name])
            except Exception as error:
                raise QuantStageError(
                    "evaluate",
                    f"{setting.name} was changed and cannot be set back to "
                    f"{self.values[setting.name]!r}: {in_brief(error)}. What FP32 and the variants "
                    "compute depends on it.",
                ) from error
        return tuple(changed)


@contextmanager
def given_back() -> Iterator[None]:
    """In which code that is not ours runs: the settings afterwards are those before."""
    found = GlobalState.now()
    try:
        yield
    finally:
        found.put_back()


HOOKS = "torch.nn.modules.module.register_module_forward_hook"  # and its likes


def _read(setting: Setting) -> Any:
    try:
        return setting.read()
    except Exception:  # PyTorch refuses to tell what was set by its newer interface
        return None


def _flushes_denormals(tiny: float = 1e-310, one: float = 1.0) -> bool:
    """Whether the processor takes numbers below the smallest normal one for zero; there is no getter."""
    return tiny * one == 0


@functools.cache
def _settings() -> tuple[Setting, ...]:
    import torch

    def default_device(device: Any) -> None:
        # A default device that is set costs time at each call, so the CPU is none.
        torch.set_default_device(None if device == torch.device("cpu") else device)

    def deterministic(mode: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])

    backends: Any = torch.backends
    cuda: Any = torch.backends.cuda  # whose switches choose the CPU's attention kernels too

    def of(module: Any, attribute: str, name: str) -> Setting:
        def write(value: Any) -> None:
            setattr(module, attribute, value)

        return Setting(name, lambda: getattr(module, attribute), write)

    return (
        Setting("torch.set_num_threads", torch.get_num_threads, torch.set_num_threads),
        Setting("torch.set_default_dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch.set_default_device", torch.get_default_device, default_device),
        Setting("torch.set_grad_enabled", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting(
            "torch.use_deterministic_algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            deterministic,
        ),
        Setting(
            "torch.set_autocast_enabled",
            lambda: torch.is_autocast_enabled("cpu"),
            lambda value: torch.set_autocast_enabled("cpu", value),
        ),
        Setting(
            "torch.set_autocast_dtype",
            lambda: torch.get_autocast_dtype("cpu"),
            lambda value: torch.set_autocast_dtype("cpu", value),
        ),
        Setting("torch.set_flush_denormal", _flushes_denormals, torch.set_flush_denormal),
        of(backends, "fp32_precision", "torch.backends.fp32_precision"),
        Setting(
            "torch.set_float32_matmul_precision",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        *(
            of(
                getattr(backends.mkldnn, part),
                "fp32_precision",
                f"torch.backends.mkldnn.{part}.fp32_precision",
            )
            for part in ("matmul", "conv", "rnn")
        ),
        of(backends.mkldnn, "enabled", "torch.backends.mkldnn.enabled"),
        of(backends.mkldnn, "deterministic", "torch.backends.mkldnn.deterministic"),
        of(backends.opt_einsum, "enabled", "torch.backends.opt_einsum.enabled"),
        of(backends.quantized, "engine", "torch.backends.quantized.engine"),
        Setting(
            "torch.backends.mha.set_fastpath_enabled",
            backends.mha.get_fastpath_enabled,
            backends.mha.set_fastpath_enabled,
        ),
        Setting(
            "torch.backends.cuda.enable_flash_sdp", cuda.flash_sdp_enabled, cuda.enable_flash_sdp
        ),
        Setting("torch.backends.cuda.enable_math_sdp", cuda.math_sdp_enabled, cuda.enable_math_sdp),
        Setting(HOOKS, torch_api.global_hooks, torch_api.set_global_hooks),
    )
