"""The trainer: a model, a loss and an optimizer as one compiled step."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowp import _core, errors
from lowp._arrays import tensor_infos
from lowp._model import Model
from lowp.amp import LossScale, loss_scale_of
from lowp.nn._run import Array, Program, Programs, as_arrays, call, named_outputs, signature, to_model
from lowp.nn._trace import Tracer, state_buffer, tracing
from lowp.nn.module import Buffer, Module, aligned_empty
from lowp.nn.tensor import Tensor
from lowp.optim import Optimizer
from lowp.quant import Qat
from lowp.train.logs import EarlyStopping, ProgressLog
from lowp.train.parallel import DataParallel, Group

_CORE_DTYPE = {"bf16": "bf16", "fp16": "f16"}
# Inputs and outputs of the step beside the user's.
_RESERVED = ("learning_rate", "seed", "random_step")

Loss = Callable[..., Tensor]


def model_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Of what :meth:`Trainer.state_dict` gave, or a checkpoint of it has: the model's arrays by name."""
    return {n: a for n, a in state.items() if not n.startswith(("optimizer:", "trainer:"))}


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise errors.InvalidArgument(f"a batch is {type(batch).__name__}, a pair of inputs and targets is wanted")
    return batch[0], batch[1]


def _place(kind: str, index: int) -> list[int]:
    """Where element number `index` of a tensor "f32[16,12]" is."""
    extents = [int(n) for n in re.findall(r"\d+", kind.partition("[")[2])]
    return [int(i) for i in np.unravel_index(index, extents)] if extents else []


@dataclass(frozen=True)
class StepResult:
    """What one step gave.

    Attributes:
        loss: before scaling; with several ranks the mean of theirs.
        gradient_norm: of all gradients, before clipping; infinite where the step was skipped.
        skipped: whether gradients were not finite, so that nothing changed but the loss scale.
        learning_rate: of this step.
        loss_scale: of this step; 1 without scaling.
        outputs: what the model gave, where they were asked for.
    """

    loss: float
    gradient_norm: float
    skipped: bool
    learning_rate: float
    loss_scale: float
    outputs: dict[str, Array]


