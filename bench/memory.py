"""What engines cost in memory: resident beyond the runtime itself, and shared between processes.

    build/bench-venv/bin/python bench/memory.py [--model resnet50] [--precision int8] [--json]

One process opens and runs the engine at batch 1; its resident memory (VmRSS) before opening and after running is
compared. Then two processes hold the engine open at once: the proportional set size (PSS) of the mapped file in each
shows that they share one copy, half of it each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from compare.models import MODELS, calibration

import lowp

# Prints one line of JSON once the engine has run, then waits for its standard input to end.
_CHILD = """
import json, sys
import numpy as np
import lowp
def resident():
    return [int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmRSS")][0]
feed = dict(np.load(sys.argv[2]))
idle = resident()
engine = lowp.open(sys.argv[1], threads=1)
for _ in range(3):
    engine.run(feed)
print(json.dumps({"idle_mib": idle, "running_mib": resident()}), flush=True)
sys.stdin.read()
"""


def mapped(pid: int, file: Path) -> dict[str, float]:
    """Rss and Pss in MiB of a file's mappings in a process."""
    sums = {"Rss": 0.0, "Pss": 0.0}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            inside = line.endswith(str(file))
        elif inside and first[:-1] in sums:
            sums[first[:-1]] += int(line.split()[1]) / 1024
    return sums


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50", choices=list(MODELS))
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = MODELS[options.model]
    with tempfile.TemporaryDirectory() as folder:
        file, feed = Path(folder) / "engine.lowp", Path(folder) / "feed.npz"
        samples = calibration(model) if options.precision == "int8" else None
        lowp.compile(
            lowp.load(model.write()), precision=options.precision, calibration=samples, threads=1, progress=False
        ).save(file)
        np.savez(feed, **model.feed(1, np.random.default_rng(0)))

        def start() -> tuple[subprocess.Popen[str], dict[str, float]]:
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(file), str(feed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            return child, json.loads(child.stdout.readline())

        first, memory = start()
        alone = mapped(first.pid, file)
        second, _ = start()
        shared = mapped(first.pid, file)
        for child in (first, second):
            child.communicate()
    result = {
        "resident_beyond_runtime_mib": memory["running_mib"] - memory["idle_mib"],
        "mapped_rss_alone_mib": alone["Rss"],
        "mapped_pss_alone_mib": alone["Pss"],
        "mapped_pss_of_two_mib": shared["Pss"],
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{options.model} {options.precision}, batch 1, 1 thread")
    print(f"  resident beyond the runtime   {result['resident_beyond_runtime_mib']:7.1f} MiB")
    print(f"  engine file mapped, resident  {result['mapped_rss_alone_mib']:7.1f} MiB")
    print(f"  its PSS with one process      {result['mapped_pss_alone_mib']:7.1f} MiB")
    print(f"  its PSS in each of two        {result['mapped_pss_of_two_mib']:7.1f} MiB")


if __name__ == "__main__":
    main()
