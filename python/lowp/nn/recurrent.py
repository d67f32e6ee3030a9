"""LSTM and GRU layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.nn import init
from lowp.nn._trace import active
from lowp.nn.layers import value_of
from lowp.nn.module import Module, Parameter
from lowp.nn.tensor import Tensor

# Where each gate of ONNX's order lies in PyTorch's.
_FROM_TORCH = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def gates_from_torch(kind: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A weight or bias [gates * hidden, ...] of PyTorch's LSTM (i, f, g, o) or GRU (r, z, n) in this module's order.

    Args:
        kind: "LSTM" or "GRU".
        array: weight_ih, weight_hh, bias_ih or bias_hh.
    """
    order = _FROM_TORCH[kind]
    parts = np.split(np.asarray(array), len(order))
    return np.concatenate([parts[i] for i in order])


class _Recurrent(Module):
    """What LSTM and GRU share.

    Parameters of layer k are named as in PyTorch (weight_ih_l0, ..., weight_ih_l0_reverse), with the gates in ONNX's
    order: i, o, f, c for LSTM, z, r, h for GRU; :func:`gates_from_torch` converts.
    """

    kind = ""
    gates = 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.has_bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.directions = 2 if bidirectional else 1
        bound = hidden_size**-0.5
        rows = self.gates * hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * self.directions
            for suffix in self._suffixes(layer):
                setattr(self, "weight_ih" + suffix, Parameter(init.uniform((rows, inputs), -bound, bound)))
                setattr(self, "weight_hh" + suffix, Parameter(init.uniform((rows, hidden_size), -bound, bound)))
                if bias:
                    for name in ("bias_ih", "bias_hh"):
                        values = init.uniform((rows,), -bound, bound)
                        setattr(self, name + suffix, Parameter(values, weight_decay=False))

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}" + ("_reverse" if d else "") for d in range(self.directions)]

    def _stacked(self, name: str, layer: int) -> Tensor:
        """The parameter of all directions: [directions, ...]."""
        parts = [value_of(getattr(self, name + suffix)).unsqueeze(0) for suffix in self._suffixes(layer)]
        return parts[0] if len(parts) == 1 else F.cat(parts, 0)

    def forward(self, x: Tensor, state: Any = None, lengths: Tensor | None = None) -> Any:
        """x [S, B, input_size] to y [S, B, directions * hidden_size] and the state; batch_first: [B, S, ...] both.

        state: the initial h (GRU), or (h, c) (LSTM), each [num_layers * directions, B, hidden_size]; without: zeros.
        lengths: [B] i32, steps of each item; y is 0 beyond.
        """
        tracer = active()
        if self.batch_first:
            x = x.transpose(1, 0, 2)
        states = list(state) if isinstance(state, (tuple, list)) else [state] if state is not None else []
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            operands: list[Tensor | None] = [x, self._stacked("weight_ih", layer), self._stacked("weight_hh", layer)]
            biases = [self._stacked(n, layer) for n in ("bias_ih", "bias_hh")] if self.has_bias else []
            operands.append(F.cat(biases, 1) if biases else None)
            operands.append(lengths)
            first = layer * self.directions
            operands += [s[first : first + self.directions] for s in states]
            while operands[-1] is None:
                operands.pop()
            attributes: dict[str, Any] = {
                "hidden_size": self.hidden_size,
                "direction": "bidirectional" if self.directions == 2 else "forward",
            }
            if self.kind == "GRU":
                attributes["linear_before_reset"] = 1
            y, *ends = tracer.op(
                self.kind, operands, attributes, outputs=3 if self.kind == "LSTM" else 2, node_name=f"layer{layer}"
            )
            last.append(ends)
            # [S, directions, B, hidden] to [S, B, directions * hidden]
            if self.directions == 1:
                x = y.squeeze(1)
            else:
                x = F.cat([part.squeeze(1) for part in F.split(y, [1, 1], 1)], 2)
        ends = [layers[0] if self.num_layers == 1 else F.cat(layers, 0) for layers in zip(*last, strict=True)]
        if self.batch_first:
            x = x.transpose(1, 0, 2)
        return x, tuple(ends) if self.kind == "LSTM" else ends[0]

    def describe(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), several layers, one or two directions."""

    kind = "LSTM"
    gates = 4


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014), with the reset gate applied after the product, as in PyTorch."""

    kind = "GRU"
    gates = 3
