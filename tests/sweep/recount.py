"""Recount: bytes, bits and right answers by bare PyTorch, without this package.

Bytes and bits are read off the file that `torch.save` writes.
"""

import copy
import io
import pickle
import zipfile
from collections import Counter

import torch
from multiplied import plainly
from swept import called

NARROW = ("QInt8Storage", "QUInt8Storage", "CharStorage", "ByteStorage")


def storages(model, idle=()):
    """(kind, elements, bytes) of each storage that a model's tensors need, each once.

    Args:
        idle: names of submodules that are left out.
    """
    held, again = _held(_without(model, idle)), set()
    for name, child in model.named_modules(remove_duplicate=False):
        if id(child) in again:  # packed weights are unpacked anew under a second name
            held = {key: v for key, v in held.items() if not key.startswith(f"{name}.")}
        again.add(id(child))
    file = io.BytesIO()
    torch.save(held, file)
    archive = zipfile.ZipFile(file)
    sizes = {
        entry.filename.split("/data/")[1]: entry.file_size
        for entry in archive.infolist()
        if "/data/" in entry.filename
    }
    record = next(name for name in archive.namelist() if name.endswith("data.pkl"))
    reader = _Reader(io.BytesIO(archive.read(record)))
    reader.load()
    return [(kind, count, sizes[key]) for key, (kind, count) in reader.found.items()]


def size(model, idle=()):
    """Bytes."""
    return sum(each for _, _, each in storages(model, idle))


def file(model):
    """Bytes of the file with the state dict."""
    target = io.BytesIO()
    torch.save(model.state_dict(), target)
    return len(target.getvalue())


def int8_parameters(fp32, built, idle=()):
    """Share of FP32's parameters that the built model stores in 8 bits."""
    names = fp32.named_parameters(remove_duplicate=False)
    used = [p for n, p in names if not n.startswith(tuple(f"{root}." for root in idle))]
    users, unique = Counter(map(id, used)), {id(p): p for p in used}
    before = Counter(each[:2] for each in storages(fp32, idle))
    after = Counter(each[:2] for each in storages(built, idle))
    narrow = Counter()
    for (kind, elements), copies in (after - before).items():
        if kind in NARROW and elements > 1:
            narrow[elements] += copies
    alike = Counter(p.numel() for p in unique.values())
    for elements in {p.numel() for key, p in unique.items() if users[key] > 1}:
        # tied weights may have several copies, and are FP32 as long as there is one in FP32
        buffers = before["FloatStorage", elements] - alike[elements]
        in_float = max(0, after["FloatStorage", elements] - buffers)
        narrow[elements] = min(narrow[elements], max(0, alike[elements] - in_float))
    count = sum(elements * copies for elements, copies in narrow.items())
    return count / sum(p.numel() for p in unique.values())


def right(model, batches):
    """Share of samples, or of their elements, whose highest output is the target's."""
    hits = of = 0.0
    for given, targets in batches:
        with plainly():
            found = called(model, given).argmax(1) == targets
        hits += float(found.double().flatten(1).mean(1).sum() if found.ndim > 1 else found.sum())
        of += len(targets)
    return hits / of


def _held(model):
    """State dict, unsaved buffers and plain attributes."""
    held = dict(model.state_dict())
    for name, child in model.named_modules():
        for key, value in child._buffers.items():
            if key in child._non_persistent_buffers_set and value is not None:
                held[f"{name}.{key}"] = value
        held |= {f"{name}.{k}": v for k, v in vars(child).items() if isinstance(v, torch.Tensor)}
    return held


def _without(model, idle):
    if not idle:
        return model
    copied = copy.deepcopy(model)
    for name in idle:
        if hasattr(copied, name):
            delattr(copied, name)
    return copied


class _Reader(pickle.Unpickler):
    """Notes the storages that a pickle names, and makes nothing of all else."""

    def __init__(self, file):
        super().__init__(file)
        self.found = {}

    def persistent_load(self, saved):
        _, kind, key, _, count = saved
        self.found[key] = kind.__name__, count
        return None

    def find_class(self, module, name):
        if name.endswith("Storage"):
            return type(name, (), {})
        return _Anything


class _Anything(dict):
    """What a pickle makes of anything, and fills."""

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __init__(self, *_, **__):
        super().__init__()

    def __setstate__(self, state):
        pass
