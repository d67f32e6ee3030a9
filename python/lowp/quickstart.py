"""Two real models in every precision, side by side: size, latency, accuracy. ``python -m lowp.quickstart [--json]``

EfficientNet-lite0 classifies the 20 labelled photographs of the package foolbox; MiniLM embeds the sentences beside
this file, and its embeddings are compared with FP32's. Engines are kept in the cache folder, so that a second run only
measures. The photographs are also what INT8 is calibrated on: bench/accuracy.py measures on data apart from that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import lowp
from lowp import _core, zoo

Array = np.ndarray[Any, Any]
Inputs = Mapping[str, Array]


@dataclass
class Row:
    """One model in one precision."""

    model: str
    precision: str
    megabytes: float
    ms_1_thread: float
    ms_all_threads: float
    accuracy: float  # percent: top-1, or mean cosine with FP32's embeddings
    agreement: float  # percent: same class as FP32, or as accuracy
    max_error: float  # largest difference from FP32's outputs
    layers: str  # how many run as asked


@dataclass
class Task:
    """A model, its samples (one a run), and how outputs [samples, ...] are judged against FP32's."""

    name: str
    path: Path
    samples: Sequence[Inputs]
    judge: Callable[[Array, Array], tuple[float, float]]


def _image_task() -> Task:
    photographs = zoo.photographs()
    classes = np.array([label for _, label in photographs])

    def judge(outputs: Array, reference: Array) -> tuple[float, float]:
        best = outputs.argmax(1)
        return 100 * float(np.mean(best == classes)), 100 * float(np.mean(best == reference.argmax(1)))

    samples = [{"x": zoo.preprocess_image(data)} for data, _ in photographs]
    return Task("efficientnet_lite0", zoo.efficientnet_lite0(), samples, judge)


def _text_task() -> Task:
    sentences = (resources.files("lowp") / "data" / "sentences.txt").read_text().splitlines()
    tokenizer = zoo.MiniLMTokenizer()

    def judge(outputs: Array, reference: Array) -> tuple[float, float]:
        cosine = 100 * float(np.mean((outputs * reference).sum(1)))  # both are of length 1
        return cosine, cosine

    return Task("minilm", zoo.minilm(), [tokenizer(s) for s in sentences], judge)


def _compiled(task: Task, precision: str, progress: bool) -> Path:
    cpu = _core.cpu()
    key = f"{lowp.__version__}-{cpu['target']}-{cpu['threads']}"
    path = zoo.cache_folder() / "engines" / f"{task.path.stem}-{precision}-{key}.lowp"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = task.samples if precision == "int8" else None
        lowp.compile(task.path, precision, samples, progress=progress).save(path)
    return path


def _milliseconds(engine: lowp.Engine, inputs: Inputs, seconds: float = 1.0) -> float:
    """Median latency."""
    for _ in range(3):
        engine.run(inputs)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 500):
        start = time.perf_counter()
        engine.run(inputs)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _outputs(engine: lowp.Engine, task: Task) -> Array:
    name = engine.outputs[0].name
    return np.concatenate([engine.run(s)[name] for s in task.samples])


def _as_asked(engine: lowp.Engine) -> str:
    layers = engine.report["layers"]
    return f"{sum(x['requested'] == x['executed'] for x in layers)}/{len(layers)}"


def measure(task: Task, precisions: Sequence[str], progress: bool) -> list[Row]:
    """A row for each precision; the first is the reference."""
    rows: list[Row] = []
    reference: Array | None = None
    for precision in precisions:
        path = _compiled(task, precision, progress)
        one, every = lowp.open(path, threads=1), lowp.open(path)
        outputs = _outputs(every, task)
        reference = outputs if reference is None else reference
        accuracy, agreement = task.judge(outputs, reference)
        rows.append(
            Row(
                task.name,
                precision,
                path.stat().st_size / 1e6,
                _milliseconds(one, task.samples[0]),
                _milliseconds(every, task.samples[0]),
                accuracy,
                agreement,
                float(np.abs(outputs - reference).max()),
                _as_asked(every),
            )
        )
    return rows


def _show(rows: Sequence[Row], cpu: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{cpu['name']}, {cpu['target']}, {cpu['threads']} threads", title_justify="left")
    for column in ("model", "precision"):
        table.add_column(column)
    for column in ("MB", "ms, 1 thread", "ms, all", "accuracy %", "as FP32 %", "max error", "layers as asked"):
        table.add_column(column, justify="right")
    for number, r in enumerate(rows):
        if number and rows[number - 1].model != r.model:
            table.add_section()
        numbers = [f"{r.megabytes:.1f}", f"{r.ms_1_thread:.2f}", f"{r.ms_all_threads:.2f}", f"{r.accuracy:.1f}"]
        table.add_row(r.model, r.precision, *numbers, f"{r.agreement:.1f}", f"{r.max_error:.3g}", r.layers)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(
        "accuracy: top-1 on 20 labelled photographs; for minilm, mean cosine with FP32's embeddings of 36 sentences",
        style="dim",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; gives the exit status."""
    parser = argparse.ArgumentParser(prog="quickstart", description="Two real models in every precision, side by side.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    a = parser.parse_args(arguments)
    cpu = _core.cpu()
    precisions = ["fp32", *(["bf16"] if cpu["native_bf16"] else []), "int8"]
    try:
        rows = [row for make in (_image_task, _text_task) for row in measure(make(), precisions, not a.json)]
    except lowp.Error as e:
        parser.exit(1, f"quickstart: {e}\n")
    if a.json:
        print(json.dumps({"cpu": cpu, "rows": [asdict(r) for r in rows]}, indent=1))
    else:
        _show(rows, cpu)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
