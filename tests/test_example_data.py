"""The example's images: the digits' split, and CIFAR-10 from files in its own format."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

DATA_FILE = Path(__file__).parents[1] / "example_project" / "data.py"
IMAGES_PER_FILE = 20


@pytest.fixture(scope="module")
def data() -> ModuleType:
    """`example_project/data.py`, under a name that cannot meet another module called data."""
    pytest.importorskip("sklearn", reason="the example's digits come with scikit-learn")
    pytest.importorskip("torchvision", reason="the example reads CIFAR-10 with torchvision")
    spec = importlib.util.spec_from_file_location("example_project_data", DATA_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def digits_unless_a_test_says_otherwise(monkeypatch):
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)


@pytest.fixture
def cifar10_files(tmp_path) -> Path:
    """A folder with small files in CIFAR-10's format: pickled dicts of rows of 3072 bytes."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        batch = {
            "batch_label": name,
            "data": random.integers(0, 256, (IMAGES_PER_FILE, 3 * 32 * 32), dtype=np.uint8),
            "labels": random.integers(0, 10, IMAGES_PER_FILE).tolist(),
            "filenames": [f"{name}_{number}.png" for number in range(IMAGES_PER_FILE)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": [f"class {number}" for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tmp_path


@pytest.fixture
def cifar10(cifar10_files, monkeypatch) -> Path:
    """CIFAR10_ROOT names those files, and torchvision expects their checksums.

    The check itself stays in force: only the expected sums are those of the small files.
    """
    from torchvision.datasets import CIFAR10

    folder = cifar10_files / CIFAR10.base_folder

    def with_md5(names):
        return [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name in names]

    (meta,) = with_md5([CIFAR10.meta["filename"]])
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(CIFAR10, attribute)]
        monkeypatch.setattr(CIFAR10, attribute, with_md5(names))
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta[1]})
    monkeypatch.setenv("CIFAR10_ROOT", str(cifar10_files))
    return folder


def test_the_digits_split_holds_every_digit_once(data):
    train, held_out = map(_pixels, data.train_and_eval_sets())
    assert (len(train), len(held_out)) == (1257, 540)
    assert len(set(train + held_out)) == 1797


def test_the_digits_split_is_stratified(data):
    train, held_out = map(_class_counts, data.train_and_eval_sets())
    for label in range(10):
        expected = 540 / 1797 * (train[label] + held_out[label])
        assert abs(held_out[label] - expected) <= 1


def test_the_digits_split_is_the_same_each_time_and_draws_no_random_numbers(data):
    first = data.train_and_eval_sets()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    second = data.train_and_eval_sets()
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    for before, after in zip(first, second, strict=True):
        assert _pixels(before) == _pixels(after)
        assert _class_counts(before) == _class_counts(after)


def test_a_digit_is_its_8x8_scan_upscaled_in_three_equal_channels(data):
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Bilinear upscaling by hand: each new pixel's place in the old row or column, ends repeated.
    places = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    weights = np.stack([np.interp(places, np.arange(8), row) for row in np.eye(8)], axis=1)
    upscaled = weights @ digits.images @ weights.T / 16 * 2 - 1

    for dataset in data.train_and_eval_sets():
        for image, label in list(dataset)[:20]:
            assert (image.shape, image.dtype) == ((3, 32, 32), torch.float32)
            distances = np.abs(upscaled[:, None] - image.numpy()).max(axis=(1, 2, 3))
            assert distances.min() < 1e-5
            assert digits.target[distances.argmin()] == label


def test_the_train_loader_shuffles_the_same_way_in_each_run_and_anew_in_each_epoch(data):
    loader = data.train_loader()
    first, second = _labels(loader), _labels(loader)
    torch.manual_seed(1234)
    assert _labels(data.train_loader()) == first
    assert second != first


def test_the_eval_loader_keeps_the_order_of_its_set(data):
    _, held_out = data.train_and_eval_sets()
    assert _labels(data.eval_loader()) == [int(label) for _, label in held_out]


def test_calibration_takes_200_training_digits(data):
    train, _ = data.train_and_eval_sets()
    calibration = data.calibration_loader()
    assert _pixels(calibration.dataset) == _pixels(train)[:200]
    assert set(_labels(calibration)) == set(range(10))


def test_cifar10_is_used_when_the_environment_names_its_folder(data, cifar10):
    assert data.dataset_name() == "cifar10"
    train, held_out = data.train_and_eval_sets()
    assert (len(train), len(held_out)) == (5 * IMAGES_PER_FILE, IMAGES_PER_FILE)
    batch = pickle.loads((cifar10 / "test_batch").read_bytes())
    assert _labels(data.eval_loader()) == batch["labels"]


def test_cifar10_has_the_shape_of_the_digits_and_each_channel_normalised(data, cifar10):
    images, labels = next(iter(data.eval_loader(batch_size=IMAGES_PER_FILE)))
    assert images.dtype == torch.float32
    assert images.shape == (IMAGES_PER_FILE, 3, 32, 32)
    assert labels.dtype == torch.int64

    batch = pickle.loads((cifar10 / "test_batch").read_bytes())
    bytes_ = batch["data"].reshape(IMAGES_PER_FILE, 3, 32, 32).astype(np.float64)
    mean = np.reshape([0.4914, 0.4822, 0.4465], (3, 1, 1))
    std = np.reshape([0.2470, 0.2435, 0.2616], (3, 1, 1))
    np.testing.assert_allclose(images.numpy(), (bytes_ / 255 - mean) / std, atol=1e-5)


def test_cifar10_calibration_takes_training_images_only(data, cifar10):
    train, held_out = map(_pixels, data.train_and_eval_sets())
    calibration = _pixels(data.calibration_loader().dataset)
    assert set(calibration) <= set(train)
    assert set(calibration).isdisjoint(held_out)


def test_a_missing_cifar10_folder_says_what_to_do(data, monkeypatch, tmp_path):
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=r"CIFAR10_ROOT is '.*nowhere'.*'cifar-10-batches-py'.*unpack"
    ):
        data.eval_loader()


def test_damaged_cifar10_files_are_refused(data, cifar10):
    (cifar10 / "test_batch").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="corrupted"):
        data.eval_loader()


def test_an_empty_cifar10_root_means_the_digits(data, monkeypatch):
    monkeypatch.setenv("CIFAR10_ROOT", "")
    assert data.dataset_name() == "digits"
    assert len(data.eval_loader().dataset) == 540


def _pixels(dataset) -> list[bytes]:
    return [image.numpy().tobytes() for image, _ in dataset]


def _class_counts(dataset) -> Counter[int]:
    return Counter(int(label) for _, label in dataset)


def _labels(loader) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]
