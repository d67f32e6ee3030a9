"""What a rank does in test_mpi.py: trains a small model on its part of fixed batches; rank 0 writes the result."""

import json
import os
import signal
import sys

import numpy as np

import lowp
from lowp import nn, optim
from lowp.nn import functional as F  # noqa: N812
from lowp.train import parallel
from lowp.train.trainer import Trainer

BATCH = 32  # of all ranks together


class Net(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(20, 64), nn.Linear(64, 64), nn.Linear(64, 5)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x):
        # Gradients of a reshape have shapes that the graph knows only when it runs.
        x = F.relu(self.first(x)).reshape(-1, 4, 16).reshape(-1, 64)
        x = F.relu(self.second(x))
        return self.third(self.dropout(x) if self.dropout else x)


class Words(nn.Module):
    """Rows that a batch looks up, two for each sample and often the same ones, and a classifier."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(500, 8, sparse=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.words(x).reshape(-1, 16))


def main():
    options = json.loads(sys.argv[1])
    group = parallel.connect()
    sparse = options.get("sparse", False)
    nn.seed(1 + group.rank)  # other weights on each rank: they become rank 0's
    data_parallel = parallel.DataParallel(group, options.get("bucket_bytes", 8192), options.get("compress", "none"))
    trainer = Trainer(
        Words() if sparse else Net(options.get("dropout", 0.0)),
        nn.CrossEntropyLoss(),
        optim.SGD(lr=0.1, momentum=0.9),
        data_parallel=data_parallel,
        loss_scale=options.get("loss_scale"),
        threads=1,
        seed=3,
    )
    random = np.random.default_rng(5)
    part = slice(BATCH * group.rank // group.ranks, BATCH * (group.rank + 1) // group.ranks)
    centers = random.standard_normal((5, 20)).astype(np.float32)
    figures = []
    for step in range(options.get("steps", 20)):
        labels = random.integers(0, 5, BATCH)
        x = centers[labels] + random.standard_normal((BATCH, 20)).astype(np.float32)
        if sparse:
            x = np.stack([labels, random.integers(5, 500, BATCH)], 1)
        if options.get("kill") == [group.rank, step]:
            os.kill(os.getpid(), signal.SIGKILL)
        if options.get("infinite") == [group.rank, step]:
            x[part] = np.inf
        try:
            result = trainer.step(x[part], labels[part])
        except lowp.errors.NonFinite as e:
            print(f"rank {group.rank}: {e}", file=sys.stderr, flush=True)
            raise
        figures.append([result.loss, result.gradient_norm, result.skipped])
    same = {n: group.gather(a.tobytes()) for n, a in trainer.state_dict().items()}
    if group.first:
        differing = [n for n, all_of in same.items() if len(set(all_of)) > 1]
        np.savez(options["out"], **trainer.state_dict())
        print(json.dumps({"figures": figures, "differing": differing}))
    parallel.disconnect()


if __name__ == "__main__":
    try:
        main()
    except Exception as e:  # noqa: BLE001
        print(f"rank failed: {e}", file=sys.stderr, flush=True)
        parallel.connect().abort(1)
        sys.exit(1)
