"""Quantization-aware training: a network learns with the rounding that INT8 will bring (Jacob et al. 2018).

>>> trainer = lowp.Trainer(model, loss, optimizer, qat=lowp.quant.Qat())
>>> ...  # train
>>> model.freeze_batch_norm()
>>> trainer.freeze_observers()
>>> ...  # train a little more
>>> engine = lowp.compile(trainer.export(example), precision="int8")  # no calibration: the ranges are part of it
"""

from __future__ import annotations

from dataclasses import dataclass

from lowp import _core, errors


@dataclass(frozen=True)
class Qat:
    """How training rounds: weights to eight bits with a scale for each output channel, activations to u8 with ranges
    that follow the data.

    Attributes:
        activation_bits: 8, or 7, which is faster on CPUs without VNNI.
        momentum: what one batch's extremes count for in a range.
        frozen: ranges stay as they are.
        equalize: the channels of transformers' activations are divided by scales that follow the data, and their
            weights multiplied by them, so that a few large ones do not leave the others too few steps (SmoothQuant,
            Xiao et al. 2023). It costs the engine nothing.
        exclude: layers that stay float: paths of modules ("layer1.0.conv1"; "layer1" is all in it), or names of nodes.
    """

    activation_bits: int = 8
    momentum: float = 0.1
    frozen: bool = False
    exclude: tuple[str, ...] = ()
    equalize: bool = True

    def __post_init__(self) -> None:
        if self.activation_bits not in (7, 8):
            raise errors.InvalidArgument(f"activation_bits is {self.activation_bits}; 7 or 8 is wanted")
        if not 0 < self.momentum <= 1:
            raise errors.InvalidArgument(f"momentum is {self.momentum}; above 0 to 1 is wanted")
        object.__setattr__(self, "exclude", tuple(self.exclude))

    def apply(self, graph: _core.Graph, *, observe: bool) -> list[str]:
        """Makes a traced graph round; names of the states that hold ranges."""
        levels = 2**self.activation_bits - 1
        observe = observe and not self.frozen
        names = graph.fake_quantize(levels, self.momentum, observe, self.equalize, list(self.exclude))
        return list(names)
