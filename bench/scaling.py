"""How lowp's time grows with the work: batch, sequence length, threads.

    build/bench-venv/bin/python bench/scaling.py [--parts batch,length,threads] [--json]

batch: milliseconds a sample of ResNet-50 and BERT-base at batch 1 to 64. length: BERT-base from 32 to 512 tokens,
against its multiply-accumulates. threads: two threads against one. Points of one series are timed in turns, the median
of rounds counts, and ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from compare import measure
from compare.models import MODELS, Feed, calibration

import lowp


def compiled(name: str, precision: str, threads: int) -> lowp.Engine:
    """One of the models."""
    model = MODELS[name]
    samples = calibration(model) if precision == "int8" else None
    return lowp.compile(
        lowp.load(model.write()), precision=precision, calibration=samples, threads=threads, progress=False
    )


def tokens(length: int) -> Feed:
    """An input of BERT-base."""
    ids = np.random.default_rng(0).integers(0, 30_000, (1, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def timed(series: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, timed in turns."""
    runs = {key: (lambda _, run=run: run()) for key, run in series.items()}
    return {key: statistics.median(ms) for key, ms in measure.take_turns(runs, {}, rounds).items()}


def batch_series(name: str, precision: str, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a sample."""
    engine = compiled(name, precision, 1)
    feeds = {b: MODELS[name].feed(b, np.random.default_rng(0)) for b in (1, 8, 16, 32, 64)}
    ms = timed({str(b): (lambda feed=feed: engine.run(feed)) for b, feed in feeds.items()}, rounds)
    per = {b: ms[str(b)] / b for b in feeds}
    return [
        {"series": f"{name} {precision}", "batch": b, "ms_a_sample": v, "of_batch_8": v / per[8]}
        for b, v in per.items()
    ]


def length_series(precision: str, rounds: int) -> list[dict[str, Any]]:
    """Time and multiply-accumulates relative to 128 tokens."""
    engine = compiled("bert_base", precision, 1)
    feeds = {s: tokens(s) for s in (32, 64, 128, 256, 512)}
    macs = {s: sum(step.macs for step in engine.profile(feed, runs=1)) for s, feed in feeds.items()}
    ms = timed({str(s): (lambda feed=feed: engine.run(feed)) for s, feed in feeds.items()}, rounds)
    return [
        {
            "series": f"bert_base {precision}",
            "tokens": s,
            "ms": ms[str(s)],
            "gmacs": macs[s] / ms[str(s)] / 1e6,
            "time_over_work": ms[str(s)] / ms["128"] / (macs[s] / macs[128]),
        }
        for s in feeds
    ]


def thread_series(name: str, precision: str, rounds: int) -> list[dict[str, Any]]:
    """Two threads against one."""
    feed = MODELS[name].feed(1, np.random.default_rng(0))
    engines = {str(t): compiled(name, precision, t) for t in (1, 2)}
    ms = timed({t: (lambda e=e: e.run(feed)) for t, e in engines.items()}, rounds)
    return [{"series": f"{name} {precision}", "ms_1": ms["1"], "ms_2": ms["2"], "speed_up": ms["1"] / ms["2"]}]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="batch,length,threads")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for precision in options.precisions.split(","):
        if "batch" in options.parts:
            rows += [r for name in ("resnet50", "bert_base") for r in batch_series(name, precision, options.rounds)]
        if "length" in options.parts:
            rows += length_series(precision, options.rounds)
        if "threads" in options.parts:
            rows += [r for name in ("resnet50", "bert_base") for r in thread_series(name, precision, options.rounds)]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for r in rows:
        print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in r.items()))


if __name__ == "__main__":
    main()
