"""What the plugin adds to the start of every pytest run that does not use it.

    python benchmarks/startup.py [--pairs 30]

Times `pytest --collect-only` of an empty suite with the plugin installed and with it blocked
(`-p no:quant`), turn by turn, each in a process of its own. Prints both medians, the median of the
differences and of the ratios.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time


def seconds(folder: str, *arguments: str) -> float:
    """Wall time of one collection."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    start = time.perf_counter()
    subprocess.run([*command, *arguments], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        for arguments in ((), ("-p", "no:quant")):
            seconds(folder, *arguments)  # compiles and warms the file cache
        timed = []
        for index in range(pairs):
            order = [(), ("-p", "no:quant")]
            turns = {
                arguments: seconds(folder, *arguments)
                for arguments in (order if index % 2 else order[::-1])
            }
            timed.append((turns[()], turns[("-p", "no:quant")]))
    with_plugin, without = ([pair[side] for pair in timed] for side in (0, 1))
    print(f"pairs                 {pairs}")
    print(f"with the plugin       {1e3 * statistics.median(with_plugin):.1f} ms (median)")
    print(f"without               {1e3 * statistics.median(without):.1f} ms (median)")
    print(
        f"added                 {1e3 * statistics.median(a - b for a, b in timed):.1f} ms (median of pairs)"
    )
    print(
        f"ratio                 {statistics.median(a / b for a, b in timed):.3f} (median of pairs)"
    )


if __name__ == "__main__":
    main()
