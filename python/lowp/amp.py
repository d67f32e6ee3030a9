"""Mixed precision: 16-bit activations and gradients with f32 master weights (Micikevicius et al. 2018).

``lowp.Trainer(..., precision="bf16")`` is all that most need. Which ops compute in 16 bits is data:

>>> lists = amp.lists_with(deny=["Tanh"])
>>> trainer = lowp.Trainer(model, loss, optimizer, precision="bf16", lists=lists)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lowp import _core, errors


def default_lists() -> dict[str, list[str]]:
    """``allow``: ops that take 16-bit operands; ``deny``: that take f32; ``follow``: that take what activations are.

    Ops in no list take f32.
    """
    return dict(json.loads(_core.precision_lists()))


def lists_with(allow: Sequence[str] = (), deny: Sequence[str] = (), follow: Sequence[str] = ()) -> dict[str, list[str]]:
    """The default lists with some ops moved into the list they are given for.

    Raises:
        InvalidArgument: an unknown op, or one in two lists.
    """
    moved = {"allow": list(allow), "deny": list(deny), "follow": list(follow)}
    elsewhere = {op for ops in moved.values() for op in ops}
    lists = {name: [op for op in ops if op not in elsewhere] + moved[name] for name, ops in default_lists().items()}
    return dict(json.loads(_core.precision_lists(json.dumps(lists))))


@dataclass(frozen=True)
class LossScale:
    """How the loss is scaled, so that small gradients do not vanish in FP16.

    Attributes:
        mode: none, static or dynamic. Dynamic: a step whose gradients are not finite is skipped and lowers the scale by
            `backoff`, not below `floor`; `interval` good steps in a row raise it by `growth`, not above `ceiling`.
        initial: the scale of the first step.
    """

    mode: str = "dynamic"
    initial: float = 65536.0
    growth: float = 2.0
    backoff: float = 0.5
    interval: int = 2000
    floor: float = 1.0
    ceiling: float = 2.0**24

    def options(self) -> dict[str, Any]:
        """As the core takes them."""
        return self.__dict__.copy()


def loss_scale_of(choice: LossScale | float | str | None, precision: str) -> LossScale:
    """From what users write: None (dynamic for fp16, else none), "dynamic", "none", or a number (static)."""
    if isinstance(choice, LossScale):
        return choice
    if choice is None:
        choice = "dynamic" if precision == "fp16" else "none"
    if choice in ("dynamic", "none"):
        return LossScale(mode=str(choice))
    if isinstance(choice, (int, float)) and choice > 0:
        return LossScale(mode="static", initial=float(choice))
    raise errors.InvalidArgument(f"loss_scale is {choice!r}; dynamic, none or a number above 0 is wanted")
