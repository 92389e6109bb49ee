"""A run leaves the user's model, PyTorch's settings and every random state as they were."""

from toyrepo import CONFTEST

LOADERS = """

class Rows(torch.utils.data.Dataset):
    def __init__(self, seed):
        self.pairs = [(x, y) for xs, ys in batches(seed) for x, y in zip(xs, ys)]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


GENERATOR = torch.Generator().manual_seed(5)


@pytest.fixture(scope="session")
def quant_train_data():
    return torch.utils.data.DataLoader(Rows(2), batch_size=16, shuffle=True, generator=GENERATOR)


@pytest.fixture(scope="session")
def quant_eval_data():
    return torch.utils.data.DataLoader(Rows(1), batch_size=16, shuffle=True)
"""

TEST = """
import random
import warnings
import numpy
import torch
from conftest import GENERATOR
from pytest_quant import assert_gates


def state(model):
    return {
        "weights": [tensor.clone() for tensor in model.state_dict().values()],
        "training": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "class": [type(module) for module in model.modules()],
        "engine": torch.backends.quantized.engine,
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state(),
        "numpy": numpy.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "loader": GENERATOR.get_state(),
        "grad_mode": torch.is_grad_enabled(),
        "fast_path": torch.backends.mha.get_fastpath_enabled(),
        "filters": list(warnings.filters),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


def test_all(request, quant_model):
    torch.set_num_threads(1)
    quant_model.train()
    before = state(quant_model)
    for kind in ("dynamic", "static", "qat"):
        variant = request.getfixturevalue(f"quant_{kind}")
        variant(torch.ones(2, 8))
        assert_gates(
            variant, max_accuracy_drop=0.5, max_size_ratio=0.9, min_int8_share=0.1, min_speedup=1e-6
        )
    after = state(quant_model)
    assert [key for key in before if not same(before[key], after[key])] == []
"""


def test_nothing_is_left_behind(pytester):
    pytester.makeconftest(CONFTEST + LOADERS)
    pytester.makepyfile(test_state=TEST)
    pytester.runpytest("--quant", "--quant-threads=2").assert_outcomes(passed=1)


def test_seeded_builds_give_the_same_bits_with_a_loader_that_shuffles(pytester):
    pytester.makeconftest(CONFTEST + LOADERS.replace(", generator=GENERATOR", ""))
    pytester.makepyfile(
        """
        import pathlib
        import torch

        def test_bits(quant_qat, quant_static):
            bits = [v(torch.ones(2, 8)).tolist() for v in (quant_qat, quant_static)]
            torch.rand(7)
            with pathlib.Path("bits.txt").open("a") as file:
                file.write(repr(bits) + chr(10))
        """
    )
    for seed in (1, 2):
        pytester.makepyfile(seeding=f"import torch; torch.manual_seed({seed})")
        pytester.syspathinsert()
        pytester.runpytest("--quant", "-p", "seeding").assert_outcomes(passed=1)
    lines = (pytester.path / "bits.txt").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
