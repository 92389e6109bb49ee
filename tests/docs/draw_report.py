"""Draw the pictures of the report page that README and docs show: python tests/docs/draw_report.py.

It takes reports/report.html as it is, in light and in dark colours, by a headless Chromium.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))

from browser import Browser  # noqa: E402

WIDTH, HEIGHT = 1000, 820


def main():
    page = ROOT / "reports" / "report.html"
    with tempfile.TemporaryDirectory() as profile, Browser(profile) as browser:
        for scheme in ("light", "dark"):
            path = ROOT / "docs" / "_static" / f"report-{scheme}.png"
            path.parent.mkdir(exist_ok=True)
            browser.look(WIDTH, HEIGHT, scheme=scheme)
            browser.open(page.as_uri())
            browser.screenshot(path, whole=False)
            print(f"drawn: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
