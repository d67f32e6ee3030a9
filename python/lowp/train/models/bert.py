"""BERT (Devlin et al. 2019) and its head for question answering: the begin and end of the answer's span.

Names of parameters are those of Hugging Face's BertForQuestionAnswering, so that packaged weights load.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowp import nn
from lowp.nn import Tensor
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.nn._trace import active


@dataclass(frozen=True)
class BertConfig:
    """Sizes; the defaults are BERT-base's."""

    vocabulary: int = 30522
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    positions: int = 512
    types: int = 2
    dropout: float = 0.1
    eps: float = 1e-12


class Embeddings(nn.Module):
    """Words, positions and types, normalized."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocabulary, c.hidden, 0.02)
        self.position_embeddings = nn.Embedding(c.positions, c.hidden, 0.02)
        self.token_type_embeddings = nn.Embedding(c.types, c.hidden, 0.02)
        self.LayerNorm = nn.LayerNorm(c.hidden, c.eps)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        """[N, S] to [N, S, hidden]."""
        length = ids.shape[1]
        if isinstance(length, int):
            positions = active().constant(np.arange(length)[None])
        else:  # a free length: counted from the ids' shape
            ones = active().op("CumSum", [ids * 0 + 1, active().constant(np.int64(1))])[0]
            positions = ones - 1
        x = self.word_embeddings(ids) + self.position_embeddings(positions) + self.token_type_embeddings(types)
        return self.drop(self.LayerNorm(x))


class _Names(nn.Module):
    """Parts under the names that packaged weights have, without a forward() of its own."""


class Layer(nn.Module):
    """Self-attention and a feed-forward network."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.heads, self.size = c.heads, c.hidden // c.heads
        self.attention = _Names()
        self.attention.self = _Names()
        for name in ("query", "key", "value"):
            setattr(self.attention.self, name, nn.Linear(c.hidden, c.hidden))
        self.attention.output = _Names()
        self.attention.output.dense = nn.Linear(c.hidden, c.hidden)
        self.attention.output.LayerNorm = nn.LayerNorm(c.hidden, c.eps)
        self.intermediate = _Names()
        self.intermediate.dense = nn.Linear(c.hidden, c.intermediate)
        self.output = _Names()
        self.output.dense = nn.Linear(c.intermediate, c.hidden)
        self.output.LayerNorm = nn.LayerNorm(c.hidden, c.eps)
        self.drop = nn.Dropout(c.dropout)

    def _split(self, x: Tensor) -> Tensor:
        n, s = x.shape[:2]
        shape = (n if isinstance(n, int) else 0, s if isinstance(s, int) else 0, self.heads, self.size)
        return x.reshape(*shape).transpose(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[N, S, hidden] with the mask [N, 1, 1, S] added to the scores."""
        own = self.attention.self
        q, k, v = (self._split(getattr(own, name)(x)) for name in ("query", "key", "value"))
        scores = (q @ k.transpose(0, 1, 3, 2)) * (self.size**-0.5) + mask
        context = (self.drop(F.softmax(scores)) @ v).transpose(0, 2, 1, 3)
        n, s = x.shape[:2]
        merged = context.reshape(n if isinstance(n, int) else 0, s if isinstance(s, int) else 0, self.heads * self.size)
        out = self.attention.output
        x = out.LayerNorm(x + self.drop(out.dense(merged)))
        hidden = F.gelu(self.intermediate.dense(x))
        return self.output.LayerNorm(x + self.drop(self.output.dense(hidden)))


class Bert(nn.Module):
    """Vectors of tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = _Names()
        self.encoder.layer = nn.ModuleList(Layer(config) for _ in range(config.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.weight.data[...] = nn.init.normal(module.weight.shape, 0.02)
                module.bias.data[...] = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """i64 [N, S] each to [N, S, hidden]; the attention mask is 1 for tokens and 0 for padding."""
        x = self.embeddings(input_ids, token_type_ids)
        # 0 for tokens, -1e4 for padding: far below any score, and finite in 16 bits.
        mask = ((attention_mask.astype(np.float32) - 1.0) * 1e4).unsqueeze(1, 2)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return x


class BertForSpans(nn.Module):
    """Scores of each token as the begin and as the end of the answer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Bert(config)
        self.qa_outputs = nn.Linear(config.hidden, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> dict[str, Tensor]:
        """ "start" and "end", [N, S] each."""
        scores = self.qa_outputs(self.bert(input_ids, attention_mask, token_type_ids))
        start, end = F.split(scores, [1, 1], 2)
        return {"start": start.squeeze(2), "end": end.squeeze(2)}


def span_loss(outputs: dict[str, Tensor], start: Tensor, end: Tensor) -> Tensor:
    """Mean of the cross-entropies of both positions (i64 [N])."""
    return (F.cross_entropy(outputs["start"], start) + F.cross_entropy(outputs["end"], end)) * 0.5
