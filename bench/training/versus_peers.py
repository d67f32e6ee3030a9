"""Time and memory of a training step: lowp beside PyTorch and TensorFlow on the same four networks.

    bench/setup_torch.sh && bench/setup_tensorflow.sh                # once: build/torch-venv, build/tensorflow-venv
    .venv/bin/python bench/training/versus_peers.py [--models ncf,lstm] [--precisions fp32,bf16] [--rounds 3] [--json]

The networks, batches and the optimizer are those of torch_steps.py and tf_steps.py. Engines run in processes of their
own, in turns, `--rounds` times; medians of all steps are compared. TensorFlow is timed with and without XLA. Peak
memory is that of the process over the idle engine's. A peer whose venv is missing is left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
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


def run_lowp(name: str, precision: str, threads: int, steps: int) -> dict[str, Any]:
    """Milliseconds of each step but the first, and memory; in this process."""
    import lowp

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network, inputs, labels = lowp_case(name)
    optimizer = lowp.optim.SGD(lr=0.01, momentum=0.9)
    trainer = lowp.Trainer(network, lowp.nn.CrossEntropyLoss(), optimizer, precision=precision, threads=threads)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        trainer.step(inputs, labels)
        times.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "ms": times[1:],
        "peak_mib": (peak - idle) / 1024,
        "activations_mib": trainer.activation_bytes / 2**20,
        "optimizer_mib": trainer.optimizer_bytes / 2**20,
    }


def run_tensorflow(name: str, threads: int, steps: int, xla: bool) -> dict[str, Any]:
    """The same in TensorFlow's venv."""
    import tensorflow as tf
    import tf_steps

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    times = tf_steps.step_times(tf_steps.CASES[name.removesuffix("_sparse")](), xla, steps)
    return {"ms": times, "peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}


def run_torch(name: str, precision: str, threads: int, steps: int) -> dict[str, Any]:
    """The same in this process, which is that of the other venv."""
    import torch
    import torch_steps

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    case = torch_steps.CASES[name.removesuffix("_sparse")]()
    times = torch_steps.step_times(case, precision == "bf16", steps)
    return {"ms": times, "peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024}


def child(engine: str, name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """One engine in a process of its own."""
    command = [str(options.pythons[engine]), __file__, "--child", engine, name, precision]
    command += ["--threads", str(options.threads), "--steps", str(options.steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{engine} {name} {precision} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one network: peers in FP32, lowp in each precision."""
    peers = [(e, "fp32") for e in ("torch", "tensorflow", "tensorflow-xla") if options.pythons[e].exists()]
    contenders = [*peers, *(("lowp", p) for p in options.precisions)]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {c: [] for c in contenders}
    for _ in range(options.rounds):
        for engine, precision in contenders:
            found[engine, precision].append(child(engine, name, precision, options))
    rows = []
    for (engine, precision), runs in found.items():
        ms = [t for r in runs for t in r["ms"]]
        row = {"model": name, "engine": engine, "precision": precision, "median_ms": statistics.median(ms)}
        row |= {"min_ms": min(ms)} | {k: v for k, v in runs[0].items() if k != "ms"}
        rows.append(row)
    for row in rows:
        row["versus_peers"] = min(r["median_ms"] for r in rows[: len(peers)]) / row["median_ms"] if peers else None
    return rows


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(_MODELS))
    parser.add_argument("--precisions", type=lambda t: t.split(","), default=["fp32", "bf16", "fp16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    for peer in ("torch", "tensorflow"):
        parser.add_argument(f"--{peer}", type=Path, default=_ROOT / "build" / f"{peer}-venv" / "bin" / "python")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        engine, name, precision = options.child
        if engine.startswith("tensorflow"):
            result = run_tensorflow(name, options.threads, options.steps, engine.endswith("xla"))
        else:
            run = run_lowp if engine == "lowp" else run_torch
            result = run(name, precision, options.threads, options.steps)
        print(json.dumps(result))
        return
    options.pythons = {
        "lowp": Path(sys.executable),
        "torch": options.torch,
        "tensorflow": options.tensorflow,
        "tensorflow-xla": options.tensorflow,
    }
    rows = [r for name in options.models.split(",") for r in compare(name, options)]
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows}, indent=1))
        return
    print(f"{'network':11} {'engine':14} {'':5} {'median ms':>10} {'min ms':>8} {'x peers':>8} {'peak MiB':>9}")
    for r in rows:
        print(
            f"{r['model']:11} {r['engine']:14} {r['precision']:5} {r['median_ms']:10.1f} {r['min_ms']:8.1f}"
            f" {r['versus_peers'] or 0:8.2f} {r['peak_mib']:9.0f}"
        )


if __name__ == "__main__":
    main()
