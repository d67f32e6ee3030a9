"""What exchanging gradients costs a step, and how much of it hides behind the backward pass.

    mpirun -n 2 .venv/bin/python bench/training/data_parallel.py [--model bert4] [--steps 6]

Each rank trains on a batch of its own with one thread: without an exchange; with one bucket, which can only start when
the last gradient is there; with buckets of 4 MiB; and with those in BF16. Kinds take turns step by step. "waiting" is
what the step spends in lowp.AllReduceWait and lowp.GatherRowsWait, "added" all that a step takes longer than without
an exchange.
"""

from __future__ import annotations

import argparse
import statistics
import time

from versus_peers import lowp_case

import lowp
from lowp.train import parallel

_WAITS = ("lowp.AllReduceWait", "lowp.GatherRowsWait")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bert4", choices=("resnet50", "bert4", "ncf", "ncf_sparse", "lstm"))
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    group = parallel.connect()
    kinds = {
        "no exchange": parallel.DataParallel(parallel.Group()),
        "one bucket": parallel.DataParallel(group, bucket_bytes=1 << 40),
        "4 MiB buckets": parallel.DataParallel(group),
        "4 MiB buckets, bf16": parallel.DataParallel(group, compress="bf16"),
    }
    trainers, times = {}, {kind: [] for kind in kinds}
    for kind, data_parallel in kinds.items():
        network, inputs, labels = lowp_case(options.model)
        trainers[kind] = lowp.Trainer(
            network,
            lowp.nn.CrossEntropyLoss(),
            lowp.optim.SGD(lr=0.01, momentum=0.9),
            threads=1,
            profile=True,
            data_parallel=data_parallel,
        )
    for step in range(options.steps + 1):
        for kind, trainer in trainers.items():
            group.mean(0)  # ranks begin together
            start = time.perf_counter()
            trainer.step(inputs, labels)
            if step:  # the first compiles
                times[kind].append(1e3 * (time.perf_counter() - start))
    if group.first:
        alone = statistics.median(times["no exchange"])
        megabytes = sum(p.data.nbytes for p in trainers["no exchange"].model.parameters()) / 1e6
        print(f"{options.model}, {group.ranks} ranks, {megabytes:.0f} MB of gradients")
        print(f"{'':20} {'step ms':>8} {'added ms':>9} {'waiting ms':>11}")
        for kind, ms in times.items():
            profile = trainers[kind].profile()
            waiting = sum(ns / runs for _, op, _, runs, ns, _, _ in profile if op in _WAITS) / 1e6
            step_ms = statistics.median(ms)
            print(f"{kind:20} {step_ms:8.1f} {step_ms - alone:9.1f} {waiting:11.1f}")
    parallel.disconnect()


if __name__ == "__main__":
    main()
