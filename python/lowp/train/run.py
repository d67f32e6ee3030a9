"""Runs a recipe: `lowp train RECIPE.toml`, or :func:`run` from Python."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lowp import errors, nn, optim
from lowp._engine import Engine, Model
from lowp._engine import compile as compile_model
from lowp.quant import Qat
from lowp.train import parallel
from lowp.train.checkpoint import CheckpointFolder, Metadata, latest, load, match
from lowp.train.logs import EarlyStopping, Logs, open_logs
from lowp.train.recipe import Compile, Recipe
from lowp.train.schedules import Plateau
from lowp.train.tasks import Task, make_task
from lowp.train.trainer import Trainer, model_state

Report = Callable[[str], None]

# Precisions of [compile] that ranges are for.
_QUANTIZED = ("int8", "auto")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        steps: taken in all, those before a resume included.
        metrics: of the last evaluation.
        skipped: steps whose gradients were not finite.
        engine: files of what was compiled by name, their size together, and metrics; None where the recipe compiles
            nothing.
        interrupted: Ctrl-C ended the run after a checkpoint; the same command goes on.
    """

    steps: int
    metrics: dict[str, float]
    skipped: int
    seconds: float
    engine: dict[str, Any] | None
    interrupted: bool

    def to_json(self) -> str:
        """For programs."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def make_optimizer(recipe: Recipe, steps: int, larger_is_better: bool) -> tuple[optim.Optimizer, Plateau | None]:
    """The recipe's optimizer with its schedule; the schedule itself where it follows a metric."""
    o = recipe.optimizer
    schedule = recipe.schedule.build(steps, larger_is_better)
    common: dict[str, Any] = {"lr": o.lr, "weight_decay": o.weight_decay, "schedule": schedule}
    made: optim.Optimizer
    if o.name == "sgd":
        made = optim.SGD(**common, momentum=o.momentum, nesterov=o.nesterov)
    else:
        kinds = {"adam": optim.Adam, "adamw": optim.AdamW, "lamb": optim.LAMB}
        made = kinds[o.name](**common, betas=o.betas, eps=o.eps)
    return made, schedule if isinstance(schedule, Plateau) else None


