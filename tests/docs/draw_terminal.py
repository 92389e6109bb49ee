"""Draw what the first tutorial prints, as README shows it: python tests/docs/draw_terminal.py.

It runs the files of docs/tutorial/first_gate.md at 100 columns, in colour, and writes what is printed as
an SVG. The run is a real one: its figures are those of this machine.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import ROOT, files_of
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

WIDTH = 100
PATH = ROOT / "docs" / "_static" / "terminal.svg"
FONT = re.compile(r"@font-face \{.*?\}\n?", re.DOTALL)  # which would be fetched from elsewhere
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "models")
        folder.mkdir()
        for module, text in files_of(ROOT / "docs/tutorial/first_gate.md").items():
            folder.joinpath(f"{module}.py").write_text(text, encoding="utf-8")
        ours = ["-p", "quant", "-p", "no:cacheprovider"]  # and none that happens to be installed
        command = [sys.executable, "-m", "pytest", "--quant", "--color=yes", *ours, "test_quant.py"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True,
            env={**os.environ, "COLUMNS": str(WIDTH), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )  # fmt: skip
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    printed = re.sub(r"(?m)^(rootdir: ).*/", r"\1~/", done.stdout.rstrip())
    console.print(Text.from_ansi(printed), soft_wrap=True)
    drawn = console.export_svg(title="pytest --quant", theme=MONOKAI, unique_id="terminal")
    PATH.write_text(COMMENT.sub("", FONT.sub("", drawn)), encoding="utf-8")
    print(f"drawn: {PATH.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
