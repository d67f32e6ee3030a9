"""GNMT (Wu et al. 2016, https://arxiv.org/abs/1609.08144): LSTM encoder and decoder with attention, and beam search.

As in the variant that MLPerf trains, attention is asked by the first decoder layer's output of the same step, so that
training computes all steps of a layer at once; attention is additive (Bahdanau et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lowp import nn
from lowp._engine import Engine
from lowp.nn import Tensor
from lowp.nn import functional as F  # noqa: N812 - the usual name

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class GnmtConfig:
    """Sizes; source and target share the vocabulary and its embeddings."""

    vocabulary: int = 32000
    hidden: int = 1024
    encoder_layers: int = 4
    decoder_layers: int = 4
    dropout: float = 0.2


class Encoder(nn.Module):
    """The first layer reads both ways; from the third on, layers have residuals."""

    def __init__(self, c: GnmtConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.drop = nn.Dropout(c.dropout)
        self.first = nn.LSTM(c.hidden, c.hidden, bidirectional=True)
        sizes = [2 * c.hidden] + [c.hidden] * (c.encoder_layers - 2)
        self.rest = nn.ModuleList(nn.LSTM(size, c.hidden) for size in sizes)

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        """Tokens i64 [S, N] and lengths i32 [N] to [S, N, hidden]."""
        x = self.first(self.drop(self.embedding(source)), lengths=lengths)[0]
        for i, layer in enumerate(self.rest):
            y = layer(self.drop(x), lengths=lengths)[0]
            x = y if i == 0 else y + x
        return x


class Attention(nn.Module):
    """v' tanh(Wq q + Wk k), softmax over the source, the mean of the memory by it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """query [T, N, H], memory [S, N, H], mask [N, S], added to scores; context [T, N, H] and weights [N, T, S]."""
        q = self.query(query.transpose(1, 0, 2)).unsqueeze(2)  # [N, T, 1, H]
        k = self.key(memory.transpose(1, 0, 2)).unsqueeze(1)  # [N, 1, S, H]
        scores = self.score(F.tanh(q + k)).squeeze(3) + mask.unsqueeze(1)
        weights = F.softmax(scores)
        return (weights @ memory.transpose(1, 0, 2)).transpose(1, 0, 2), weights


