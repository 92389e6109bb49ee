"""Environment: what decides whether the numbers of two runs can be compared."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pytest_quant.machine.conditions import Conditions, available_cores
from pytest_quant.machine.cpu import cpu_name, has_vnni, is_arm, isa


def environment(
    conditions: Conditions, workers: int = 1, repo: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Versions, CPU, instruction set, threads and engine, and what `commit_of` told of the repo, as plain
    JSON types."""
    import platform
    from importlib.metadata import version

    import torch

    return {
        "pytest_quant": version("pytest-quant"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.system(),
        "engine": conditions.engine or torch.backends.quantized.engine,
        "threads": conditions.threads,
        "cores": available_cores(),
        "cpu": cpu_name(),
        "isa": isa(),
        "vnni": None if is_arm() else has_vnni(),
        "seed": conditions.seed,
        "workers": workers,
        **repo,
    }
