"""PyTorch's losses of the models of tests/train/loss_models.py, for lowp's test: tests/train/losses/MODEL.json.

    bench/setup_torch.sh build/torch-venv && build/torch-venv/bin/python bench/training/torch_losses.py [--check]

Each file has the losses of the first 50 steps in FP32 and, to tell rounding from mistakes, in FP64. --check compares
with the committed files and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "train"))

import loss_models as lm  # noqa: E402

LOSSES = ROOT / "tests" / "train" / "losses"


class Block(nn.Module):
    """A bottleneck."""

    def __init__(self, inputs: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        outputs = width * lm.RESNET["expansion"]
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if first:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, h: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(h))))))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(h) if hasattr(self, "downsample") else h))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c, channels = lm.RESNET, lm.RESNET["stem"]
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        stages = zip(c["widths"], c["blocks"], c["strides"], strict=True)
        for stage, (width, blocks, stride) in enumerate(stages, 1):
            made = []
            for block in range(blocks):
                made.append(Block(channels, width, stride if block == 0 else 1, block == 0))
                channels = width * c["expansion"]
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.fc = nn.Linear(channels, c["classes"])

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.layer3(self.layer2(self.layer1(h)))
        return F.cross_entropy(self.fc(h.mean((2, 3))), label)


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        n, s, width = h.shape
        q, k, v = (f(h).reshape(n, s, lm.BERT["heads"], -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(mask[:, None, None] == 0, -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, s, width)


class AddNorm(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, width), nn.LayerNorm(width, 1e-12)

    def forward(self, y: Tensor, h: Tensor) -> Tensor:
        return self.LayerNorm(h + self.dense(y))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width, inner = lm.BERT["hidden"], lm.BERT["inner"]
        self.attention = nn.ModuleDict({"self": SelfAttention(width), "output": AddNorm(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = AddNorm(inner, width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        h = self.attention["output"](self.attention["self"](h, mask), h)
        return self.output(F.gelu(self.intermediate["dense"](h)), h)


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c = lm.BERT
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(c["words"], c["hidden"]),
                "position_embeddings": nn.Embedding(c["length"], c["hidden"]),
                "token_type_embeddings": nn.Embedding(c["types"], c["hidden"]),
                "LayerNorm": nn.LayerNorm(c["hidden"], 1e-12),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(c["layers"]))})
        self.qa_outputs = nn.Linear(c["hidden"], 2)

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor, start: Tensor, end: Tensor
    ) -> Tensor:
        e = self.embeddings
        h = e["word_embeddings"](input_ids) + e["position_embeddings"].weight
        h = e["LayerNorm"](h + e["token_type_embeddings"](token_type_ids))
        for layer in self.encoder["layer"]:
            h = layer(h, attention_mask)
        logits = self.qa_outputs(h)
        return (F.cross_entropy(logits[..., 0], start) + F.cross_entropy(logits[..., 1], end)) / 2


class Attention(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.v = nn.Parameter(torch.zeros(1, hidden))

    def forward(self, q: Tensor, memory: Tensor) -> Tensor:
        scores = torch.tanh(self.query(q)[:, :, None] + self.key(memory)[:, None]) @ self.v[0]
        return scores.softmax(-1) @ memory


class Gnmt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        words, hidden = lm.GNMT["words"], lm.GNMT["hidden"]

        def lstm(inputs: int, both: bool = False) -> nn.LSTM:
            return nn.LSTM(inputs, hidden, batch_first=True, bidirectional=both)

        self.encoder = nn.ModuleDict(
            {"embedding": nn.Embedding(words, hidden), "layer0": lstm(hidden, True), "layer1": lstm(2 * hidden)}
        )
        self.decoder = nn.ModuleDict(
            {
                "embedding": nn.Embedding(words, hidden),
                "layer0": lstm(hidden),
                "attention": Attention(hidden),
                "layer1": lstm(2 * hidden),
                "classifier": nn.Linear(hidden, words),
            }
        )

    def forward(self, source: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        e, d = self.encoder, self.decoder
        memory = e["layer1"](e["layer0"](e["embedding"](source))[0])[0]
        q = d["layer0"](d["embedding"](target_in))[0]
        context = d["attention"](q, memory)
        logits = d["classifier"](d["layer1"](torch.cat([q, context], -1))[0])
        return F.cross_entropy(logits.flatten(0, 1), target_out.flatten(), ignore_index=0)


class NeuMF(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        c = lm.NEUMF
        self.mf_user_embed, self.mf_item_embed = (nn.Embedding(c[n], c["factors"]) for n in ("users", "items"))
        self.mlp_user_embed, self.mlp_item_embed = (nn.Embedding(c[n], c["layers"][0] // 2) for n in ("users", "items"))
        self.mlp = nn.ModuleList(nn.Linear(i, o) for i, o in zip(c["layers"], c["layers"][1:], strict=False))
        self.final = nn.Linear(c["factors"] + c["layers"][-1], 1)

    def forward(self, user: Tensor, item: Tensor, label: Tensor) -> Tensor:
        a = self.mf_user_embed(user) * self.mf_item_embed(item)
        b = torch.cat([self.mlp_user_embed(user), self.mlp_item_embed(item)], -1)
        for dense in self.mlp:
            b = F.relu(dense(b))
        return F.binary_cross_entropy_with_logits(self.final(torch.cat([a, b], -1))[:, 0], label)


NETWORKS = {"resnet": ResNet, "bert": Bert, "gnmt": Gnmt, "neumf": NeuMF}


def losses(model: lm.LossModel, dtype: torch.dtype) -> list[float]:
    """Of the first steps, each before its update."""
    network = NETWORKS[model.name]()
    weights = model.weights()
    named = dict(network.named_parameters())
    if {n: tuple(p.shape) for n, p in named.items()} != {n: w.shape for n, w in weights.items()}:
        raise SystemExit(f"{model.name}: PyTorch's parameters are not those of loss_models.py")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(weights[name]))
    network = network.to(dtype).train()
    options: dict[str, Any] = dict(model.optimizer)
    optimizer = getattr(torch.optim, options.pop("name"))(network.parameters(), **options)
    result = []
    for step in range(lm.STEPS):
        batch = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in model.batch(step).items()}
        batch = {n: t.to(dtype) if t.is_floating_point() else t for n, t in batch.items()}
        optimizer.zero_grad()
        loss = network(**batch)
        loss.backward()
        optimizer.step()
        result.append(loss.item())
    return result


def difference(a: list[float], b: list[float]) -> float:
    """The largest relative one."""
    return max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    for name, model in lm.MODELS.items():
        single, double = losses(model, torch.float32), losses(model, torch.float64)
        line = f"{name}: loss {single[0]:.4f} to {single[-1]:.4f}, FP32 from FP64 {difference(single, double):.1e}"
        path = LOSSES / f"{name}.json"
        if check:
            line += f", from the file {difference(single, json.loads(path.read_text())['losses']):.1e}"
        else:
            command = (
                "bench/setup_torch.sh build/torch-venv && build/torch-venv/bin/python bench/training/torch_losses.py"
            )
            content = {
                "command": command,
                "torch": torch.__version__,
                "parameters": sum(w.size for w in model.weights().values()),
                "losses": single,
                "losses_float64": double,
            }
            LOSSES.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=1) + "\n")
        print(line)


if __name__ == "__main__":
    main()
