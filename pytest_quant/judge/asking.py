"""Asking: how a test asks for a variant, so that a remedy can be told in the words of that test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asking:
    """How a test asks for a variant.

    Args:
        fixture: that it uses: ``quant_static``, ``quant_variant``.
        name: by which the hook `pytest_quant_recipes` can say what the variant is; None where the test
            states a Recipe itself.
        file: the nearest conftest.py, relative to rootdir.
        has_hook: whether that file has a function ``pytest_quant_recipes`` already.
        test_file: the test's own file, relative to rootdir.
    """

    fixture: str
    name: str | None
    file: str
    has_hook: bool
    test_file: str
