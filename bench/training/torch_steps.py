"""Time of a training step in PyTorch, the strongest peer on a CPU; bench/setup_torch.sh makes its venv.

    build/torch-venv/bin/python bench/training/torch_steps.py [--model ncf] [--precision bf16] [--json]

A step is forward, cross-entropy, backward and SGD with momentum, on random data of one batch:
resnet50  v1.5, batch 8, 224 x 224, channels last
bert4     4 layers of BERT-base, batch 4, S = 128, 2 classes a token
bert_base words and all 12 layers, the same batch
ncf       NeuMF with MovieLens-1M's sizes, batch 4096
lstm      2 layers of 512 and 1000 classes, batch 32, 25 steps
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from timing import timed
from torch import Tensor, nn

# A network, its inputs, and the labels [rows]: outputs are [..., classes] with as many rows.
Case = tuple[nn.Module, tuple[Tensor, ...], Tensor]


class Bottleneck(nn.Module):
    """As in ResNet v1.5."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width

        def conv(i: int, o: int, size: int, step: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(i, o, size, step, size // 2, bias=False), nn.BatchNorm2d(o)]

        body = [*conv(inputs, width, 1), nn.ReLU(), *conv(width, width, 3, stride), nn.ReLU(), *conv(width, outputs, 1)]
        self.body = nn.Sequential(*body)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Ncf(nn.Module):
    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.mf = nn.ModuleList([nn.Embedding(users, 64), nn.Embedding(items, 64)])
        self.mlp = nn.ModuleList([nn.Embedding(users, 128), nn.Embedding(items, 128)])
        widths = (256, 256, 128, 64)
        layers = [m for i, o in zip(widths, widths[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(128, 2)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        factors = self.mf[0](user) * self.mf[1](item)
        deep = self.layers(torch.cat([self.mlp[0](user), self.mlp[1](item)], -1))
        return self.head(torch.cat([factors, deep], -1))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(512, 512, 2, batch_first=True), nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


def resnet50() -> Case:
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, stride if block == 0 else 1))
            channels = 4 * width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
    network = network.to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 224, 224).to(memory_format=torch.channels_last)
    return network, (x,), torch.randint(0, 1000, (8,))


def bert4() -> Case:
    layer = nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True)
    network = nn.Sequential(nn.TransformerEncoder(layer, 4), nn.Linear(768, 2))
    return network, (torch.randn(4, 128, 768),), torch.randint(0, 2, (4 * 128,))


def bert_base() -> Case:
    layer = nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True)
    network = nn.Sequential(nn.Embedding(30522, 768), nn.TransformerEncoder(layer, 12), nn.Linear(768, 2))
    return network, (torch.randint(0, 30522, (4, 128)),), torch.randint(0, 2, (4 * 128,))


def ncf() -> Case:
    users, items, batch = 6040, 3706, 4096
    pairs = torch.randint(0, users, (batch,)), torch.randint(0, items, (batch,))
    return Ncf(users, items), pairs, torch.randint(0, 2, (batch,))


def lstm() -> Case:
    return Lstm(), (torch.randn(32, 25, 512),), torch.randint(0, 1000, (32 * 25,))


CASES: dict[str, Callable[[], Case]] = {f.__name__: f for f in (resnet50, bert4, bert_base, ncf, lstm)}


def stepper(case: Case, bf16: bool) -> Callable[[], None]:
    """Takes a step at each call; the first one allocates."""
    network, inputs, labels = case
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = network(*inputs)
            loss = F.cross_entropy(outputs.reshape(len(labels), -1).float(), labels)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=CASES, action="append", help="all without it")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    rows = []
    for name in a.model or CASES:
        times = timed(stepper(CASES[name](), a.precision == "bf16"), a.steps)
        rows.append({"model": name, "precision": a.precision, "ms": statistics.median(times), "best_ms": min(times)})
        if not a.json:
            print(
                f"{name} {a.precision}: median {rows[-1]['ms']:.1f} ms, best {rows[-1]['best_ms']:.1f} ms", flush=True
            )
    if a.json:
        print(json.dumps({"torch": torch.__version__, "threads": a.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
