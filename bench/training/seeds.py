"""A recipe's final figures in each precision over several seeds, and those of the INT8 engines made of them.

    .venv/bin/python bench/training/seeds.py examples/recipes/NAME.toml [--precisions fp32,bf16,fp16] [--seeds 0,1,2]
        [--folder runs/seeds/NAME] [--jobs 1] [--set SECTION.KEY=VALUE ...] [--json] [--plot FILE.png]

One process a run, `--jobs` of them at a time with one thread each (a thread count changes no bit of the result). A run
that was interrupted goes on, and one that has ended is not repeated: its result lies in its folder. What matters is
whether the means differ by more than the seeds do; the last columns are the INT8 engine's figure and how far it is from
the FP32 mean, in per cent of it. `--plot` draws loss and metric over the steps; it wants matplotlib, which
build/bench-venv has (bench/setup.sh).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def result_of(precision: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Of one run, which is made where its folder has none."""
    folder = options.folder / f"{precision}-{seed}"
    file = folder / "result.json"
    if not file.exists():
        sets = [f"train.precision={precision}", f"train.seed={seed}", f"train.folder={folder}", *options.set]
        command = [sys.executable, "-m", "lowp.train", str(options.recipe), "--json", "--threads", str(options.threads)]
        command += [word for s in sets for word in ("--set", s)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{precision}, seed {seed} failed:\n{done.stderr}")
        file.write_text(done.stdout)
        print(f"{precision}, seed {seed}: {json.loads(done.stdout)['metrics']}", file=sys.stderr, flush=True)
    return dict(json.loads(file.read_text()))


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample deviation (0 of one)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def rows_of(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each metric and precision; `found` has FP32 first."""
    rows = []
    for metric in next(iter(found.values()))[0]["metrics"]:
        base = None
        for precision, runs in found.items():
            mean, deviation = spread([r["metrics"][metric] for r in runs])
            base = mean if base is None else base
            row = {"metric": metric, "precision": precision, "mean": mean, "deviation": deviation}
            row |= {"of_first": mean / base - 1, "seconds": statistics.mean(r["seconds"] for r in runs)}
            if runs[0]["engine"]:
                engine, wide = spread([r["engine"]["metrics"][metric] for r in runs])
                own = statistics.mean(
                    r["engine"]["metrics"][metric] / r["metrics"][metric] - 1 for r in runs if r["metrics"][metric]
                )
                row |= {"engine": runs[0]["engine"]["precision"], "engine_mean": engine, "engine_deviation": wide}
                row |= {"engine_of_trained": own, "engine_of_first": engine / base - 1}
            rows.append(row)
    return rows


def curve(folder: Path, column: str) -> tuple[list[int], list[float]]:
    """Steps and values of a column of log.csv."""
    with (folder / "log.csv").open(newline="") as file:
        points = [(int(row["step"]), float(row[column])) for row in csv.DictReader(file) if row[column]]
    return [p[0] for p in points], [p[1] for p in points]


def draw(path: Path, metric: str, options: argparse.Namespace) -> None:
    """Training loss, smoothed over nine points, and the metric on held-out data: a line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for precision, color in zip(options.precisions, ("tab:blue", "tab:orange", "tab:green"), strict=False):
        for seed in options.seeds:
            folder = options.folder / f"{precision}-{seed}"
            label = precision if seed == options.seeds[0] else None
            steps, losses = curve(folder, "loss")
            smooth = [statistics.mean(losses[max(i - 4, 0) : i + 5]) for i in range(len(losses))]
            left.plot(steps, smooth, color=color, linewidth=0.8, alpha=0.7, label=label)
            steps, values = curve(folder, metric)
            right.plot(steps, values, color=color, linewidth=0.8, alpha=0.7, marker="o", markersize=3, label=label)
    for axes, title in ((left, "training loss"), (right, metric.replace("_", " "))):
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_yscale("log")
    figure.savefig(path)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--precisions", type=lambda t: t.split(","), default=["fp32", "bf16", "fp16"])
    parser.add_argument("--seeds", type=lambda t: [int(s) for s in t.split(",")], default=[0, 1, 2])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    options.folder = (options.folder or Path("runs", "seeds", options.recipe.stem)).resolve()
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {(p, s): pool.submit(result_of, p, s, options) for s in options.seeds for p in options.precisions}
    found = {p: [waiting[p, s].result() for s in options.seeds] for p in options.precisions}
    rows = rows_of(found)
    if options.plot:
        draw(options.plot, rows[0]["metric"], options)
    if options.json:
        print(json.dumps({"recipe": str(options.recipe), "seeds": options.seeds, "rows": rows}, indent=1))
        return
    print(f"{'metric':12} {'trained in':10} {'mean':>8} {'±':>7} {'vs fp32':>8}", end="")
    print(f" {'engine':>8} {'±':>7} {'vs own':>7} {'vs fp32':>8}")
    for r in rows:
        line = (
            f"{r['metric']:12} {r['precision']:10} {r['mean']:8.4f} {r['deviation']:7.4f} {100 * r['of_first']:+7.2f}%"
        )
        if "engine" in r:
            line += f" {r['engine_mean']:8.4f} {r['engine_deviation']:7.4f} {100 * r['engine_of_trained']:+6.2f}%"
            line += f" {100 * r['engine_of_first']:+7.2f}%"
        print(line)


if __name__ == "__main__":
    main()
