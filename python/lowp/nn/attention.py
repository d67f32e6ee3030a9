"""Attention and Transformer layers (Vaswani et al. 2017)."""

from __future__ import annotations

from lowp import errors
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.nn import init
from lowp.nn.layers import Dropout, LayerNorm, Linear, value_of
from lowp.nn.module import Module, Parameter
from lowp.nn.tensor import Tensor


class MultiheadAttention(Module):
    """Several heads of scaled dot-product attention over [N, S, embed_dim] (PyTorch's batch_first=True).

    Parameters are PyTorch's: in_proj_weight [3 * embed_dim, embed_dim] (query, key, value), in_proj_bias, out_proj.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise errors.InvalidArgument(f"embed_dim is {embed_dim}, which {num_heads} heads do not divide")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.in_proj_weight = Parameter(init.xavier_uniform((3 * embed_dim, embed_dim)))
        self.in_proj_bias = Parameter(init.zeros((3 * embed_dim,)), weight_decay=False) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data[...] = 0

    def _projections(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Query, key and value [N, S, embed_dim] through their projections to [N, heads, S, embed_dim / heads]."""
        weight = value_of(self.in_proj_weight)
        bias = None if self.in_proj_bias is None else value_of(self.in_proj_bias)
        if query is key and key is value:
            # One product for all three.
            parts = F.split(F.linear(query, weight, bias), [self.embed_dim] * 3, 2)
        else:
            sizes = [self.embed_dim] * 3
            weights = F.split(weight, sizes, 0)
            biases = [None] * 3 if bias is None else F.split(bias, sizes, 0)
            parts = [F.linear(x, w, c) for x, w, c in zip((query, key, value), weights, biases, strict=True)]
        return [self._split(p) for p in parts]

    def _split(self, y: Tensor) -> Tensor:
        n, s = y.shape[:2]
        size = self.embed_dim // self.num_heads
        known = isinstance(s, int)
        return y.reshape(0 if not isinstance(n, int) else n, s if known else 0, self.num_heads, size).transpose(
            0, 2, 1, 3
        )

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """[N, S, embed_dim] to the same. Without key and value: self-attention. The mask (0 or -inf) is added to scores
        and broadcasts to [N, heads, S, S']."""
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self._projections(query, key, value)
        scores = (q * ((self.embed_dim // self.num_heads) ** -0.5)) @ k.transpose(0, 1, 3, 2)
        if mask is not None:
            scores = scores + mask
        probabilities = F.softmax(scores)
        if self.dropout and self.training:
            probabilities = F.dropout(probabilities, self.dropout)
        context = (probabilities @ v).transpose(0, 2, 1, 3)
        n, s = query.shape[:2]
        merged = context.reshape(n if isinstance(n, int) else 0, s if isinstance(s, int) else 0, self.embed_dim)
        return self.out_proj(merged)

    def describe(self) -> str:
        """Sizes."""
        return f"{self.embed_dim}, {self.num_heads}"


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, each with a residual and a layer normalization.

    Names and arguments are PyTorch's (with batch_first=True).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ("relu", "gelu"):
            raise errors.InvalidArgument(f"activation is '{activation}', relu or gelu is wanted")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.drop = Dropout(dropout)
        self.activation, self.norm_first = activation, norm_first

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.linear1(x)
        hidden = F.gelu(hidden) if self.activation == "gelu" else F.relu(hidden)
        return self.drop(self.linear2(self.drop(hidden)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N, S, d_model] to the same."""
        if self.norm_first:
            x = x + self.drop(self.self_attn(self.norm1(x), mask=mask))
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self.drop(self.self_attn(x, mask=mask)))
        return self.norm2(x + self._feed_forward(x))


class TransformerEncoder(Module):
    """Layers one after another; parameters are named layers.0, layers.1, ..."""

    def __init__(self, layers: list[TransformerEncoderLayer]) -> None:
        super().__init__()
        from lowp.nn.module import ModuleList

        self.layers = ModuleList(layers)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N, S, d_model] to the same."""
        for layer in self.layers:
            x = layer(x, mask)
        return x
