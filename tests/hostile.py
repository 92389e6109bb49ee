"""Names and values that somebody may bring, in a report of everything."""

from builders import (
    explanation_cells,
    latency_cells,
    layer_cells,
    metric_cells,
    plain_row,
    plain_test,
    plain_verdict,
    remedy_cells,
    slowness_cells,
    tensors_cells,
    work_cells,
)

from pytest_quant.report.document import Report

HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style></svg></table><img src=x onerror=alert(1)>",
    "a|b|c",
    "one\ntwo\r\n\n# three",
    "`code` *bold* _it_ [x](http://example.invalid) ~~no~~",
    "$x^2$ \\frac{1} $",
    "=HYPERLINK(\"http://example.invalid\")",
    "+1", "-1", "@sum",
    "emoji 🐘👩‍🔬 العربية 漢字",
    "\x1b[31mred\x07 \x00\u202egnp.exe",
    "surrogate \ud800",
    "\"quoted\" 'single' & &amp; {{ 7 * 7 }} {% raw %}",
    "%0% %1%", "#010101", 'id="x" url(#x)',
    "long " * 2000,
    " ",
    "",
)  # fmt: skip
NUMBERS = (float("nan"), float("inf"), float("-inf"), None, 0, -0.0, 1e308, -1e308, 5e-324)


def hostile_report(names=HOSTILE, numbers=NUMBERS):
    """A report in which every text is one of these and every number one of those."""
    report = Report({"torch": names[0], "cpu": names[1], "vnni": True, "threads": 2})
    rows = []
    for index, name in enumerate(names):
        number, other = numbers[index % len(numbers)], numbers[(index + 1) % len(numbers)]
        metric = metric_cells(
            name, number, drop=other, flips=index,
            unit=("fraction", "raw", "perplexity")[index % 3],
            classes=[{"label": k - 1, "samples": 1, "value": number, "drop": other} for k in range(3)],
        )  # fmt: skip
        timed = latency_cells(2.0) | {
            "ms": number,
            "speedup": other,
            "interval_95": [number, other],
        }
        known = {
            "metrics": [metric], "latency": timed, "notes": [name], "error": name or None,
            "recipe": {"kind": name, "observer": name, "keep_fp32": [name], "lr": 1e-4},
            "seconds": {name: number}, "fp32_size": 10**6,
            "size": {"tensor_bytes": 10**6, "file_bytes": None},
            "int8_share": {"parameters": number, "macs": None, "stayed_fp32": [name]},
            "explanation": explanation_cells(
                *[layer_cells(name, number, other, (name,), type=name)] * (1 + 30 * (index % 2)),
                sentences=[name, name], notes=[name], sqnr={"whole": number, name: other},
            ),
            "remedy": remedy_cells(
                bool(index % 2), trials=[name], sentences=[name], seconds=number, drop=other,
                **({"line": name} if index % 2 else {}),
            ),
            "slowness": slowness_cells(
                sentences=[name], notes=[name], ms=number, conversions=other, conversion_share=number,
                stretches=[{"after": [name], "operations": [name], "before": [name]}],
                stayed=[{"name": name, "type": name, "macs": 0.5}],
            ),
            "tensors": tensors_cells(
                sentences=[name], notes=[name], least_ratio=number,
                held=[{"layer": name, "type": name, "dtype": name, "bytes": 7, "weight_bytes": 0}],
            ),
            "work": work_cells(),
        }  # fmt: skip
        rows += [plain_row(name, "fp32", **known), plain_row(name, name, **known)]
        verdict = plain_verdict(
            rows[-1], ("PASS", "FAIL", "INCONCLUSIVE")[index % 3], name, limit=number, observed=other,
            sentence=f"{name} FAIL: {name}", metric=name, test=name,
            gate=("max_size_ratio", "min_speedup", "max_accuracy_drop", name)[index % 4],
            evidence={"samples": index, "method": name, "interval_95": [number, other]},
        )  # fmt: skip
        report.add({"verdicts": [verdict]})
        report.add_test(plain_test(rows[-1], "error", name, nodeid=name))
    report.add({"rows": rows})
    report.notes = list(names)
    return report
