"""Namesakes: models of one name that only a digest of their values tells apart, and what to do."""

from collections.abc import Iterator

from pytest_quant.report.document import Report
from pytest_quant.variant.key import BY_VALUE, ModelKey


def remarks_on_namesakes(report: Report) -> Iterator[str]:
    """One line for each name that several models have, of which one is of a store of a test's own."""
    found: dict[tuple[str, str], list[ModelKey]] = {}
    for key in report.model_names():
        found.setdefault((key.where, key.model), []).append(key)
    for (_, name), keys in found.items():
        if len(keys) > 1 and any(key.model_ids.startswith(BY_VALUE) for key in keys):
            yield (
                f"{len(keys)} models are called {name}, and a digest of their values tells them apart, "
                "which the next checkpoint changes: give each a name, Subject(model, name='...')"
            )
