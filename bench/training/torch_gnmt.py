"""GNMT in PyTorch, trained on the batches that versus_torch_bleu.py writes.

    build/torch-venv/bin/python bench/training/torch_gnmt.py FOLDER [--threads 1]

FOLDER has plan.json (sizes, rates of each step, clipping, smoothing), initial.npz (weights, by lowp's names) and
batches.npz; trained.npz is written. Network and optimizer are those of lowp.train.models.gnmt
and the recipe; random numbers of dropout differ.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def over_words(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """[S, N, inputs] to [S, N, outputs], 0 beyond each length."""
    packed = lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
    return pad_packed_sequence(packed, total_length=x.shape[0])[0]


class Encoder(nn.Module):
    """The first layer reads both ways; from the third on, layers have residuals."""

    def __init__(self, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.first = nn.LSTM(hidden, hidden, bidirectional=True)
        sizes = [2 * hidden] + [hidden] * (layers - 2)
        self.rest = nn.ModuleList(nn.LSTM(size, hidden) for size in sizes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = over_words(self.first, self.drop(x), lengths)
        for i, layer in enumerate(self.rest):
            y = over_words(layer, self.drop(x), lengths)
            x = y if i == 0 else y + x
        return x


class Attention(nn.Module):
    """Additive."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        q, k = self.query(query.transpose(0, 1)), self.key(memory.transpose(0, 1))
        scores = self.score(torch.tanh(q[:, :, None] + k[:, None]))[..., 0] + mask[:, None]
        return (scores.softmax(-1) @ memory.transpose(0, 1)).transpose(0, 1)


class Decoder(nn.Module):
    """The context joins the input of every layer but the first, and of the classifier."""

    def __init__(self, hidden: int, layers: int, dropout: float, words: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.first, self.attention = nn.LSTM(hidden, hidden), Attention(hidden)
        self.rest = nn.ModuleList(nn.LSTM(2 * hidden, hidden) for _ in range(layers - 1))
        self.classifier = nn.Linear(2 * hidden, words)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = self.first(self.drop(x))[0]
        context = self.attention(x, memory, mask)
        for i, layer in enumerate(self.rest):
            y = layer(self.drop(torch.cat([x, context], 2)))[0]
            x = y if i == 0 else y + x
        return self.classifier(torch.cat([x, context], 2))


class Gnmt(nn.Module):
    """Scores [T, N, words]."""

    def __init__(self, words: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.encoder = Encoder(hidden, layers, dropout)
        self.decoder = Decoder(hidden, layers, dropout, words)

    def forward(self, source: Tensor, lengths: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        memory = self.encoder(self.embedding(source), lengths)
        return self.decoder(self.embedding(target), memory, mask)


def train(folder: Path) -> dict[str, Any]:
    """Milliseconds of a step (median) and the last epoch's mean loss."""
    plan = json.loads((folder / "plan.json").read_text())
    torch.manual_seed(plan["seed"])
    network = Gnmt(plan["words"], plan["hidden"], plan["layers"], plan["dropout"]).train()
    initial = np.load(folder / "initial.npz")
    named = dict(network.named_parameters())
    if named.keys() != set(initial.files):
        raise SystemExit(f"PyTorch's parameters are {sorted(named)}, the file's {sorted(initial.files)}")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(initial[name]))
    optimizer = torch.optim.Adam(network.parameters(), lr=1.0, betas=tuple(plan["betas"]), eps=plan["eps"])
    batches, times, losses = np.load(folder / "batches.npz"), [], []
    for step, rate in enumerate(plan["rates"]):
        names = ("source", "lengths", "mask", "target", "labels", "weights")
        b = {n: torch.from_numpy(batches[f"{step}.{n}"]) for n in names}
        begin = time.perf_counter()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        scores = network(b["source"].long(), b["lengths"].long(), b["mask"], b["target"].long()).flatten(0, 1)
        each = F.cross_entropy(
            scores, b["labels"].long().flatten(), reduction="none", label_smoothing=plan["label_smoothing"]
        )
        loss = (each * b["weights"].flatten()).sum()
        loss.backward()
        if plan["clip_norm"]:
            nn.utils.clip_grad_norm_(network.parameters(), plan["clip_norm"])
        optimizer.step()
        losses.append(loss.item())
        times.append(1e3 * (time.perf_counter() - begin))
        if step % 100 == 0:
            print(f"step {step} of {len(plan['rates'])}: loss {losses[-1]:.3f}", flush=True)
    np.savez(folder / "trained.npz", **{n: p.detach().numpy() for n, p in network.named_parameters()})
    return {"median_ms": float(np.median(times)), "loss": float(np.mean(losses[-plan["steps_an_epoch"] :]))}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(train(options.folder)))


if __name__ == "__main__":
    main()
