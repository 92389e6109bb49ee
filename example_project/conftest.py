"""Describes this repo's models to pytest-quant, once for all tests.

The project's modules are imported inside the fixtures: `pytest` without `--quant` builds none of
these, so collecting does not have to import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader


@pytest.fixture(scope="session", params=["cnn", "resnet18"])
def quant_model(request: pytest.FixtureRequest) -> nn.Module:
    """Each model in turn, trained on first use."""
    from train import trained

    return trained(request.param)


@pytest.fixture(scope="session")
def quant_eval_data() -> DataLoader:
    """What accuracy is measured on; the first batch is also what is timed."""
    from data import eval_loader

    return eval_loader()


@pytest.fixture(scope="session")
def quant_calibration_data() -> DataLoader:
    """What static quantization observes: training images, never those of the eval set."""
    from data import calibration_loader

    return calibration_loader()


@pytest.fixture(scope="session")
def quant_train_data() -> DataLoader:
    """What quantization-aware training trains on."""
    from data import train_loader

    return train_loader()
