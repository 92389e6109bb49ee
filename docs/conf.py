"""How Sphinx builds this site: ``sphinx-build -W -n -b html docs build/docs``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pytest-quant"
author = "the pytest-quant developers"
copyright = author
version = release = version_of("pytest-quant")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes_action = "De"  # dashes and ellipses; quotes stay as they are typed

html_theme = "furo"
html_title = f"pytest-quant {version}"
html_theme_options = {
    "source_repository": "https://github.com/pytest-quant/pytest-quant",
    "source_branch": "main",
    "source_directory": "docs/",
}

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Types of other projects, whose inventories a build without a network cannot read.
nitpick_ignore_regex = [
    ("py:.*", r"(collections\.abc|contextlib|numpy|pathlib|torch|_?pytest|typing)\..*"),
    ("py:class", r"Callable|Hashable|Mapping|Path"),
]
# What a user hands on and never makes.
nitpick_ignore = [
    ("py:class", "pytest_quant.machine.cell.Cell"),
    ("py:class", "Cell"),
    ("py:class", "Progress"),
    ("py:class", "pytest_quant.store.cache.cache.Cache"),
    ("py:class", "pytest_quant.store.spread.spread.Spread"),
]
