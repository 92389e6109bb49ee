"""Zoo models: what the zoo holds, by library; those of a library that is not installed are left out."""

from importlib.util import find_spec

from zoo_models import classifiers, configured, from_timm
from zoo_models.entry import Entry

OPTIONAL = {"timm": from_timm, "transformers": configured}  # the extra `zoo` has both

ALL: dict[str, Entry] = {
    entry.name: entry for entry in (*classifiers.ENTRIES, *from_timm.ENTRIES, *configured.ENTRIES)
}
MISSING = tuple(library for library in OPTIONAL if find_spec(library) is None)


def why_not(name: str) -> str | None:
    """Why a model cannot be made here; None where it can."""
    library = ALL[name].library
    return f"{library} is not installed (the extra zoo has it)" if library in MISSING else None