@contextmanager
def _finish_step_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM are noticed between steps; a second one ends at once. Gives a function that tells."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """One recipe on its way."""

    def __init__(self, recipe: Recipe, report: Report) -> None:
        self.recipe, self.report = recipe, report
        self.group = parallel.connect()
        nn.seed(recipe.train.seed)
        self.task: Task = make_task(recipe)
        if recipe.train.initial and self.group.first:  # the trainer hands it to the other ranks
            self._begin_with(recipe.train.initial)
        self.loader = self.task.loader(self.group.rank, self.group.ranks)
        train = recipe.train
        per_epoch = len(self.loader)
        total = per_epoch * train.epochs if train.epochs else None
        self.total = min(n for n in (total, train.steps) if n is not None)
        self.optimizer, self.plateau = make_optimizer(recipe, self.total, self.task.larger_is_better)
        mixed = recipe.mixed_precision
        if mixed and train.precision == "fp32" and (mixed.allow or mixed.deny or mixed.follow):
            report("mixed_precision: its lists have no effect in fp32")
        self.trainer = Trainer(
            self.task.model,
            self.task.loss,
            self.optimizer,
            precision=train.precision,
            lists=mixed.lists() if mixed else None,
            loss_scale=mixed.loss_scale if mixed else None,
            clip_norm=train.clip_norm,
            threads=train.threads or self.group.share_of_threads(),
            seed=train.seed,
            data_parallel=parallel.DataParallel(self.group, **dataclasses.asdict(recipe.data_parallel))
            if recipe.data_parallel
            else parallel.DataParallel(self.group),
        )
        self.folder = CheckpointFolder(train.folder, train.keep, self.task.larger_is_better)
        e = recipe.early_stopping
        self.stopping = EarlyStopping(e.patience, e.better == "larger", e.threshold) if e else None
        self.step = 0
        self.metrics: dict[str, float] = {}
        self._evaluated_at = -1
        self._stopped = False

    # ---- checkpoints

    def _begin_with(self, path: Path) -> None:
        found = latest(path) if path.is_dir() else load(path)
        if found is None:
            raise errors.NotFound(f"train.initial: '{path}' has no checkpoint")
        model = {n: s.data for n, s in self.task.model.named_states()}
        try:
            self.task.model.load_state_dict(match(model_state(found.tensors), model))
        except errors.Error as e:
            raise type(e)(f"train.initial: '{found.path}' is of another model: {e}") from None

    def resume(self) -> None:
        """Goes on from the folder's last checkpoint, where there is one.

        Raises:
            InvalidArgument: it is another recipe's.
        """
        found = self.group.broadcast(self.folder.latest() if self.group.first else None)
        if found is None:
            return
        m = found.metadata
        if m.recipe_digest != self.recipe.digest:
            raise errors.InvalidArgument(
                f"checkpoint '{found.path}' belongs to another recipe; choose another train.folder, or remove it"
            )
        self.trainer.load_state_dict(found.tensors)
        self.loader.restore(m.loader)
        self.step = m.step
        self.metrics = dict(m.extra.get("metrics", {}))
        self._evaluated_at = int(m.extra.get("evaluated_at", -1))
        self._stopped = bool(m.extra.get("stopped", False))
        if self.plateau and m.extra.get("plateau"):
            self.plateau.restore(m.extra["plateau"])
        if self.stopping and m.extra.get("stopping"):
            self.stopping.restore(m.extra["stopping"])
        self._set_quantization()
        self.report(f"going on from '{found.path}', step {self.step} of {self.total}")

    def save(self) -> None:
        """A checkpoint of now, which rank 0 writes."""
        self.trainer.average_statistics()
        if not self.group.first:
            return
        state = self.loader.state()
        fresh = self._evaluated_at == self.step
        extra: dict[str, Any] = {
            "metrics": self.metrics,
            "evaluated_at": self._evaluated_at,
            "stopped": self._stopped,
        }
        if self.plateau:
            extra["plateau"] = self.plateau.state()
        if self.stopping:
            extra["stopping"] = self.stopping.state()
        tensors = self.trainer.state_dict()
        metadata = Metadata(
            step=self.step,
            epoch=int(state["epoch"]),
            loader=dict(state),
            seeds={"train": self.recipe.train.seed},
            loss_scale=float(tensors.get("optimizer:loss_scale", 1.0)),
            recipe_digest=self.recipe.digest,
            metric=self.metrics.get(self.task.metric) if fresh else None,
            extra=extra,
        )
        self.folder.save(tensors, metadata)

    # ---- quantization

    def _set_quantization(self) -> None:
        """What [qat] says of the epoch that begins, or goes on after a resume. What the trainer is asked for follows
        from the step alone, so a run that was interrupted goes on with the same bits."""
        wanted = self.recipe.qat
        epoch = min(self.step, self.total - 1) // len(self.loader)
        if wanted is None or epoch < wanted.start:
            return
        frozen = wanted.freeze > 0 and epoch >= wanted.start + wanted.freeze
        if self.trainer.qat is None:
            self.report(f"epoch {epoch}: rounding as INT8 with {wanted.activation_bits}-bit activations begins")
        if frozen and not (self.trainer.qat and self.trainer.qat.frozen):
            self.report(f"epoch {epoch}: ranges and statistics stay as they are from now on")
            self.task.model.freeze_batch_norm()
        self.trainer.qat = Qat(wanted.activation_bits, frozen=frozen, equalize=wanted.equalize)

    # ---- work

    def _evaluated(self) -> nn.Module | Mapping[str, Engine]:
        """The model, or from the first step with [qat] on what it will be deployed as: rounding is what that trains
        for, and the float weights' figures would promise too much."""
        c = self.recipe.compile
        if self.trainer.qat is None or (c is not None and c.precision not in _QUANTIZED):
            return self.task.model
        models = self.task.export(**self.trainer.quantized)
        return {name: self._engine(model, "int8", measure=False) for name, model in models.items()}

    def _engine(self, model: Model, precision: str, samples: Any = None, **options: Any) -> Engine:
        """As [compile] says, whatever else it leaves open."""
        c = self.recipe.compile or Compile()
        return compile_model(
            model,
            precision,
            samples,
            target=c.target,
            observer=c.observer,
            keep_fp32=c.keep_fp32,
            min_output_snr=c.min_output_snr,
            threads=self.recipe.train.threads,
            progress=False,
            **options,
        )

    def _evaluate(self) -> None:
        """Figures on held-out data, which rank 0 computes for all, and whether it is time to stop."""
        self.trainer.average_statistics()
        self.metrics = self.group.broadcast(self.task.evaluate(self._evaluated()) if self.group.first else None)
        self._evaluated_at = self.step
        figures = ", ".join(f"{k} {v:.4f}" for k, v in self.metrics.items())
        self.report(f"step {self.step}: {figures}")
        if self.plateau:
            self.plateau.observe(self.metrics[self.task.metric])
        if self.stopping is None:
            return
        wanted = self.recipe.early_stopping.metric if self.recipe.early_stopping else ""
        if wanted not in self.metrics:
            raise errors.InvalidArgument(
                f"early_stopping.metric is '{wanted}'; {', '.join(self.metrics)} are what is evaluated"
            )
        self._stopped = self.stopping.observe(self.metrics[wanted])
        if self._stopped:
            self.report(f"stopped early: {wanted} no longer improves")

    def _finish_epoch(self, logs: Logs) -> None:
        """Evaluation, and a checkpoint that has it."""
        self._evaluate()
        logs.log(self.step - 1, self.metrics)
        self.save()

    def train(self) -> bool:
        """All steps that are left; True where it was interrupted."""
        recipe, every = self.recipe, self.recipe.train.checkpoint_every
        log = recipe.log
        options = {"console": log.console, "csv": log.csv, "jsonl": log.jsonl, "tensorboard": log.tensorboard}
        options = {name: wanted and self.group.first for name, wanted in options.items()}
        with (
            _finish_step_on_interrupt() as interrupted,
            open_logs(recipe.train.folder, **options, steps=self.total, resume=self.step) as logs,
        ):
            # A run that ended between an epoch's last step and its evaluation has that to do first: schedules and early
            # stopping follow it.
            at_end = self.step == self.total or self.step % len(self.loader) == 0
            if self.step > 0 and at_end and self._evaluated_at != self.step:
                self._finish_epoch(logs)
            while self.step < self.total and not self._stopped:
                if self.group.any(interrupted()):
                    return True
                self._set_quantization()
                for loaded in self.loader:
                    # A number for each rank and step, as what is random in a batch is not to be alike.
                    batch = self.task.batch(loaded, self.step * self.group.ranks + self.group.rank)
                    result = self.trainer.step(batch.inputs, batch.targets)
                    self.step += 1
                    if self.step % log.every == 0 or self.step == 1:
                        figures = {
                            "loss": result.loss,
                            "lr": result.learning_rate,
                            "gradient_norm": result.gradient_norm,
                        }
                        if recipe.train.precision == "fp16":
                            figures |= {"loss_scale": result.loss_scale, "skipped": self.trainer.steps_skipped}
                        logs.log(self.step - 1, figures)
                    if self.group.any(interrupted()):
                        self.save()
                        return True
                    if every and self.step % every == 0:
                        self.save()
                    if self.step == self.total:
                        break
                self._finish_epoch(logs)
            return self.group.any(interrupted())

    def compile(self) -> dict[str, Any] | None:
        """The engines that the recipe asks for, with their metrics beside the trained model's."""
        c = self.recipe.compile
        if c is None or not self.group.first:
            return None
        # A model that was trained with ranges has them; post-training quantization looks for its own.
        trained = self.trainer.qat if c.precision in _QUANTIZED else None
        folder, engines, files = Path(self.recipe.train.folder), {}, {}
        for name, model in self.task.export(**(self.trainer.quantized if trained else {})).items():
            samples = None
            if c.precision in _QUANTIZED and trained is None:
                samples = list(self.task.calibration(name, c.samples))
            engines[name] = self._engine(model, c.precision, samples, strict=c.strict)
            files[name] = folder / f"{name}.lowp"
            engines[name].save(files[name])
            size = files[name].stat().st_size / 2**20
            self.report(f"'{files[name]}', {size:.1f} MiB, {engines[name].precision}")
        if vocabulary := self.task.save_vocabulary(folder):
            self.report(f"'{vocabulary}'")
        figures = self.task.evaluate(engines)
        text = ", ".join(f"{k} {v:.4f} (trained {self.metrics.get(k, float('nan')):.4f})" for k, v in figures.items())
        self.report(f"as deployed: {text}")
        return {
            "files": {name: str(path) for name, path in files.items()},
            "precision": next(iter(engines.values())).precision,
            "bytes": sum(path.stat().st_size for path in files.values()),
            "metrics": figures,
        }


def _silent(_: str) -> None:
    """What ranks other than the first report."""


def run(recipe: Recipe, report: Report | None = None) -> Result:
    """Trains what the recipe says, going on where its folder has a checkpoint of the same recipe; compiles the result.

    Args:
        recipe: see :func:`lowp.train.recipe.load`.
        report: takes lines for people, of rank 0; standard error without it.
    """
    begin = time.monotonic()
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - the command's output
    if not parallel.connect().first:
        report = _silent
    work = Run(recipe, report)
    work.resume()
    interrupted = work.train()
    engine = None if interrupted else work.compile()
    if interrupted:
        report(f"interrupted after step {work.step}; the same command goes on from there")
    return Result(
        steps=work.step,
        metrics=work.metrics,
        skipped=work.trainer.steps_skipped,
        seconds=time.monotonic() - begin,
        engine=engine,
        interrupted=interrupted,
    )
