"""Ordinary unit tests of this repo; they need no training and run in a plain `pytest`."""

import pytest
import torch
from data import calibration_loader, eval_loader, train_loader
from model import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_ten_logits_per_image(name):
    model = MODELS[name]().eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("loader", [train_loader, eval_loader, calibration_loader])
def test_a_batch_is_normalised_images_and_labels(loader):
    images, labels = next(iter(loader(batch_size=16)))
    assert images.shape == (16, 3, 32, 32)
    assert images.dtype == torch.float32
    assert -3 < images.min() < 0 < images.max() < 3
    assert labels.shape == (16,)
    assert labels.dtype == torch.int64


def test_the_eval_set_is_neither_trained_nor_calibrated_on():
    held_out = _pixels(eval_loader())
    train = _pixels(train_loader())
    assert held_out.isdisjoint(train)
    assert _pixels(calibration_loader()) <= train


def _pixels(loader):
    """The images as bytes, so that equal ones are found whatever their order."""
    return {image.numpy().tobytes() for images, _ in loader for image in images}
