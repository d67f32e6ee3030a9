"""Engines behind one interface: prepare a file, open it on a number of threads, run.

What is timed is one call as a user makes it from Python, arrays in and arrays out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.models import Feed, Model, calibration

Run = Callable[[Feed], Any]


@dataclass(frozen=True)
class Contender:
    """One engine in one precision; `variant` is the quantizer where an engine has several."""

    engine: str  # "lowp", "onnxruntime", "openvino"
    precision: str  # "fp32", "bf16", "int8"
    variant: str = ""

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.engine} {self.precision}" + (f" ({self.variant})" if self.variant else "")


def contenders(model: Model, precisions: Sequence[str], native_bf16: bool) -> list[Contender]:
    """Who takes part for a model.

    Where the CPU does not compute in BF16, it is a storage format: lowp has to be as fast in it as the peers in FP32.
    """
    result = []
    for precision in precisions:
        result.append(Contender("lowp", precision))
        if precision != "bf16":  # ONNX Runtime's CPU kernels have no BF16
            variants = [""] if precision == "fp32" else ["dynamic"] if model.kind == "recurrent" else ["static"]
            if precision == "int8" and model.kind == "transformer":
                variants.append("dynamic")
            result += [Contender("onnxruntime", precision, v) for v in variants]
        if precision != "bf16" or native_bf16:
            result.append(Contender("openvino", precision))
    return result


def version(engine: str) -> str:
    """Of the installed package."""
    if engine == "lowp":
        import lowp

        return str(lowp.__version__)
    return importlib.metadata.version(engine)


def prepare(contender: Contender, model: Model, work: Path, threads: int, feed: Feed) -> Path:
    """The file that the engine opens; the peers' are made once and kept in `work`."""
    source = model.write()
    key = f"{model.name}.{contender.engine}-{version(contender.engine)}.{contender.precision}{contender.variant}"
    if contender.engine == "lowp":
        # lowp measures its choices for shapes and a number of threads, and is compiled for those that are timed.
        target = work / f"{key}.threads{threads}.lowp"
        import lowp

        samples = calibration(model) if contender.precision == "int8" else None
        engine = lowp.compile(
            lowp.load(source),
            precision=contender.precision,
            calibration=samples,
            threads=threads,
            shapes={name: array.shape for name, array in feed.items()},
            progress=False,
        )
        engine.save(target)
        return target
    if contender.precision != "int8":
        return source
    target = work / (key + (".xml" if contender.engine == "openvino" else ".onnx"))
    if not target.exists():
        quantize = _nncf if contender.engine == "openvino" else _onnxruntime
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            quantize(contender, model, source, target)
    return target


def _onnxruntime(contender: Contender, model: Model, source: Path, target: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.disable(logging.WARNING)
    if contender.variant == "dynamic":
        quantize_dynamic(source, target, per_channel=True)
        return

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples = iter(calibration(model))

        def get_next(self) -> Feed | None:
            return next(self.samples, None)

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


def _nncf(contender: Contender, model: Model, source: Path, target: Path) -> None:
    del contender
    import nncf
    import openvino

    logging.disable(logging.WARNING)
    samples = calibration(model)
    quantized = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(samples),
        subset_size=len(samples),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER if model.kind == "transformer" else None,
    )
    openvino.save_model(quantized, target)


def open_engine(engine: str, precision: str, path: Path, threads: int) -> Run:
    """A session in the engine's best configuration for latency."""
    if engine == "lowp":
        import lowp

        return lowp.open(path, threads=threads).run
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda feed: session.run(None, feed)
    import openvino

    request = (
        openvino.Core()
        .compile_model(
            str(path),
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        .create_infer_request()
    )
    return request.infer


# Run in a process of its own: what opening and running costs beyond having imported the engine.
_CHILD = """
import json, sys, time, pathlib
sys.path.insert(0, {folder!r})
import numpy as np
from compare.engines import open_engine
def memory(key):
    return [int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith(key)][0]
feed = dict(np.load({feed!r}))
__import__({engine!r})
idle = memory("VmRSS")
begin = time.perf_counter()
run = open_engine({engine!r}, {precision!r}, pathlib.Path({path!r}), {threads})
load = time.perf_counter() - begin
begin = time.perf_counter()
run(feed)
first = time.perf_counter() - begin
run(feed)
print(json.dumps(dict(load_ms=1e3 * load, first_ms=1e3 * first, peak_mib=memory("VmHWM"), idle_mib=idle,
                      resident_mib=memory("VmRSS") - idle)))
"""


def child_program(contender: Contender, path: Path, threads: int, feed: Path) -> str:
    """The source of a process that prints load time, first run and memory as JSON."""
    return _CHILD.format(
        folder=str(Path(__file__).resolve().parents[1]),
        engine=contender.engine,
        precision=contender.precision,
        path=str(path),
        threads=threads,
        feed=str(feed),
    )


def read_child(output: str) -> dict[str, float]:
    """The last line of what a child printed."""
    return dict(json.loads(output.strip().splitlines()[-1]))
