"""Time and memory of a training step: lowp beside PyTorch and TensorFlow on the same four networks.

    bench/setup_torch.sh && bench/setup_tensorflow.sh                # once: build/torch-venv, build/tensorflow-venv
    .venv/bin/python bench/training/versus_peers.py [--models ncf,lstm] [--precisions fp32,bf16] [--rounds 5] [--json]

The networks, batches and the optimizer are those of torch_steps.py and tf_steps.py. Every engine has a process of its
own, all of which live at the same time and wait: in each of `--rounds` rounds they take their turns, in an order that
changes, of one step that wakes threads and caches and `--steps` that are timed. What disturbs the machine for longer
than a round so disturbs all. Medians of all timed steps are compared. TensorFlow is timed with and without XLA. Peak
memory is that of the process over the idle engine's, after two steps. A peer whose venv is missing is left out.
Where the CPU multiplies BF16, the peers train in it too, in their mixed precision; elsewhere it only slows them down.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import timed

_ROOT = Path(__file__).resolve().parents[2]
# Seconds before a turn in which the threads of the engine before it fall asleep (they spin for up to 60 ms).
_PAUSE = 0.1
# Whose size an idle process has.
_PACKAGES = {"lowp": "lowp", "torch": "torch_steps", "tensorflow": "tf_steps", "tensorflow-xla": "tf_steps"}
_MODELS = ("resnet50", "bert4", "bert_base", "ncf", "ncf_sparse", "lstm")


def lowp_case(name: str) -> tuple[Any, Any, Any]:
    """Network, inputs and labels."""
    from lowp import nn
    from lowp.train.models import NeuMF, resnet50

    rng = np.random.default_rng(0)
    if name == "resnet50":
        return resnet50(), rng.standard_normal((8, 3, 224, 224), np.float32), rng.integers(0, 1000, 8)
    if name.startswith("ncf"):
        network = NeuMF(6040, 3706, 64, (256, 256, 128, 64), 2)
        for table in (network.mf_user, network.mf_item, network.mlp_user, network.mlp_item):
            table.weight.sparse = name == "ncf_sparse"
        pairs = (rng.integers(0, 6040, 4096), rng.integers(0, 3706, 4096))
        return network, pairs, rng.integers(0, 2, 4096)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(30522, 768) if name == "bert_base" else None
            if name == "lstm":
                self.body, self.head = nn.LSTM(512, 512, 2, batch_first=True), nn.Linear(512, 1000)
            else:
                count = 4 if name == "bert4" else 12
                layers = [nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu") for _ in range(count)]
                self.body, self.head = nn.TransformerEncoder(layers), nn.Linear(768, 2)

        def forward(self, x: nn.Tensor) -> nn.Tensor:
            y = self.body(x if self.words is None else self.words(x))
            y = self.head(y[0] if isinstance(y, tuple) else y)
            return y.reshape(-1, y.shape[-1])

    if name == "lstm":
        return Network(), rng.standard_normal((32, 25, 512), np.float32), rng.integers(0, 1000, 800)
    if name == "bert_base":
        return Network(), rng.integers(0, 30522, (4, 128)), rng.integers(0, 2, 512)
    return Network(), rng.standard_normal((4, 128, 768), np.float32), rng.integers(0, 2, 512)


class LowpStepper:
    """Takes a step at each call."""

    def __init__(self, name: str, precision: str, threads: int) -> None:
        import lowp

        network, self.inputs, self.labels = lowp_case(name)
        optimizer = lowp.optim.SGD(lr=0.01, momentum=0.9)
        loss = lowp.nn.CrossEntropyLoss()
        self.trainer = lowp.Trainer(network, loss, optimizer, precision=precision, threads=threads)

    def __call__(self) -> None:
        self.trainer.step(self.inputs, self.labels)


def multiplies_bf16() -> bool:
    """Whether this CPU does."""
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text()


def tensorflow_stepper(name: str, precision: str, xla: bool, threads: int) -> Callable[[], Any]:
    """The same in TensorFlow's venv."""
    import keras
    import tensorflow as tf
    import tf_steps

    if precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf_steps.stepper(tf_steps.CASES[name.removesuffix("_sparse")](), xla)


