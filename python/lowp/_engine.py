"""Compiled models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowp import _core, errors
from lowp._arrays import TensorInfo, from_buffer, tensor_infos, to_buffers
from lowp._calibration import Calibration, Samples
from lowp._model import Model, load
from lowp._progress import ProgressCallback, progress_bar


@dataclass(frozen=True)
class StepProfile:
    """One step of an engine, averaged over runs."""

    node: str
    op: str
    kernel: str
    microseconds: float
    macs: int
    bytes: int


class Engine:
    """A compiled model; made by :func:`compile` or :func:`open`.

    Any number of threads may call :meth:`run` at the same time; they share the weights, and each has its own memory for
    intermediate results. The interpreter lock is released while an engine runs.
    """

    def __init__(self, core: _core.Engine) -> None:
        self._core = core
        self._inputs = tensor_infos(core.inputs)
        self._outputs = tensor_infos(core.outputs)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What :meth:`run` must be given."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What :meth:`run` gives."""
        return self._outputs

    @property
    def precision(self) -> str:
        """What the model was compiled to: fp32, bf16, fp16 or int8. The report says what each layer became."""
        return self._core.metadata.get("precision", "fp32")

    @property
    def threads(self) -> int:
        """Threads of one run; 0: all that the process may use."""
        return self._core.threads

    @property
    def report(self) -> dict[str, Any]:
        """How compilation went.

        ``layers``: for each layer ``node``, ``op``, ``requested`` and ``executed`` precision, ``reason`` where they
        differ, and where measured ``snr_db``, ``fp32_us``, ``int8_us``, and how its kernel computes it: ``kernel``,
        ``kernel_us`` and the next best way, ``runner_up``, ``runner_up_us``; ``output_snr_db``, ``cpu``, ``target``,
        ``calibration_samples``, ``observer``; ``equalized``: how many activations were; ``tuning``: how kernels were
        timed.
        """
        return {"layers": [], **json.loads(self._core.metadata.get("report", "{}"))}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Runs the model once.

        Args:
            inputs: an array for each input by name, with exactly its dtype. numpy arrays and whatever speaks DLPack are
                read in place where they are contiguous, and copied where not; lists and numbers are converted.

        Returns:
            A new array for each output by name, which is the caller's to keep and to change.

        Raises:
            InvalidArgument: an input is missing or unknown.
            TypeMismatch: an array has another dtype than the input.
            ShapeMismatch: an array has another shape than the input, or shapes do not fit together.
        """
        results = self._core.run(to_buffers(self._inputs, inputs))
        return {info.name: from_buffer(info, *r) for info, r in zip(self._outputs, results, strict=True)}

    __call__ = run

    def profile(self, inputs: Mapping[str, Any] | None = None, runs: int = 20) -> list[StepProfile]:
        """Time of every step, in order, averaged over `runs` runs. Without inputs: zeros, with symbols as 1."""
        if runs < 1:
            raise errors.InvalidArgument(f"runs is {runs}, at least 1 is wanted")
        steps = self._core.profile(to_buffers(self._inputs, example_inputs(self) if inputs is None else inputs), runs)
        return [
            StepProfile(node, op, kernel, nanoseconds / 1e3 / max(count, 1), macs, size)
            for node, op, kernel, count, nanoseconds, macs, size in steps
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an engine file (.lowp). An existing file is replaced only when the new one is complete.

        Raises:
            IoError: the system refuses.
        """
        self._core.save(os.fspath(path), {"request": json.dumps({"precision": self.precision})})

    def __repr__(self) -> str:
        return f"Engine({self.precision}, inputs={list(self.inputs)}, outputs={list(self.outputs)})"


