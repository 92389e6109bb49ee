"""Zoo: many architectures through the package, and the page that says how they fared.

    python tests/zoo.py                     # builds all of them, and writes reports/zoo.md
    python tests/zoo.py --jobs 2 --keep F   # two at a time; F keeps what is done, for another run
    python tests/zoo.py --show bert swin_t  # these alone, as lines, and no page

The architectures are real, their weights random: this is a test of what can be built and how much
of it becomes int8, not of accuracy. torchvision's need nothing but what the tests need; those of timm
and transformers need the extra `zoo`. Each model has a process of its own.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate
from zoo_models import ALL, why_not

from pytest_quant.machine.cpu import cpu_name

PAGE = Path(__file__).parents[1] / "reports" / "zoo.md"
KINDS = ("static", "dynamic", "qat")
SECONDS = 1800.0  # after which a model is given up
HEADS = (
    "model",
    "flow",
    "SQNR dB",
    "between samples",
    "int8 parameters",
    "int8 macs",
    "MB",
    "s",
    "dynamic SQNR dB",
    "int8",
    "s",
    "QAT flow",
    "SQNR dB",
    "int8",
    "s",
)

Plain = dict[str, Any]  # what `Fared` is as JSON, or {"error": why}


def fared_apart(name: str, kept: Path | None) -> Plain:
    """What became of a model, in a process of its own, or in the file of an earlier run."""
    if (why := why_not(name)) is not None:
        return {"error": why}
    if kept is not None and kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            known = json.loads(line)
            if known["name"] == name:
                return known["fared"]
    command = [sys.executable, str(Path(__file__).resolve()), "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        fared = json.loads(lines[-1]) if lines else {"error": f"code {done.returncode}: {said}"}
    except subprocess.TimeoutExpired:
        fared = {"error": f"no answer within {SECONDS:.0f} s"}
    if kept is not None:
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "fared": fared}) + "\n")
    return fared


def one(name: str) -> str:
    """What became of a model, as a line of JSON."""
    from dataclasses import asdict

    from zoo_models.fared import fared

    found = fared(ALL[name], KINDS)
    return json.dumps({**asdict(found), "failed": found.failed})


def row(name: str, fared: Plain) -> tuple[object, ...]:
    """A model's row of the page; of what there is not, the cells are empty."""
    made = fared.get("made", {})
    static, dynamic, qat = (made.get(kind) for kind in KINDS)
    static, dynamic, qat = (x if isinstance(x, dict) else {} for x in (static, dynamic, qat))
    mb = f"{fared['fp32_mb']:.2f} → {static['mb']:.2f}" if static else ""
    return (
        name,
        static.get("flow"),
        figure(static.get("sqnr")),
        figure(static.get("sqnr_between")),
        percent(static.get("parameters")),
        percent(static.get("macs")),
        mb,
        seconds(static.get("seconds")),
        figure(dynamic.get("sqnr")),
        percent(dynamic.get("parameters")),
        seconds(dynamic.get("seconds")),
        qat.get("flow"),
        figure(qat.get("sqnr")),
        percent(qat.get("parameters")),
        seconds(qat.get("seconds")),
    )


def figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def failures(found: dict[str, Plain]) -> list[str]:
    """Each variant that there is not, though there should be one, with its reason."""
    lines = [f"{name}: {plain['error']}" for name, plain in found.items() if "error" in plain]
    lines += [
        f"{name}, {kind}: {why}"
        for name, plain in found.items()
        for kind, why in plain.get("failed", {}).items()
    ]
    return lines


def notes(found: dict[str, Plain]) -> list[str]:
    """What the variants say of flows that were refused or weighed."""
    return [
        f"{name}, {kind}: {'; '.join(figures['notes'])}"
        for name, plain in found.items()
        for kind, figures in plain.get("made", {}).items()
        if isinstance(figures, dict) and figures["notes"]
    ]


def page(found: dict[str, Plain]) -> str:
    """The page, in Markdown."""
    from zoo_models.fared import SAMPLES

    align = ("left", "left", *["right"] * 9, "left", *["right"] * 3)
    rows = [row(name, plain) for name, plain in found.items()]
    table = tabulate(rows, HEADS, tablefmt="pipe", colalign=align, disable_numparse=True)
    libraries = ("torch", "torchao", *dict.fromkeys(entry.library for entry in ALL.values()))
    versions = ", ".join(f"{name} {version(name)}" for name in libraries if not _is_gone(name))
    failed, told = failures(found), notes(found)
    return f"""# {len(found)} architectures in int8

Written by `python tests/zoo.py`, which builds the static, dynamic and QAT variant of each with
`flow="auto"`.
{versions}, 1 thread, {cpu_name()}.

The weights are random, the inputs made up ({SAMPLES} samples calibrate or train, {SAMPLES} others are
compared): this shows what can be built and how much of it becomes int8. The signal to quantization noise
ratio (SQNR) of the outputs says that the int8 model computes what FP32 does; it says nothing of accuracy,
nor of what trained weights would give. *Between samples* is the SQNR of what differs from sample to
sample, without the mean. QAT's is that of the int8 model against the model that was trained, which takes
two small steps. *int8* is the share of the parameters, and *macs* that of the multiply-adds. Where nothing
else is said, a column is about the static variant. Where a dynamic variant has no figures, the model has
nothing that dynamic quantization takes. Seconds (*s*) are of a shared machine and say what is long.

Models named *(tiny)* are transformers' architectures with two layers of width 64.

{table}

## Failures

{listed(failed)}

## Notes

{listed(told)}
"""


def listed(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "None."


def _is_gone(library: str) -> bool:
    from zoo_models import MISSING

    return library in MISSING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1, help="models at once")
    parser.add_argument("--keep", type=Path, help="a file of what is done")
    parser.add_argument("--show", nargs="+", choices=ALL, metavar="NAME")
    parser.add_argument("--one", choices=ALL, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(one(options.one))
        return
    names = options.show or list(ALL)

    def told(name: str) -> Plain:
        fared = fared_apart(name, options.keep)
        failed = "; ".join(failures({name: fared}))
        print(*row(name, fared), failed, sep=" | ", flush=True)
        return fared

    with ThreadPoolExecutor(options.jobs) as pool:
        found = dict(zip(names, pool.map(told, names), strict=True))
    if not options.show:
        PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
