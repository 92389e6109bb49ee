"""How often the comparison of calibration with eval inputs is wrong, and which faults it finds.

    python -m benchmarks.shift > benchmarks/logs/shift.txt

Sets are resamples of real data that needs no download: scikit-learn's digits and crops of its two
photographs, the docstrings of Python's standard library as word ids, and scikit-learn's tables. False
alarms: two sets of 200 of one distribution, once as they are and once with one of them augmented as for
training. Detection: one of two such sets has a fault planted.
"""

import pkgutil
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch

from pytest_quant.subject.shift.drawn import drawn
from pytest_quant.subject.shift.likeness import likeness
from pytest_quant.subject.shift.shift import Shift, shift_between
from pytest_quant.subject.shift.traits import traits_of

SAMPLES = 200
EQUAL, PLANTED = 500, 20
SEED = 20261126
BATCH = 32

Set = Any  # [n, ...] tensor, or a list of texts' ids
Change = Callable[[Set, np.random.Generator], Set]


def digits() -> torch.Tensor:
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    return (images - images.mean()) / images.std()


MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def photographs() -> torch.Tensor:
    """4000 crops of 32 x 32, normalised as for ImageNet."""
    from sklearn.datasets import load_sample_images

    random, crops = np.random.default_rng(0), []
    photos = [torch.tensor(i).permute(2, 0, 1) / 255 for i in load_sample_images().images]
    for _ in range(4000):
        photo = photos[random.integers(2)]
        top, left = (int(random.integers(size - 32)) for size in photo.shape[1:])
        crops.append(photo[:, top : top + 32, left : left + 32])
    return (torch.stack(crops) - MEAN) / STD


def texts() -> list[Any]:
    """Docstrings as ids of words, by frequency, at most 64 of each."""
    words = []
    warnings.simplefilter("ignore", DeprecationWarning)  # of modules that will go
    for module in pkgutil.iter_modules():
        if module.name.startswith("_") or module.name not in sys.stdlib_module_names:
            continue
        if module.name in ("antigravity", "this", "idlelib"):
            continue
        try:
            members = vars(import_module(module.name)).values()
        except Exception:
            continue
        said = {m.__doc__ for m in members if isinstance(getattr(m, "__doc__", None), str)}
        words += [found for text in said if len(found := re.findall(r"\w+", text.lower())) > 5]
    counts = Counter(word for text in words for word in text)
    ids = {word: i + 4 for i, (word, _) in enumerate(counts.most_common(8000))}
    return [np.array([1, *(ids.get(w, 3) for w in text[:64]), 2]) for text in words]


def table(name: str) -> torch.Tensor:
    from sklearn import datasets

    x = torch.tensor(getattr(datasets, f"load_{name}")().data, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0)


def batches(of: Set) -> list[Any]:
    """As a loader gives them; texts are padded to the longest of their batch."""
    if isinstance(of, torch.Tensor):
        return [(part, None) for part in of.split(BATCH)]
    found = []
    for start in range(0, len(of), BATCH):
        part = of[start : start + BATCH]
        longest = max(map(len, part))
        ids = torch.tensor(np.stack([np.pad(text, (0, longest - len(text))) for text in part]))
        found.append(({"input_ids": ids, "attention_mask": (ids != 0).long()}, None))
    return found


def compared(tuned: Set, judged: Set) -> Shift | None:
    one, other = (traits_of(drawn(batches(each), "data"), SAMPLES) for each in (tuned, judged))
    return shift_between(one, other)


def sample(of: Set, random: np.random.Generator) -> Set:
    chosen = random.integers(len(of), size=SAMPLES)
    return of[chosen] if isinstance(of, torch.Tensor) else [of[i] for i in chosen]


def cropped(x: Set, random: np.random.Generator) -> Set:
    """Shifted by up to an eighth, flipped, brighter or darker by up to a fifth."""
    shift = x.shape[-1] // 8
    moves = random.integers(-shift, shift + 1, (len(x), 2)).tolist()
    x = torch.stack([each.roll(move, (1, 2)) for each, move in zip(x, moves, strict=True)])
    flips = torch.tensor(random.random(len(x)) < 0.5).view(-1, 1, 1, 1)
    light = torch.tensor(random.uniform(0.8, 1.2, len(x)), dtype=x.dtype).view(-1, 1, 1, 1)
    return torch.where(flips, x.flip(3), x) * light


def noisy(x: Set, random: np.random.Generator) -> Set:
    return x + 0.1 * torch.tensor(random.standard_normal(x.shape), dtype=x.dtype)


