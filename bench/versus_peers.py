"""lowp, ONNX Runtime and OpenVINO on the same models and inputs, in one process, in turns.

    bench/setup.sh                                                  # once: build/bench-venv
    build/bench-venv/bin/python bench/versus_peers.py               # everything; about an hour
    build/bench-venv/bin/python bench/versus_peers.py --models minilm,ncf --threads 1 --batches 1

Prints a table for each model, batch and number of threads: median and minimum of a call from Python, how many times
as fast as the fastest FP32 and INT8 peer (ratios of medians; the 95% interval is of the latter for INT8 rows), the
fraction of the arithmetic limit, which build/bench/peak measures in the same run, and from processes of their own load
time, first run and peak memory. --json, --markdown and --plot write files. Finished cells are kept in --json as they
come: Ctrl-C loses one cell, and --resume goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from compare import engines, measure, table
from compare.models import MODELS, Feed, Model

import lowp

_ROOT = Path(__file__).resolve().parents[1]


def report(line: str) -> None:
    """Progress, beside the results."""
    print(line, file=sys.stderr, flush=True)


def peaks(threads: int) -> dict[str, Any]:
    """GMAC/s of each format on 1 to `threads` threads, measured now."""
    program = _ROOT / "build" / "bench" / "peak"
    return dict(json.loads(subprocess.run([program, str(threads)], capture_output=True, text=True, check=True).stdout))


def count_macs(model: Model, feed: Feed) -> float:
    """Multiply-accumulates of one call, as lowp's profiler counts them."""
    engine = lowp.compile(lowp.load(model.write()), precision="fp32", threads=1, tune=False, progress=False)
    return float(sum(step.macs for step in engine.profile(feed, runs=1)))


def in_own_process(contender: engines.Contender, path: Path, threads: int, feed: Path) -> dict[str, float]:
    """Load time, first run and memory."""
    source = engines.child_program(contender, path, threads, feed)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return engines.read_child(done.stdout)


def cell(
    model: Model, batch: int, threads: int, limits: dict[str, Any], options: argparse.Namespace
) -> list[table.Row]:
    """All rows of one model at one batch and number of threads."""
    feed = model.feed(batch, np.random.default_rng(0))
    rows: list[table.Row] = []
    runs: dict[str, engines.Run] = {}
    files = {}
    for contender in engines.contenders(model, options.precisions, "bf16" in limits):
        row: table.Row = {
            "model": model.name,
            "title": model.title,
            "batch": batch,
            "threads": threads,
            "engine": contender.name,
            "precision": contender.precision,
        }
        rows.append(row)
        report(f"  preparing {contender.name}")
        try:
            path = engines.prepare(contender, model, options.work, threads, feed)
            run = engines.open_engine(contender.engine, contender.precision, path, threads)
            run(feed)
        except KeyboardInterrupt:
            raise
        except Exception as e:  # a peer that cannot run a model is a result, not an accident
            row["error"] = " ".join(str(e).split())[:160]
            continue
        runs[contender.name] = run
        files[contender.name] = (contender, path)
    report(f"  timing {options.rounds} rounds")
    times = measure.calmest(runs, feed, options.rounds, options.attempts, report)
    macs = count_macs(model, feed)
    feed_file = options.work / "feed.npz"
    np.savez(feed_file, **feed)
    good = [r for r in rows if "error" not in r]
    disturbance = measure.disturbance(times)
    for r in good:
        own = times[r["engine"]]
        r["median_ms"], r["min_ms"], r["times_ms"] = statistics.median(own), min(own), own
        limit = limits.get(r["precision"], limits["fp32"])["gmacs"][str(threads)]  # BF16 storage computes in FP32
        r["disturbance"] = disturbance
        r["of_limit"] = macs / (r["median_ms"] * 1e-3) / (limit * 1e9)
        contender, path = files[r["engine"]]
        r["file_mib"] = path.stat().st_size / 2**20
        if not options.no_memory:
            r.update(in_own_process(contender, path, threads, feed_file))
    table.add_ratios(good)
    for r in good:
        precision = "int8" if r["precision"] == "int8" and "versus_int8" in r else "fp32"
        peers = [p for p in good if p["precision"] == precision and not p["engine"].startswith("lowp")]
        if peers and r["engine"].startswith("lowp"):
            base = min(peers, key=lambda p: p["median_ms"])
            low, high = measure.paired_interval(times[base["engine"]], times[r["engine"]])
            r["interval"] = f"{low:.2f}-{high:.2f}"
    return rows


def environment(limits: dict[str, Any]) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": limits["cpu"],
        "processors": os.cpu_count(),
        "load_average": os.getloadavg(),
        "kernel": platform.release(),
        "versions": {name: engines.version(name) for name in ("lowp", "onnxruntime", "openvino", "nncf")},
        "limits": limits,
    }


def numbers(value: str) -> list[int]:
    """ "1,8" as a list."""
    return [int(v) for v in value.split(",")]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS))
    parser.add_argument("--batches", type=numbers, default=[1, 8])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--precisions", type=lambda v: v.split(","), default=["fp32", "bf16", "int8"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--work", type=Path, default=_ROOT / "build" / "bench-work", help="quantized models are kept here"
    )
    parser.add_argument("--json", type=Path, help="results as JSON, written after every cell")
    parser.add_argument("--resume", action="store_true", help="leave out what --json has, undisturbed, already")
    parser.add_argument("--attempts", type=int, default=3, help="at most, at a cell that other work disturbs")
    parser.add_argument("--markdown", type=Path, help="a summary as a Markdown table")
    parser.add_argument("--plot", type=Path, help="a picture, .png or .svg")
    parser.add_argument("--no-memory", action="store_true", help="no load times and memory: quicker")
    options = parser.parse_args()
    if options.attempts < 1:
        parser.error(f"--attempts is {options.attempts}, 1 or more is wanted")
    unknown = [name for name in options.models.split(",") if name not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}; there are {', '.join(MODELS)}")
    options.work.mkdir(parents=True, exist_ok=True)
    rows: list[table.Row] = []
    if options.resume and options.json and options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    limits = peaks(max(options.threads))
    about = environment(limits)
    summary = ", ".join(f"{k} {v['gmacs']}" for k, v in limits.items() if k != "cpu")
    print(f"{about['cpu']}, {about['date']}, {about['versions']}\nlimit in GMAC/s by threads: {summary}\n")
    try:
        for name in options.models.split(","):
            for batch in options.batches:
                for threads in options.threads:
                    key = (name, batch, threads)
                    old = [r for r in rows if (r["model"], r["batch"], r["threads"]) == key]
                    before = max((r.get("disturbance", 0.0) for r in old), default=0.0)
                    if old and before < measure.DISTURBED:
                        continue
                    report(f"{name}, batch {batch}, {threads} threads")
                    new = cell(MODELS[name], batch, threads, limits, options)
                    if old and before <= max(r.get("disturbance", 0.0) for r in new):
                        continue
                    rows = [r for r in rows if r not in old] + new
                    print(table.text(new), flush=True)
                    if options.json:
                        part = options.json.with_suffix(".part")
                        part.write_text(json.dumps({"environment": about, "rows": rows}, indent=1))
                        part.replace(options.json)
    except KeyboardInterrupt:
        report("stopped; --resume goes on from the last cell" if options.json else "stopped")
    if options.markdown:
        options.markdown.write_text(table.markdown(rows) + "\n")
    if options.plot and rows:
        table.plot(rows, options.plot)


if __name__ == "__main__":
    main()
