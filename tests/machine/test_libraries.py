"""Libraries: what is installed, by its content, and what of all that is loaded is the user's own."""

import ctypes
import importlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_quant.machine.libraries import installed_versions, own_libraries, own_modules


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages, into which one is installed."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(folder))

    def install(digest, prefix="/venv"):
        info = folder / "mine-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "RECORD").write_text(
            f"mine/model.py,sha256={digest},10\nmine/__pycache__/model.pyc,,\n"
            f"../../../bin/mine,sha256={len(prefix)},3\nmine-1.0.dist-info/METADATA,sha256=a,1\n"
        )

    return install


def test_a_package_that_is_installed_again_under_its_version_counts_by_its_files(site):
    found = []
    for digest in ("one", "one", "two"):
        site(digest)
        found.append(installed_versions())
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_where_the_commands_of_a_package_lie_does_not_count(site):
    site("one")
    before = installed_versions()
    site("one", prefix="/elsewhere")
    assert installed_versions() == before


def test_a_module_in_an_archive_is_the_users_own(tmp_path, monkeypatch):
    path = tmp_path / "lib.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("of_an_archive.py", "VALUE = 1\n")
    monkeypatch.syspath_prepend(str(path))
    importlib.import_module("of_an_archive")
    try:
        assert ("of_an_archive", str(path)) in set(own_modules())
    finally:
        del sys.modules["of_an_archive"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is loaded")
def test_a_library_that_ctypes_loads_is_the_users_own(tmp_path):
    import _ctypes

    if not str(getattr(_ctypes, "__file__", "")).endswith(".so"):
        pytest.skip("no shared library at hand")
    path = tmp_path / "own.so"
    shutil.copy(_ctypes.__file__, path)
    assert str(path) not in dict(map(reversed, own_libraries()))
    kept = ctypes.CDLL(str(path))
    assert (path.name, str(path)) in set(own_libraries())
    assert kept._name == str(path)
