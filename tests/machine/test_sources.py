"""Sources: what of the environment chooses the code that runs."""

import pytest

from pytest_quant.machine.sources import Sources


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ONEDNN_MAX_CPU_ISA", True),
        ("NPY_DISABLE_CPU_FEATURES", True),
        ("OPENBLAS_CORETYPE", True),
        ("GLIBC_TUNABLES", True),
        ("LD_PRELOAD", True),
        ("TORCHINDUCTOR_CACHE_DIR", False),
        ("MY_OWN", False),
    ],
)
def test_settings_of_kernels_count(monkeypatch, name, counts):
    sources = Sources()
    before = sources.digest()
    monkeypatch.setenv(name, "other")
    assert (sources.digest() != before) is counts
