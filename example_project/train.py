"""Trains the models of this example on first use and keeps their weights for the next.

`python train.py` trains what is not trained yet and prints the accuracy of both models.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
import torchvision
from data import dataset_name, eval_loader, train_loader
from filelock import FileLock
from model import MODELS
from torch import nn
from torch.utils.data import DataLoader

HERE = Path(__file__).parent
WEIGHTS_FOLDER = HERE / "weights"

SEED = 0
# Chosen on a quarter of the training digits that was held back, never on the eval set.
EPOCHS = {"cnn": 5, "resnet18": 8}
MAX_LEARNING_RATE = 1e-3


def trained(name: str, weights_folder: Path = WEIGHTS_FOLDER) -> nn.Module:
    """The model of that name in eval mode: trained now, or loaded from `weights_folder`.

    Test workers that come at the same time wait for the first one, which trains. Random numbers
    that the caller draws afterwards are the same whether the model was trained or loaded.
    """
    weights_folder.mkdir(parents=True, exist_ok=True)
    file = weights_folder / f"{name}-{dataset_name()}-{_fingerprint()}.pt"
    with FileLock(f"{file}.lock"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = MODELS[name]()
        if file.exists():
            model.load_state_dict(torch.load(file, weights_only=True))
        else:
            train(model, train_loader(), EPOCHS[name])
            _save(model, file)
    return model.eval()


def train(model: nn.Module, batches: DataLoader, epochs: int) -> None:
    """Trains with Adam and cross-entropy; the learning rate rises, then falls to nearly zero."""
    optimizer = torch.optim.Adam(model.parameters(), lr=MAX_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, MAX_LEARNING_RATE, epochs=epochs, steps_per_epoch=len(batches)
    )
    model.train()
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()


def accuracy(model: nn.Module, batches: DataLoader) -> float:
    """Share of the images whose largest logit is that of their label; model in eval mode."""
    correct = total = 0
    with torch.inference_mode():
        for images, labels in batches:
            correct += int((model(images).argmax(dim=1) == labels).sum())
            total += len(labels)
    return correct / total


def _fingerprint() -> str:
    """Eight digits that change with whatever decides the weights, so that none are stale."""
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    sources = [(HERE / name).read_bytes() for name in ("data.py", "model.py", "train.py")]
    return hashlib.sha256(b"\0".join([versions.encode(), *sources])).hexdigest()[:8]


def _save(model: nn.Module, file: Path) -> None:
    """Writes the whole file or none of it, so that an interrupted run leaves no broken weights."""
    temporary = file.with_suffix(".tmp")
    torch.save(model.state_dict(), temporary)
    os.replace(temporary, file)


if __name__ == "__main__":
    for model_name in MODELS:
        share = accuracy(trained(model_name), eval_loader())
        print(f"{model_name:<10} {share:.2%} of the {dataset_name()} eval images")