class Trainer:
    """Trains a model.

    Args:
        model: its parameters' arrays are trained in place.
        loss: from what the model returns and the targets to a scalar: ``nn.CrossEntropyLoss()``, or any function of
            symbolic tensors.
        optimizer: see :mod:`lowp.optim`.
        precision: fp32, bf16 or fp16: of activations and their gradients. Weights, their gradients and the optimizer's
            states are f32.
        clip_norm: largest norm of all gradients together; 0: any.
        loss_scale: None (dynamic for fp16, else none), "dynamic", "none", a number, or :class:`lowp.amp.LossScale`.
        lists: instead of :func:`lowp.amp.default_lists`.
        qat: quantization-aware training, see :mod:`lowp.quant`; may be set between steps too.
        threads: 0: all that the process may use.
        seed: of dropout and other random ops.
        data_parallel: this process is one of several that train the model together, each with a batch of its own: all
            take the same step with the mean of their gradients. The model becomes rank 0's; a step must be taken by
            all. Dropout differs by rank.
        max_skipped: this many skipped steps in a row end training with :class:`lowp.errors.NonFinite`.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        precision: str = "fp32",
        clip_norm: float = 0.0,
        loss_scale: LossScale | float | str | None = None,
        lists: Mapping[str, list[str]] | None = None,
        qat: Qat | None = None,
        threads: int = 0,
        seed: int = 0,
        data_parallel: DataParallel | None = None,
        max_skipped: int = 50,
        profile: bool = False,
    ) -> None:
        if precision not in ("fp32", "bf16", "fp16"):
            raise errors.InvalidArgument(f"precision is '{precision}'; fp32, bf16 or fp16 is wanted")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.precision = precision
        self.clip_norm = clip_norm
        self.loss_scale = loss_scale_of(loss_scale, precision)
        self.lists = lists
        self.qat = qat
        self.threads, self.seed, self.max_skipped = threads, seed, max_skipped
        self.data_parallel = data_parallel
        self.group = data_parallel.group if data_parallel else Group()
        for _, state in model.named_states():
            self.group.broadcast_into(state.data)
        self.steps_run = 0  # skipped ones included; keys random ops
        self._skipped_in_row = 0
        self._profile = profile
        self._programs = Programs()
        # The optimizer's states and the step's counters, by name; made when the first step is compiled.
        self._states: dict[str, Array] = {}
        self._pending: dict[str, Array] = {}
        self.trained: list[str] = []

    # ---- one step

    def step(self, inputs: Any, targets: Any = (), *, outputs: bool = False) -> StepResult:
        """One step of the optimizer on one batch.

        Args:
            inputs: an array, a tuple of arrays (the model's arguments in order), or a dict (by name).
            targets: likewise, for the loss, after what the model returns.
            outputs: also give what the model computed.

        Raises:
            NonFinite: the loss or a gradient is not finite, and no dynamic loss scale can mend it.
        """
        given = as_arrays(inputs, "input")
        wanted = as_arrays(targets, "target")
        program = self._program(inputs, targets, given, wanted, outputs)
        rate = self.optimizer.rate(self.steps_taken)
        feeds = {
            **given,
            **wanted,
            "learning_rate": np.float32(rate),
            "seed": np.int64(self.seed),
            # Another for each rank and step; alone, the step.
            "random_step": np.int64(self.steps_run * self.group.ranks + self.group.rank),
        }
        scale = float(self._states["loss_scale"]) if "loss_scale" in self._states else 1.0
        feeds = {i.name: np.asarray(feeds[i.name]) for i in program.inputs}
        results = program.run(feeds)
        skipped = int(results.pop("nonfinite")) >= 0
        result = StepResult(
            loss=self.group.mean(float(results.pop("loss"))),
            gradient_norm=float(results.pop("gradient_norm")),
            skipped=skipped,
            learning_rate=rate,
            loss_scale=scale,
            outputs=results,
        )
        self._skipped_in_row = self._skipped_in_row + 1 if skipped else 0
        if skipped and (self.loss_scale.mode != "dynamic" or self._skipped_in_row >= self.max_skipped):
            raise errors.NonFinite(self._explain(program, feeds, result))
        self.steps_run += 1
        return result

    @property
    def steps_taken(self) -> int:
        """Steps that changed the weights."""
        return int(self._state("step"))

    @property
    def steps_skipped(self) -> int:
        """Steps whose gradients were not finite."""
        return int(self._state("skipped_steps"))

    def _state(self, name: str) -> Any:
        return self._states.get(name, self._pending.get(name, 0))

    def _explain(self, program: Program, feeds: Mapping[str, Array], result: StepResult) -> str:
        from lowp.nn._trace import buffer_of

        where = "a gradient is not finite"
        found = program.core.find_nonfinite([buffer_of(feeds[i.name]) for i in program.inputs])
        if found is not None:
            node, op, value, kind, index, count, element = found
            source = f"computed by {op} '{node}'" if node else "an input of the step, or a weight"
            place = _place(kind, index)
            where = f"'{value}' ({kind}), {source}, has {count} such elements, the first is {element} at {place}"
        steps = f"{self._skipped_in_row} steps in a row" if self._skipped_in_row > 1 else "this step"
        return (
            f"step {self.steps_run} (seed {self.seed}, loss {result.loss}, loss scale {result.loss_scale:g}) is not"
            f" finite: {where}; {steps} changed nothing"
        )

    def evaluate(self, batches: Iterable[Any]) -> float:
        """The mean loss over pairs of inputs and targets as :meth:`step` takes them, computed in f32 as in evaluation:
        nothing drops, and nothing changes. Batches count by their first extent."""
        total, count = 0.0, 0
        for batch in batches:
            inputs, targets = _pair(batch)
            given, wanted = as_arrays(inputs, "input"), as_arrays(targets, "target")
            program = self._evaluation_program(inputs, targets, given, wanted)
            arrays = given | wanted
            samples = next((len(a) for a in arrays.values() if a.ndim), 1)
            total += float(program.run({i.name: arrays[i.name] for i in program.inputs})["loss"]) * samples
            count += samples
        if count == 0:
            raise errors.InvalidArgument("there is nothing to evaluate")
        return total / count

    def fit(
        self,
        batches: Iterable[Any],
        epochs: int = 1,
        *,
        validation: Iterable[Any] | Callable[[], float] | None = None,
        early_stopping: EarlyStopping | None = None,
        callback: Callable[[int, dict[str, float]], None] | None = None,
        progress: bool = True,
    ) -> list[dict[str, float]]:
        """Epochs of steps.

        Args:
            batches: iterated once an epoch; gives pairs of inputs and targets as :meth:`step` takes them, for instance
                a :class:`lowp.data.Loader` of (images, labels).
            epochs: at most.
            validation: after each epoch: such pairs, whose mean loss is computed, or a function that gives a figure.
            early_stopping: follows the validation's figure (without validation: the epoch's loss).
            callback: takes the epoch, from 0, and its figures.
            progress: a bar on standard error, where that is a terminal.

        Returns:
            Figures of each epoch: "loss" (mean of its steps, skipped ones left out), "seconds", and "validation".
        """
        history: list[dict[str, float]] = []
        steps = len(batches) * epochs if isinstance(batches, Sized) else None
        with contextlib.closing(ProgressLog(steps, enabled=progress)) as bar:
            done = 0
            for epoch in range(epochs):
                before, begin, losses = done, time.monotonic(), []
                for batch in batches:
                    result = self.step(*_pair(batch))
                    if not result.skipped:
                        losses.append(result.loss)
                    bar.log(done, {"epoch": epoch + 1, "loss": result.loss})
                    done += 1
                if done == before:
                    raise errors.InvalidArgument(
                        f"epoch {epoch} had no step; batches must be a list or a loader, which can be iterated again"
                    )
                figures = {"loss": float(np.mean(losses)) if losses else float("nan")}
                if validation is not None:
                    figures["validation"] = validation() if callable(validation) else self.evaluate(validation)
                figures["seconds"] = time.monotonic() - begin
                history.append(figures)
                if callback:
                    callback(epoch, figures)
                if early_stopping and early_stopping.observe(figures.get("validation", figures["loss"])):
                    break
        return history

    # ---- the graph

    def _program(
        self, inputs: Any, targets: Any, given: dict[str, Array], wanted: dict[str, Array], outputs: bool
    ) -> Program:
        key = (signature(given), signature(wanted), outputs, self.qat, self._choices())

        def make(workspace: _core.Workspace) -> Program:
            for name in (*given, *wanted):
                if name in _RESERVED:
                    raise errors.InvalidArgument(f"'{name}' is the name of an input of the step; choose another")
            tracer, ranges = self._trace(inputs, targets, given, wanted, outputs)
            self.trained = tracer.graph.add_training("loss", json.dumps(self._options(tracer, ranges)))
            self._add_states(tracer)
            return Program(tracer, self.threads, workspace, self._states, self._profile)

        return self._programs.find(key, make)

    def _evaluation_program(
        self, inputs: Any, targets: Any, given: dict[str, Array], wanted: dict[str, Array]
    ) -> Program:
        key = ("evaluate", signature(given), signature(wanted), self.qat if self._has_ranges() else None)

        def make(workspace: _core.Workspace) -> Program:
            tracer, _ = self._trace(inputs, targets, given, wanted, training=False)
            self._add_states(tracer)
            return Program(tracer, self.threads, workspace, self._states)

        return self._programs.find(key, make)

    def _choices(self) -> tuple[Any, ...]:
        """What a step depends on beside shapes: whoever freezes a part between steps gets another program."""
        modes = tuple((m.training, m.recompute, getattr(m, "frozen", False)) for m in self.model.modules())
        return modes, tuple((p.trained, p.weight_decay, p.sparse) for _, p in self.model.named_states())

    def _trace(
        self,
        inputs: Any,
        targets: Any,
        given: dict[str, Array],
        wanted: dict[str, Array],
        outputs: bool = False,
        training: bool = True,
    ) -> tuple[Tracer, list[str]]:
        """The graph of the loss, and the names of the states that hold ranges."""
        tracer = Tracer(self.model, training=training)
        with tracing(tracer):
            tensors = {k: tracer.input(k, v.dtype, v.shape) for k, v in given.items()}
            expected = {k: tracer.input(k, v.dtype, v.shape) for k, v in wanted.items()}
            result = call(self.model, inputs, tensors)
            if isinstance(targets, Mapping):
                loss = self.loss(result, **expected)
            else:
                loss = self.loss(result, *expected.values())
            if not isinstance(loss, Tensor) or loss.shape != ():
                raise errors.ShapeMismatch(f"the loss is {loss!r}, a scalar tensor is wanted")
            tracer.graph.output("loss", loss._value)
            if outputs:
                for name, tensor in named_outputs(result).items():
                    tracer.graph.output(name, tensor._value)
        # For evaluation there are ranges from the first step on, or from a checkpoint.
        rounds = training or self._has_ranges()
        ranges = self.qat.apply(tracer.graph, observe=training) if self.qat and rounds else []
        if training and self.precision != "fp32":
            lists = json.dumps(self.lists) if self.lists is not None else _core.precision_lists()
            tracer.graph.mixed_precision(_CORE_DTYPE[self.precision], lists)
        return tracer, ranges

    def _options(self, tracer: Tracer, ranges: list[str]) -> dict[str, Any]:
        parameters: dict[str, dict[str, Any]] = {name: {"trained": False} for name in ranges}
        for name, parameter in tracer.states.items():
            own: dict[str, Any] = {"trained": parameter.trained, "rate_factor": self.optimizer.factor(name)}
            if not parameter.weight_decay and not self.optimizer.decay_all:
                own["weight_decay"] = 0.0
            if parameter.sparse:
                own["sparse"] = True
            parameters[name] = own
        options = {
            "optimizer": self.optimizer.options(),
            "parameters": parameters,
            "clip_norm": self.clip_norm,
            "loss_scaling": self.loss_scale.options(),
            "recompute": tracer.recompute,
            "recurrences_kept": _CORE_DTYPE.get(self.precision, "f32"),
        }
        if self.group.ranks > 1 and self.data_parallel:
            options["data_parallel"] = self.data_parallel.options()
        return options

    def _add_states(self, tracer: Tracer) -> None:
        known = tracer.states.keys() | self._states.keys()
        for info in tensor_infos(tracer.graph.states(known)):
            array = aligned_empty(tuple(map(int, info.shape or ())), info.dtype)
            tracer.graph.move_state(info.name, state_buffer(array))
            restored = self._pending.pop(info.name, None)
            if restored is not None:
                if restored.shape != array.shape:
                    raise errors.ShapeMismatch(
                        f"the checkpoint's '{info.name}' has shape {list(restored.shape)},"
                        f" the step's {list(array.shape)}"
                    )
                array[...] = restored
            self._states[info.name] = array

    # ---- content

    def average_statistics(self) -> None:
        """Running statistics, which each rank has of its own batches, become their means over all ranks.

        For a checkpoint or an evaluation; all ranks call it. Weights and the optimizer's states are the same on all
        ranks at all times.
        """
        for _, state in self.model.named_states():
            if isinstance(state, Buffer) and state.data.dtype == np.float32:
                self.group.mean_into(state.data)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that a later process needs to go on with the same bits: the model's arrays, the optimizer's
        states ("optimizer:" and their name) and the counters."""
        state = self.model.state_dict()
        state |= {f"optimizer:{n}": a.copy() for n, a in (self._states | self._pending).items()}
        state["trainer:steps_run"] = np.asarray(self.steps_run, np.int64)
        state["trainer:skipped_in_row"] = np.asarray(self._skipped_in_row, np.int64)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The opposite of :meth:`state_dict`.

        Raises:
            InvalidArgument, ShapeMismatch: it is another model's; nothing is changed then.
        """
        own = model_state(state)
        moments = {n.removeprefix("optimizer:"): np.asarray(a) for n, a in state.items() if n.startswith("optimizer:")}
        for name, array in moments.items():
            own_state = self._states.get(name)
            if own_state is not None and own_state.shape != array.shape:
                raise errors.ShapeMismatch(
                    f"the checkpoint's '{name}' has shape {list(array.shape)}, the step's {list(own_state.shape)}"
                )
        self.model.load_state_dict(own)
        if moments.keys() != self._states.keys():
            # Programs that run with states of which there are none here; the next step compiles again.
            self._programs.clear()
            self._states.clear()
        self._pending = {}
        for name, array in moments.items():
            if name in self._states:
                self._states[name][...] = array
            else:
                self._pending[name] = array.copy()
        self.steps_run = int(state.get("trainer:steps_run", 0))
        self._skipped_in_row = int(state.get("trainer:skipped_in_row", 0))

    # ---- quantization

    def freeze_observers(self) -> None:
        """Keeps the ranges of quantization-aware training as they are from now on."""
        if self.qat is None:
            raise errors.InvalidArgument("there are no ranges to freeze: the trainer has no qat")
        self.qat = replace(self.qat, frozen=True)

    def _has_ranges(self) -> bool:
        return any(name.endswith(":input.low") for name in (*self._states, *self._pending))

    @property
    def quantized(self) -> dict[str, Any]:
        """What :func:`lowp.nn.to_model` takes beside the model, so that it gives a quantized one."""
        return {"qat": self.qat, "ranges": self._states | self._pending} if self.qat else {}

    def export(self, example: Any, *, free: Mapping[str, Sequence[str | int]] | None = None) -> Model:
        """The trained model, as :func:`lowp.nn.to_model` gives it. With qat it is quantized with exactly the ranges it
        was trained with: :func:`lowp.compile` to INT8 wants no calibration.

        Raises:
            CalibrationError: no step has been run with qat, so that there are no ranges.
        """
        return to_model(self.model, example, free=free, **self.quantized)

    # ---- looking

    def profile(self) -> list[tuple[str, str, str, int, int, int, int]]:
        """(node, op, kernel, runs, nanoseconds in all, multiply-accumulates and bytes of a run) of the last program's
        steps; wants ``profile=True``."""
        program = self._programs.last
        return list(program.core.profile()) if program else []

    @property
    def activation_bytes(self) -> int:
        """Memory for what lives from a node of a step to another and for kernels' scratch; weights and optimizer states
        are not part of it."""
        return self._programs.arena_bytes

    @property
    def optimizer_bytes(self) -> int:
        """Memory of the optimizer's states."""
        return sum(a.nbytes for a in self._states.values())
