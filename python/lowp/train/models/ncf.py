"""NeuMF (He et al., Neural Collaborative Filtering, 2017): a product of embeddings beside a network over others."""

from __future__ import annotations

from collections.abc import Sequence

from lowp import nn
from lowp.nn import Tensor
from lowp.nn import functional as F  # noqa: N812 - the usual name


class NeuMF(nn.Module):
    """Scores (logits) of pairs of a user and an item.

    Args:
        users, items: sizes of the tables.
        factors: width of the product's embeddings.
        layers: widths of the network: the first is that of both its embeddings together.
        outputs: 1, or 2 for a softmax over no and yes.
    """

    def __init__(
        self, users: int, items: int, factors: int = 64, layers: Sequence[int] = (256, 256, 128, 64), outputs: int = 1
    ) -> None:
        super().__init__()
        self.mf_user, self.mf_item = nn.Embedding(users, factors, 0.01), nn.Embedding(items, factors, 0.01)
        half = layers[0] // 2
        self.mlp_user, self.mlp_item = nn.Embedding(users, half, 0.01), nn.Embedding(items, half, 0.01)
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in zip(layers, layers[1:], strict=False))
        self.output = nn.Linear(factors + layers[-1], outputs)
        self.outputs = outputs

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """i64 [N] each to [N], or [N, outputs]."""
        product = self.mf_user(user) * self.mf_item(item)
        x = F.cat([self.mlp_user(user), self.mlp_item(item)], 1)
        for layer in self.mlp:
            x = F.relu(layer(x))
        scores = self.output(F.cat([product, x], 1))
        return scores.squeeze(1) if self.outputs == 1 else scores