class Decoder(nn.Module):
    """The context joins the input of every layer but the first, and of the classifier."""

    def __init__(self, c: GnmtConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.layers, self.hidden = c.decoder_layers, c.hidden
        self.embedding = embedding
        self.drop = nn.Dropout(c.dropout)
        self.first = nn.LSTM(c.hidden, c.hidden)
        self.attention = Attention(c.hidden)
        self.rest = nn.ModuleList(nn.LSTM(2 * c.hidden, c.hidden) for _ in range(c.decoder_layers - 1))
        self.classifier = nn.Linear(2 * c.hidden, c.vocabulary)

    def forward(self, tokens: Tensor, memory: Tensor, mask: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """Tokens i64 [T, N], states [layers, N, hidden] to scores [T, N, vocabulary], states and weights [N, T, S]."""
        states = [(h[i : i + 1], c[i : i + 1]) for i in range(self.layers)]
        x, (next_h, next_c) = self.first(self.drop(self.embedding(tokens)), states[0])
        ends = [(next_h, next_c)]
        context, weights = self.attention(x, memory, mask)
        for i, layer in enumerate(self.rest):
            y, end = layer(self.drop(F.cat([x, context], 2)), states[i + 1])
            ends.append(end)
            x = y if i == 0 else y + x
        scores = self.classifier(F.cat([x, context], 2))
        if self.layers == 1:
            return scores, *ends[0], weights
        return scores, F.cat([e[0] for e in ends], 0), F.cat([e[1] for e in ends], 0), weights


def padding_mask(lengths: Array, steps: int) -> Array:
    """0 within each length and -1e4 beyond, f32 [N, steps]."""
    return np.where(np.arange(steps)[None] < np.asarray(lengths)[:, None], 0, -1e4).astype(np.float32)


def padded_source(source: Sequence[int] | Array, end: int) -> tuple[Array, Array]:
    """One sentence's tokens i64 [S, 1], padded with `end` to a multiple of 8 so that few shapes occur, and its length
    i32 [1]."""
    tokens = np.full((-(-len(source) // 8) * 8, 1), end, np.int64)
    tokens[: len(source), 0] = source
    return tokens, np.asarray([len(source)], np.int32)


def zero_states(layers: int, batch: int, hidden: int) -> tuple[Array, Array]:
    """h and c of the decoder's first step, f32 [layers, batch, hidden] each."""
    return np.zeros((layers, batch, hidden), np.float32), np.zeros((layers, batch, hidden), np.float32)


class Gnmt(nn.Module):
    """Scores of the target's next tokens, for training."""

    def __init__(self, config: GnmtConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden, 0.1)
        self.encoder = Encoder(config, self.embedding)
        self.decoder = Decoder(config, self.embedding)
        for parameter in self.parameters():
            if parameter is not self.embedding.weight:
                parameter.data[...] = nn.init.uniform(parameter.shape, -0.1, 0.1)

    def initial_states(self, batch: int) -> tuple[Array, Array]:
        """h and c of the decoder's first step: zeros."""
        return zero_states(self.config.decoder_layers, batch, self.config.hidden)

    def forward(self, source: Tensor, lengths: Tensor, mask: Tensor, target: Tensor, h: Tensor, c: Tensor) -> Tensor:
        """Tokens i64 [S, N] and [T, N], lengths i32 [N], mask f32 [N, S], states to scores [T, N, vocabulary]."""
        memory = self.encoder(source, lengths)
        return self.decoder(target, memory, mask, h, c)[0]


def translation_loss(scores: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy with label smoothing of scores [T, N, V] and labels i64 [T, N], a mean by weights f32 [T, N] (which
    are 0 for padding and 1 / tokens for tokens)."""
    v = scores.shape[-1]
    if not isinstance(v, int):
        raise TypeError("the vocabulary's size is not known")
    flat = scores.reshape(-1, v)
    each = F.cross_entropy(flat, labels.reshape(-1), reduction="none")
    if smoothing:
        each = each * (1.0 - smoothing) - F.log_softmax(flat, 1).mean(1) * smoothing
    return (each * weights.reshape(-1)).sum()


def _log_softmax(scores: Array) -> Array:
    top = scores.max(-1, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))


@dataclass
class _Beam:
    tokens: list[int]
    score: float  # sum of log probabilities
    coverage: Array  # [S] attention received so far


class Translator(Protocol):
    """What translate() wants beside a Gnmt."""

    def encoder(self, source: Array, lengths: Array) -> Array:
        """As Encoder.forward()."""

    def decoder(self, tokens: Array, memory: Array, mask: Array, h: Array, c: Array) -> tuple[Array, ...]:
        """As Decoder.forward()."""

    def initial_states(self, batch: int) -> tuple[Array, Array]:
        """As Gnmt's."""


class DeployedGnmt:
    """A Gnmt of two engines, which `lowp train` writes as encoder.lowp and decoder.lowp.

    >>> gnmt = DeployedGnmt(lowp.open("encoder.lowp"), lowp.open("decoder.lowp"))
    >>> words = lowp.data.Subwords.load("subwords.json")
    >>> words.decode(translate(gnmt, words.encode(["A dog runs."])[0], begin=1, end=2))
    """

    def __init__(self, encoder: Engine, decoder: Engine) -> None:
        self._encoder, self._decoder = encoder, decoder
        layers, _, hidden = next(i.shape for i in decoder.inputs if i.name == "h")
        self._layers, self._hidden = int(layers), int(hidden)

    def encoder(self, source: Array, lengths: Array) -> Array:
        """As Encoder.forward()."""
        return next(iter(self._encoder.run({"source": source, "lengths": lengths}).values()))

    def decoder(self, tokens: Array, memory: Array, mask: Array, h: Array, c: Array) -> tuple[Array, ...]:
        """As Decoder.forward()."""
        return tuple(self._decoder.run({"tokens": tokens, "memory": memory, "mask": mask, "h": h, "c": c}).values())

    def initial_states(self, batch: int) -> tuple[Array, Array]:
        """As Gnmt's."""
        return zero_states(self._layers, batch, self._hidden)


def translate(
    model: Translator | Gnmt,
    source: Sequence[int],
    begin: int,
    end: int,
    *,
    beams: int = 5,
    longest: int = 60,
    length_penalty: float = 0.6,
    coverage_penalty: float = 0.1,
) -> list[int]:
    """The most likely translation by beam search, without `begin` and `end`.

    Candidates are ranked by log P / lp + cp with lp = ((5 + length) / 6)^length_penalty and cp = coverage_penalty * sum
    over source positions of log min(attention received, 1) (Wu et al. 2016, section 7).

    Args:
        model: in any mode; computes as in evaluation.
        source: tokens, at least one.
        begin, end: tokens that open and close a sentence.
        beams: candidates kept in each step.
        longest: tokens at most.
    """
    tokens, lengths = padded_source(source, end)
    memory = np.repeat(model.encoder(tokens, lengths), beams, 1)
    mask = np.repeat(padding_mask(lengths, len(tokens)), beams, 0)
    h, c = model.initial_states(beams)
    alive = [_Beam([begin], 0.0 if i == 0 else -np.inf, np.zeros(len(source))) for i in range(beams)]
    done: list[tuple[float, list[int]]] = []

    def rank(beam: _Beam) -> float:
        penalty = ((5 + len(beam.tokens) - 1) / 6) ** length_penalty
        received = np.log(np.clip(beam.coverage, 1e-9, 1.0)).sum()
        return beam.score / penalty + coverage_penalty * received

    for _ in range(longest):
        scores, h, c, weights = model.decoder(np.asarray([[b.tokens[-1] for b in alive]]), memory, mask, h, c)
        log_p = _log_softmax(scores[0].astype(np.float64)) + np.asarray([b.score for b in alive])[:, None]
        best = np.argsort(-log_p, axis=None, kind="stable")[: 2 * beams]
        chosen: list[tuple[int, _Beam]] = []
        for place in best:
            parent, token = divmod(int(place), log_p.shape[1])
            coverage = alive[parent].coverage + weights[parent, 0, : len(source)]
            beam = _Beam([*alive[parent].tokens, token], float(log_p[parent, token]), coverage)
            if not np.isfinite(beam.score):
                continue
            if token == end:
                done.append((rank(beam), beam.tokens[1:-1]))
            elif len(chosen) < beams:
                chosen.append((parent, beam))
        if not chosen or len(done) >= beams:
            break
        while len(chosen) < beams:
            chosen.append((chosen[0][0], _Beam(chosen[0][1].tokens, -np.inf, chosen[0][1].coverage)))
        parents = [p for p, _ in chosen]
        alive = [b for _, b in chosen]
        h, c = np.ascontiguousarray(h[:, parents]), np.ascontiguousarray(c[:, parents])
    if not done:
        done = [(rank(b), b.tokens[1:]) for b in alive if np.isfinite(b.score)]
    return max(done)[1]