def torch_stepper(name: str, precision: str, threads: int) -> Callable[[], Any]:
    """The same in PyTorch's venv."""
    import torch
    import torch_steps

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    return torch_steps.stepper(torch_steps.CASES[name.removesuffix("_sparse")](), precision == "bf16")


def serve(engine: str, name: str, precision: str, threads: int) -> None:
    """A child: prints its memory, then the times of as many steps as each line of its input asks for."""
    # Answers go where only they do: frameworks may print.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    importlib.import_module(_PACKAGES[engine])
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if engine.startswith("tensorflow"):
        step = tensorflow_stepper(name, precision, engine.endswith("xla"), threads)
    else:
        step = (LowpStepper if engine == "lowp" else torch_stepper)(name, precision, threads)
    step()
    step()
    memory = {"peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}
    if isinstance(step, LowpStepper):
        memory["activations_mib"] = step.trainer.activation_bytes / 2**20
    print(json.dumps(memory), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(step, int(line))), file=answers, flush=True)


class Contender:
    """An engine in a process of its own."""

    def __init__(self, engine: str, name: str, precision: str, options: argparse.Namespace) -> None:
        self.engine, self.name, self.precision = engine, name, precision
        self.ms: list[float] = []
        command = [str(options.pythons[engine]), __file__, "--child", engine, name, precision]
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, "--threads", str(options.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.memory: dict[str, float] = {}

    def begin(self) -> None:
        """Waits until it is ready."""
        self.memory = json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise SystemExit(f"{self.engine} {self.name} {self.precision} failed:\n{self._errors.read().decode()}")
        return line

    def turn(self, steps: int) -> None:
        """Takes and times `steps` of them."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        self.ms += json.loads(self._answer())

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()


def compare(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one network: peers in FP32 and perhaps BF16, lowp in each precision."""
    theirs = ("fp32", "bf16") if multiplies_bf16() and "bf16" in options.precisions else ("fp32",)
    peers = [(e, p) for p in theirs for e in ("torch", "tensorflow", "tensorflow-xla") if options.pythons[e].exists()]
    contenders: list[Contender] = []
    try:
        for engine, precision in [*peers, *(("lowp", p) for p in options.precisions)]:
            contenders.append(Contender(engine, name, precision, options))
            contenders[-1].begin()
        for turn in range(options.rounds):
            first = turn % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                time.sleep(_PAUSE)
                contender.turn(options.steps)
    finally:
        for contender in contenders:
            contender.end()
    rows = []
    for c in contenders:
        row = {"model": name, "engine": c.engine, "precision": c.precision, "median_ms": statistics.median(c.ms)}
        rows.append(row | {"min_ms": min(c.ms)} | c.memory)
    for row in rows:
        for precision in theirs:
            best = min((r["median_ms"] for r in rows[: len(peers)] if r["precision"] == precision), default=None)
            row[f"versus_{precision}"] = None if best is None else best / row["median_ms"]
    return rows


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(_MODELS))
    parser.add_argument("--precisions", type=lambda t: t.split(","), default=["fp32", "bf16", "fp16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    for peer in ("torch", "tensorflow"):
        parser.add_argument(f"--{peer}", type=Path, default=_ROOT / "build" / f"{peer}-venv" / "bin" / "python")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve(*options.child, options.threads)
        return
    options.pythons = {
        "lowp": Path(sys.executable),
        "torch": options.torch,
        "tensorflow": options.tensorflow,
        "tensorflow-xla": options.tensorflow,
    }
    if not options.json:
        print(
            f"{'network':11} {'engine':14} {'':5} {'median ms':>10} {'min ms':>8}"
            f" {'x FP32':>8} {'x BF16':>8} {'peak MiB':>9}",
            flush=True,
        )
    rows: list[dict[str, Any]] = []
    for name in options.models.split(","):
        rows += (found := compare(name, options))
        for r in found:
            print(
                f"{r['model']:11} {r['engine']:14} {r['precision']:5} {r['median_ms']:10.1f} {r['min_ms']:8.1f}"
                f" {r['versus_fp32'] or 0:8.2f} {r.get('versus_bf16') or 0:8.2f} {r['peak_mib']:9.0f}",
                file=sys.stderr if options.json else sys.stdout,
                flush=True,
            )
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