def shortened(of: Set, random: np.random.Generator) -> Set:
    """Texts in longer batches: as a loader that sorts by length pads them."""
    return sorted(of, key=len)


def _raw(x: torch.Tensor) -> torch.Tensor:
    return x * STD + MEAN if x.shape[1] == 3 else x * 0.376 + 0.305


def _normal(x: torch.Tensor) -> torch.Tensor:
    return (x - MEAN) / STD if x.shape[1] == 3 else (x - 0.305) / 0.376


def _bordered(x: torch.Tensor) -> torch.Tensor:
    edge = x.shape[-1] // 4
    made = torch.full_like(x, float(x.min()))
    made[..., edge:-edge, edge:-edge] = x[..., edge:-edge, edge:-edge]
    return made


def _permuted(of: Set, random: np.random.Generator) -> Set:
    ids = np.concatenate([np.arange(4), 4 + random.permutation(8000)])
    return [ids[text] for text in of]


IMAGES: dict[str, Change] = {
    "a tenth of the scale": lambda x, _: x * 0.1,
    "not normalised": lambda x, _: _raw(x),
    "normalised twice": lambda x, _: _normal(x),
    "0 to 255": lambda x, _: _raw(x) * 255,
    "channels reversed": lambda x, _: x.flip(1),
    "zeros": lambda x, _: x * 0,
    "a constant border": lambda x, _: _bordered(x),
}
WORDS: dict[str, Change] = {
    "another vocabulary": _permuted,
    "ids moved by 3": lambda of, _: [text + 3 for text in of],
    "bytes in place of words": lambda of, _: [text % 256 for text in of],
    "padding alone": lambda of, _: [text * 0 for text in of],
    "one vocabulary after the other": lambda of, _: [text + 30000 for text in of],
}
ROWS: dict[str, Change] = {
    "a tenth of the scale": lambda x, _: x * 0.1,
    "not standardised": lambda x, _: x * 3 + 7,
    "standardised twice": lambda x, _: (x - 7) / 3,
    "columns reversed, of other scales": lambda x, _: (x * torch.arange(1, x.shape[1] + 1)).flip(1),
    "zeros": lambda x, _: x * 0,
}
AS_IS: dict[str, Change] = {"as it is": lambda x, _: x}
AUGMENTED: dict[str, Change] = {**AS_IS, "cropped": cropped, "noisy": noisy}


def cases() -> Iterator[tuple[str, Set, dict[str, Change], dict[str, Change]]]:
    one = {name: change for name, change in IMAGES.items() if name != "channels reversed"}
    yield "digits", digits(), AUGMENTED, one
    yield "photographs", photographs(), AUGMENTED, IMAGES
    yield "texts", texts(), {**AS_IS, "sorted by length": shortened}, WORDS
    for name in ("diabetes", "breast_cancer", "wine"):
        yield f"table {name}", table(name), {**AS_IS, "noisy": noisy}, ROWS


def main() -> None:
    """Print both tables, as Markdown."""
    alarms, found = [], []
    slowest = 0.0
    for name, data, equal, faults in cases():
        for change, make in equal.items():
            random, wrong = np.random.default_rng(SEED), 0
            for _ in range(EQUAL):
                wrong += (
                    compared(make(sample(data, random), random), sample(data, random)) is not None
                )
            alarms.append(f"| {name} | {len(data):,} | {change} | {wrong} of {EQUAL} |")
        for fault, make in faults.items():
            random, said = np.random.default_rng(SEED), Counter[str]()
            for _ in range(PLANTED):
                start = time.perf_counter()
                shift = compared(make(sample(data, random), random), sample(data, random))
                slowest = max(slowest, time.perf_counter() - start)
                if shift is not None:
                    said[likeness(shift, "calibration inputs").rpartition(": ")[2]] += 1
            words = "; ".join(f"{each} ({count})" for each, count in said.most_common(2))
            found.append(f"| {name} | {fault} | {said.total()} of {PLANTED} | {words} |")
    print(f"Two sets of {SAMPLES} samples of one distribution, seed {SEED}\n")
    print("| data | drawn from | one of them | false alarms |\n|---|---|---|---|")
    print("\n".join(alarms))
    print("\nOne of the sets with a fault\n")
    print("| data | fault | found | the question of the sentence |\n|---|---|---|---|")
    print("\n".join(found))
    threads = torch.get_num_threads()
    print(f"\nThe slowest comparison, reading included: {slowest:.2f} s at {threads} threads")


if __name__ == "__main__":
    main()
