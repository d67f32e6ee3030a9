"""Where the time of each model goes: every layer shape as a fraction of the arithmetic limit.

    build/bench-venv/bin/python bench/layers.py --models resnet50 --precisions int8
    build/bench-venv/bin/python bench/layers.py --families             # one line a kernel family and model

Layers are those of the compiled models, timed in place, so with the caches as the layers before leave them; layers of
one kernel and shape are one line. Sorted by lost time: what the layers take beyond their multiply-accumulates at the
limit, which build/bench/peak measures in the same run. Layers without products have their bytes a second instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compare.models import MODELS, Model, calibration

import lowp

_ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Line:
    """All layers of one kernel with the same multiply-accumulates and bytes."""

    family: str
    kernel: str
    macs: int
    bytes: int
    count: int
    microseconds: float
    node: str  # the first

    def lost(self, limit: float) -> float:
        """Microseconds beyond those at `limit` GMAC/s."""
        return self.microseconds - self.macs * self.count / limit / 1e3


def collect(steps: Sequence[Any]) -> list[Line]:
    """Steps of a profile by kernel and size."""
    lines: dict[tuple[str, int, int], Line] = {}
    for s in steps:
        kernel = s.kernel.split()[0]
        key = (kernel, s.macs, s.bytes)
        if key not in lines:
            lines[key] = Line(kernel.split(".")[0], kernel, s.macs, s.bytes, 0, 0.0, s.node)
        lines[key].count += 1
        lines[key].microseconds += s.microseconds
    return list(lines.values())


# Multiplications of a 3x3 convolution over those of F(2x2, 3x3), and of F(4x4, 3x3), which INT8 takes.
WINOGRAD = 2.25
WINOGRAD_INT8 = 4


def families(lines: Sequence[Line]) -> list[Line]:
    """Lines of one family and format added up."""
    sums: dict[str, Line] = {}
    for x in lines:
        if x.kernel not in sums:
            sums[x.kernel] = Line(x.family, x.kernel, 0, 0, 1, 0.0, "")
        sums[x.kernel].macs += x.macs * x.count
        sums[x.kernel].bytes += x.bytes * x.count
        sums[x.kernel].microseconds += x.microseconds
    return list(sums.values())


def limit_of(kernel: str, limits: dict[str, Any], threads: int) -> float:
    """GMAC/s of the format that a kernel computes in; of Winograd's those that it leaves out count as done."""
    kind = (
        "int8" if "u8s8" in kernel or "s8s8" in kernel else "bf16" if "bf16" in kernel and "bf16" in limits else "fp32"
    )
    saved = 1.0 if not kernel.startswith("winograd") else WINOGRAD_INT8 if kind == "int8" else WINOGRAD
    return float(limits[kind]["gmacs"][str(threads)]) * saved


def profile(model: Model, precision: str, batch: int, threads: int, runs: int, tries: int) -> list[Any]:
    """A profile whose steps each have their fastest average of several tries."""
    feed = model.feed(batch, np.random.default_rng(0))
    engine = lowp.compile(
        lowp.load(model.write()),
        precision=precision,
        calibration=calibration(model) if precision == "int8" else None,
        threads=threads,
        shapes={name: array.shape for name, array in feed.items()},
        progress=False,
    )
    profiles = [engine.profile(feed, runs=runs) for _ in range(tries)]
    return [min(same, key=lambda s: s.microseconds) for same in zip(*profiles, strict=True)]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS))
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tries", type=int, default=5, help="the fastest counts: other work only makes it slower")
    parser.add_argument("--families", action="store_true", help="one line a kernel family")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    program = [_ROOT / "build" / "bench" / "peak", str(options.threads)]
    limits = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    results = []
    for name in options.models.split(","):
        if name not in MODELS:
            parser.error(f"no model {name}; there are {', '.join(MODELS)}")
        for precision in options.precisions.split(","):
            print(f"{name} {precision}", file=sys.stderr, flush=True)
            steps = profile(MODELS[name], precision, options.batch, options.threads, options.runs, options.tries)
            lines = families(collect(steps)) if options.families else collect(steps)
            total = sum(x.microseconds for x in lines)
            for x in sorted(lines, key=lambda x: -x.lost(limit_of(x.kernel, limits, options.threads))):
                limit = limit_of(x.kernel, limits, options.threads)
                rate = x.macs * x.count / x.microseconds / 1e3 if x.microseconds else 0.0
                results.append(
                    {
                        "model": name,
                        "precision": precision,
                        "kernel": x.kernel,
                        "node": x.node,
                        "count": x.count,
                        "macs": x.macs,
                        "us": x.microseconds,
                        "share": x.microseconds / total,
                        "gmacs": rate,
                        "of_limit": rate / limit,
                        "gbytes": x.bytes * x.count / x.microseconds / 1e3 if x.microseconds else 0.0,
                        "lost_us": x.lost(limit),
                    }
                )
    if options.json:
        print(json.dumps({"limits": limits, "layers": results}, indent=1))
        return
    print(f"{limits['cpu']}, limits in GMAC/s {[(k, v['gmacs']) for k, v in limits.items() if k != 'cpu']}")
    last = ""
    for r in results:
        if (title := f"{r['model']} {r['precision']}") != last:
            heads = f"{'lost us':>9}{'us':>10}{'share':>7}{'limit':>7}{'GMAC/s':>8}{'GB/s':>7}{'MMAC':>9}   n  kernel"
            print(f"\n{title}\n  {heads}")
            last = title
        if r["share"] >= 0.002:
            print(
                f"  {r['lost_us']:9.0f}{r['us']:10.0f}{r['share']:7.1%}{r['of_limit']:7.0%}{r['gmacs']:8.1f}"
                f"{r['gbytes']:7.1f}{r['macs'] / 1e6:9.2f}{r['count']:4}  {r['kernel']}  {r['node']}"
            )


if __name__ == "__main__":
    main()
