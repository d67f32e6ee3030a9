"""lowp and ONNX Runtime on the same models and inputs, in one process, in turns.

    python bench/versus_onnxruntime.py [--models resnet50,bert_base] [--threads 1] [--rounds 15]
                                       [--folder MODELS] [--json]

Wants the packages `lowp` and `onnxruntime`. Models are built by lowp.zoo (into --folder where given). Each round runs
every engine once to wake its threads, then once timed, after a pause in which the other engine's threads fall asleep.
Prints medians, ratios to ONNX Runtime FP32, opening times and, from processes of their own, peak memory.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import lowp
from lowp import zoo

SEQUENCE = {"bert_base": 128, "minilm": 32}
# ONNX Runtime's workers spin for up to 60 ms after a run.
PAUSE = 0.1


def model_path(name: str, folder: pathlib.Path) -> pathlib.Path:
    path = folder / f"{name}.onnx"
    return path if path.exists() else pathlib.Path(getattr(zoo, name)(path))


def feeds(model: lowp.Model, name: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    result = {}
    for value in model.inputs:
        shape = [d if isinstance(d, int) else 1 if i == 0 else SEQUENCE.get(name, 1) for i, d in enumerate(value.shape)]
        if np.dtype(value.dtype) == np.float32:
            result[value.name] = rng.standard_normal(shape).astype(np.float32)
        elif "mask" in value.name:
            result[value.name] = np.ones(shape, np.int64)
        elif "type" in value.name:
            result[value.name] = np.zeros(shape, np.int64)
        else:
            result[value.name] = rng.integers(0, 2000, shape)
    return result


def ort_session(path: pathlib.Path, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def peak_memory(code: str) -> float:
    """Peak resident MiB of a Python process that runs `code`."""
    # VmHWM and not ru_maxrss, which a child inherits from its parent.
    program = code + "\nprint([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(result.stdout) / 1024


def milliseconds(function) -> float:
    begin = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - begin)


def measure(name: str, folder: pathlib.Path, work: pathlib.Path, threads: int, rounds: int) -> list[dict]:
    path = model_path(name, folder)
    model = lowp.load(path)
    feed = feeds(model, name, 0)
    calibration = [feeds(model, name, seed) for seed in range(1, 5)]
    session = ort_session(path, threads)
    runs = {"onnxruntime fp32": lambda: session.run(None, feed)}
    files = {"onnxruntime fp32": path}
    for precision in ("fp32", "bf16", "int8"):
        engine = lowp.compile(
            model,
            precision=precision,
            calibration=calibration if precision == "int8" else None,
            threads=threads,
            progress=False,
        )
        file = work / f"{name}.{precision}.lowp"
        engine.save(file)
        opened = lowp.open(file, threads=threads)
        runs[f"lowp {precision}"] = lambda opened=opened: opened.run(feed)
        files[f"lowp {precision}"] = file
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            time.sleep(PAUSE)
            run()
            times[key].append(milliseconds(run))
    base = statistics.median(times["onnxruntime fp32"])
    np.savez(work / "feed.npz", **feed)
    rows = []
    for key, values in times.items():
        file = files[key]
        load = f"import numpy as np; feed = dict(np.load({str(work / 'feed.npz')!r}))\n"
        if key.startswith("lowp"):
            open_ms = min(milliseconds(lambda file=file: lowp.open(file, threads=threads)) for _ in range(5))
            fresh = lowp.open(file, threads=threads)
            first_ms = milliseconds(lambda fresh=fresh: fresh.run(feed))
            code = load + f"import lowp\nfor _ in range(2): lowp.open({str(file)!r}, threads={threads}).run(feed)"
        else:
            open_ms = milliseconds(lambda file=file: ort_session(file, threads))
            fresh = ort_session(file, threads)
            first_ms = milliseconds(lambda fresh=fresh: fresh.run(None, feed))
            code = load + (
                "import onnxruntime as rt\no = rt.SessionOptions(); "
                f"o.intra_op_num_threads = {threads}\ns = rt.InferenceSession({str(file)!r}, o)\n"
                "for _ in range(2): s.run(None, feed)"
            )
        median = statistics.median(values)
        rows.append(
            {
                "model": name,
                "engine": key,
                "threads": threads,
                "median_ms": median,
                "min_ms": min(values),
                "speedup": base / median,
                "open_ms": open_ms,
                "first_run_ms": first_ms,
                "file_ratio": file.stat().st_size / path.stat().st_size,
                "peak_mib": peak_memory(code),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="resnet50,bert_base,efficientnet_lite0,minilm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder or pathlib.Path(work)
        for name in options.models.split(","):
            rows += measure(name, folder, pathlib.Path(work), options.threads, options.rounds)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    head = f"{'model':20}{'engine':18}{'median ms':>10}{'min ms':>9}{'speed-up':>10}"
    print(head + f"{'open ms':>10}{'first ms':>10}{'file':>8}{'peak MiB':>10}")
    for r in rows:
        print(
            f"{r['model']:20}{r['engine']:18}{r['median_ms']:10.2f}{r['min_ms']:9.2f}{r['speedup']:9.2f}x"
            f"{r['open_ms']:10.1f}{r['first_run_ms']:10.2f}{r['file_ratio']:8.3f}{r['peak_mib']:10.0f}"
        )


if __name__ == "__main__":
    main()