def example_inputs(
    model: Model | Engine, extents: Mapping[str, int] | None = None
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Zeros for every input; `extents` gives numbers for symbols, the others are 1."""
    numbers = extents or {}

    def number(extent: int | str | None) -> int:
        return extent if isinstance(extent, int) else numbers.get(extent or "", 1)

    return {i.name: np.zeros([number(n) for n in i.shape or ()], i.dtype) for i in model.inputs}


def compile(  # noqa: A001 - the name of the interface
    model: Model | str | os.PathLike[str] | bytes,
    precision: str = "int8",
    calibration: Calibration | None = None,
    *,
    threads: int = 0,
    strict: bool = False,
    observer: str = "auto",
    equalize: bool = True,
    target: str = "",
    keep_fp32: Sequence[str] = (),
    min_output_snr: float = 0.0,
    measure: bool = True,
    tune: bool = True,
    cache: bool = True,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: bool | ProgressCallback = True,
) -> Engine:
    """Compiles a model to a precision. Ctrl-C interrupts it.

    Args:
        model: a model, or what :func:`load` takes.
        precision: fp32, bf16, fp16, int8, or auto (int8 where there are samples, else the CPU's fastest).
        calibration: for int8, samples of real inputs: dicts of arrays as for :meth:`Engine.run` in any iterable, an
            .npz file (one sample, which may be a batch), a folder of .npz files, or a list of files. 100 are usually
            enough. Few are in memory at a time, but of those that `equalize` looks at up to 64 MiB.
        threads: of the engine and of compilation; 0: all that the process may use.
        strict: an error where a layer cannot have the precision asked for.
        observer: how ranges of activations are chosen: mse (least squared error), percentile (without 0.001% at each
            end), minmax, or auto, the one of these with which outputs have the most signal to noise on the samples.
        equalize: divide channels of activations that are larger than others by what the weights behind them are then
            multiplied by, where that leaves less error (SmoothQuant); transformers want it.
        target: what INT8 is optimised for: "" (this CPU), "vnni" or "avx2".
        keep_fp32: names of layers that stay as they are.
        min_output_snr: leave layers in FP32, those that cost the outputs most first, until these have so many dB of
            signal to noise on eight samples. Each layer is tried, which takes a while.
        measure: time every INT8 layer and keep it only where it is faster.
        tune: time the ways in which kernels can compute each layer with so many threads on this CPU, and record the
            fastest in the engine. Takes seconds; results have the same bits with and without. Not without `measure`.
        cache: keep these times in the user's cache folder (``LOWP_CACHE``, else ``~/.cache/lowp``) and use those there.
        shapes: shapes of inputs to measure with. Without: the first calibration sample's, else 1 for a free first
            dimension and 128 for others.
        progress: a bar on a terminal, or a callback of stage, done and total, which stops the work by returning False.

    Raises:
        CalibrationError: samples are missing, empty or not finite.
        Unsupported: with strict.
        Cancelled: by the progress callback.
    """
    if not isinstance(model, Model):
        model = load(model)
    samples = None if calibration is None else Samples(model.inputs, calibration)
    with progress_bar(progress) as callback:
        core, _ = _core.compile(
            model._core,
            precision,
            observer,
            target,
            threads,
            strict,
            equalize,
            measure,
            tune,
            cache,
            {name: list(shape) for name, shape in (shapes or {}).items()},
            [keep_fp32] if isinstance(keep_fp32, str) else list(keep_fp32),
            min_output_snr,
            None if samples is None else samples.factory(),
            -1 if samples is None else samples.size,
            callback,
        )
    return Engine(core)


def open(engine: str | os.PathLike[str] | bytes, *, threads: int = 0) -> Engine:  # noqa: A001
    """Opens an engine file (.lowp). It is mapped, not read: processes share one copy.

    Args:
        engine: a path, or the file's bytes.
        threads: of one run; 0: all that the process may use.

    Raises:
        NotFound: there is no such file.
        CorruptFile: not an engine file, or damaged.
        VersionError: written by a newer lowp.
    """
    if isinstance(engine, (str, os.PathLike)):
        return Engine(_core.Engine.open(os.fspath(engine), threads))
    return Engine(_core.Engine.open_bytes(bytes(engine), threads))
