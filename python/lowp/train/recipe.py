"""Recipes: TOML files that say what is trained, on what, and how.

>>> recipe = load("resnet.toml", overrides=["train.epochs=3"])
>>> recipe.optimizer.lr
0.1

Every key is known, typed and checked; a message names the key, its value, what is wanted and the line. Paths are
relative to the recipe's folder. Options of models are checked by whoever builds them, through
:meth:`Recipe.check_options`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from lowp import amp, errors
from lowp.train import schedules

PathLike = str | os.PathLike[str]

Precision = Literal["fp32", "bf16", "fp16"]
_NAME_OF_TYPE = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    dict: "a table",
}


def _limited(
    default: Any = MISSING,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A field whose numbers are checked: least <= value, above < value, value <= most, value < below."""
    return field(default=default, metadata={"least": least, "above": above, "most": most, "below": below})


@dataclass(frozen=True)
class Model:
    """[model]: which one, and its own options (every other key)."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """[data]: see the functions of the same names in :mod:`lowp.data`.

    `folder` is read by fashion_mnist and multi30k, `file` by squad, `samples` (how many) by the generated ones;
    `validation` is the part held out for evaluation where the data have no such part of their own.
    """

    name: Literal["fashion_mnist", "movielens_100k", "multi30k", "generated_pairs", "generated_questions", "squad"]
    folder: Path | None = None
    file: Path | None = None
    samples: int = _limited(10_000, least=1)
    validation: float = _limited(0.1, least=0, below=1)
    vocabulary: int = _limited(4000, least=259)
    max_length: int = _limited(64, least=2)
    doc_stride: int = _limited(128, least=1)
    negatives: int = _limited(4, least=1)
    prefetch: int = _limited(2, least=0)


@dataclass(frozen=True)
class Train:
    """[train]: how long, and how; epochs or steps, whichever ends first.

    `threads` 0 means all; `clip_norm` 0 none; `checkpoint_every` counts steps, 0 means each epoch; `keep` counts the
    last checkpoints that stay (and the best). `folder` takes checkpoints, logs and the compiled model. `initial` is a
    checkpoint, or another run's folder, whose weights this run begins with.
    """

    epochs: int | None = _limited(None, least=1)
    steps: int | None = _limited(None, least=1)
    batch_size: int = _limited(32, least=1)
    seed: int = _limited(0, least=0, below=2**64)
    precision: Precision = "fp32"
    threads: int = _limited(0, least=0)
    clip_norm: float = _limited(0.0, least=0)
    label_smoothing: float = _limited(0.0, least=0, below=1)
    checkpoint_every: int = _limited(0, least=0)
    keep: int = _limited(3, least=1)
    folder: Path = Path("run")
    initial: Path | None = None


@dataclass(frozen=True)
class Optimizer:
    """[optimizer]: momentum is SGD's, betas and eps are those of the Adam family."""

    name: Literal["sgd", "adam", "adamw", "lamb"]
    lr: float = _limited(above=0)
    momentum: float = _limited(0.0, least=0, below=1)
    nesterov: bool = False
    weight_decay: float = _limited(0.0, least=0)
    betas: tuple[float, float] = _limited((0.9, 0.999), least=0, below=1)
    eps: float = _limited(1e-8, above=0)


@dataclass(frozen=True)
class Schedule:
    """[schedule]: factor of the learning rate; see :mod:`lowp.train.schedules`.

    `every` and `gamma` belong to step (and gamma to plateau), `end` to linear and cosine, `width` and `warmup` to noam,
    `patience` to plateau; `warmup` counts steps.
    """

    name: Literal[
        "constant", "step", "linear", "cosine", "one_cycle", "noam", "plateau",
        "warmup_constant", "warmup_step", "warmup_linear", "warmup_cosine",
    ] = "constant"  # fmt: skip
    every: int | None = _limited(None, least=1)
    gamma: float = _limited(0.1, above=0, below=1)
    end: float = _limited(0.0, least=0)
    width: int | None = _limited(None, least=1)
    warmup: int = _limited(0, least=0)
    patience: int = _limited(10, least=0)

    def build(self, steps: int, larger_is_better: bool = False) -> schedules.Schedule:
        """The schedule of a run of so many steps; `larger_is_better` is of the metric that plateau follows."""
        kind = self.name.removeprefix("warmup_")
        after = max(steps - self.warmup, 1) if kind != self.name else steps
        made: dict[str, Any] = {
            "constant": schedules.constant,
            "step": lambda: schedules.step(self.every or 1, self.gamma),
            "linear": lambda: schedules.linear(after, self.end),
            "cosine": lambda: schedules.cosine(after, self.end),
            "one_cycle": lambda: schedules.one_cycle(steps),
            "noam": lambda: schedules.noam(self.width or 1, self.warmup),
            "plateau": lambda: schedules.Plateau(self.gamma, self.patience, larger_is_better=larger_is_better),
        }
        schedule: schedules.Schedule = made[kind]()
        return schedules.warm_up(schedule, self.warmup) if kind != self.name else schedule


@dataclass(frozen=True)
class EarlyStopping:
    """[early_stopping]: after `patience` evaluations in which `metric` did not get better (smaller, or larger)."""

    metric: str = "loss"
    better: Literal["smaller", "larger"] = "smaller"
    patience: int = _limited(5, least=1)
    threshold: float = _limited(0.0, least=0)


@dataclass(frozen=True)
class Qat:
    """[qat]: from epoch `start` on, activations and weights are rounded as INT8 will.

    `activation_bits` 7 is what runs fastest on CPUs without VNNI; `freeze` counts epochs after which ranges and
    BatchNorm's statistics stay as they are (0: never); `equalize`: see :class:`lowp.quant.Qat`.
    """

    start: int = _limited(0, least=0)
    activation_bits: Literal[7, 8] = 8
    freeze: int = _limited(0, least=0)
    equalize: bool = True


@dataclass(frozen=True)
class MixedPrecision:
    """[mixed_precision]: changes to the lists of :func:`lowp.amp.default_lists`, and the loss's scale.

    An op that is named here leaves the list it was in; fp32 has no use for the lists. `loss_scale` is a static one;
    without it the scale is dynamic in fp16 and 1 otherwise.
    """

    allow: list[str] = field(default_factory=list)
    deny: list[str] = field(default_factory=list)
    follow: list[str] = field(default_factory=list)
    loss_scale: float | None = _limited(None, above=0)

    def lists(self) -> dict[str, list[str]]:
        """For the trainer."""
        return amp.lists_with(self.allow, self.deny, self.follow)


@dataclass(frozen=True)
class DataParallel:
    """[data_parallel]: how gradients become the means of all ranks', where mpirun started several.

    `compress` bf16 halves what is sent; gradients are exchanged together until they have `bucket_bytes`.
    """

    compress: Literal["none", "bf16"] = "none"
    bucket_bytes: int = _limited(4 << 20, least=1)


@dataclass(frozen=True)
class Compile:
    """[compile]: the engine made of the trained model; `samples` calibrate it; `target`, `observer`, `keep_fp32` and
    `min_output_snr` as in :func:`lowp.compile`."""

    precision: Literal["fp32", "bf16", "fp16", "int8", "auto"] = "fp32"
    samples: int = _limited(100, least=1)
    target: Literal["", "vnni", "avx2"] = ""
    observer: Literal["auto", "mse", "percentile", "minmax"] = "auto"
    keep_fp32: list[str] = field(default_factory=list)
    min_output_snr: float = _limited(0.0, least=0)
    strict: bool = False


@dataclass(frozen=True)
class Log:
    """[log]: `every` counts steps; the files go into [train] folder."""

    every: int = _limited(10, least=1)
    console: bool = True
    csv: bool = True
    jsonl: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked.

    `digest` is a SHA-256 of everything that decides the trained model: not of threads, logs, folders to write to and
    what is compiled of it.
    """

    model: Model
    data: Data
    train: Train
    optimizer: Optimizer
    schedule: Schedule
    early_stopping: EarlyStopping | None
    qat: Qat | None
    mixed_precision: MixedPrecision | None
    data_parallel: DataParallel | None
    compile: Compile | None
    log: Log
    path: Path
    digest: str
    _places: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False, compare=False)

    def check_options(self, allowed: Mapping[str, type]) -> dict[str, Any]:
        """The model's options, where all of them are among `allowed`, by name with their types.

        Raises:
            InvalidArgument: an option the model does not have, with the nearest it has; a value of another type.
        """
        context = _Context(self.path, self._places)
        for key, value in self.model.options.items():
            if key not in allowed:
                raise context.error("model", key, f"is no option of '{self.model.name}'{_nearest(key, allowed)}")
            _convert(context, "model", key, value, allowed[key], {})
        return dict(self.model.options)


_SECTIONS: dict[str, tuple[type, bool]] = {
    # name: what it becomes, and whether it is there without being written
    "model": (Model, True),
    "data": (Data, True),
    "train": (Train, True),
    "optimizer": (Optimizer, True),
    "schedule": (Schedule, True),
    "early_stopping": (EarlyStopping, False),
    "qat": (Qat, False),
    "mixed_precision": (MixedPrecision, False),
    "data_parallel": (DataParallel, False),
    "compile": (Compile, False),
    "log": (Log, True),
}


@dataclass(frozen=True)
class _Context:
    """Where values stand, for messages: by (section, key), with key "" for the section itself."""

    path: Path
    places: Mapping[tuple[str, str], str]

    def error(self, section: str, key: str, problem: str) -> errors.InvalidArgument:
        place = self.places.get((section, key)) or self.places.get((section, "")) or f"'{self.path}'"
        return errors.InvalidArgument(f"{place}: {section}{'.' + key if key else ''} {problem}")


def _find_places(path: Path, text: str) -> dict[tuple[str, str], str]:
    """The line of each section and key; tomllib tells none. Keys of inline tables are not found."""
    places: dict[tuple[str, str], str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1]
            places.setdefault((section, ""), f"'{path}', line {number}")
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            first, _, rest = key[1].partition(".")
            places.setdefault((section, key[1]) if section else (first, rest), f"'{path}', line {number}")
    return places


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"


def _wanted(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _wanted(next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is list:
        return "a list of strings"
    if origin is tuple:
        return f"a list of {len(arguments)} numbers"
    return _NAME_OF_TYPE.get(kind, getattr(kind, "__name__", str(kind)))


def _range_problem(value: float, limits: Mapping[str, Any]) -> str | None:
    for name, words, broken in (
        ("least", "at least", lambda v, bound: not v >= bound),
        ("above", "more than", lambda v, bound: not v > bound),
        ("most", "at most", lambda v, bound: not v <= bound),
        ("below", "less than", lambda v, bound: not v < bound),
    ):
        bound = limits.get(name)
        if bound is not None and broken(value, bound):
            return f"{words} {bound}"
    return None


def _convert(context: _Context, section: str, key: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """The value as its field's type, checked."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    refuse = context.error(section, key, f"is {json.dumps(value, default=str)}; {_wanted(kind)} is wanted")
    if origin in (typing.Union, types.UnionType):
        kind = next(a for a in arguments if a is not type(None))
        return _convert(context, section, key, value, kind, limits)
    if origin is Literal:
        # True == 1, but is no number here.
        if not any(value == a and type(value) is type(a) for a in arguments):
            near = difflib.get_close_matches(str(value), [str(a) for a in arguments], 1)
            hint = f"; did you mean '{near[0]}'?" if near and isinstance(value, str) else ""
            raise context.error(section, key, f"is {json.dumps(value, default=str)}; {_wanted(kind)} is wanted{hint}")
        return value
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(arguments):
            raise refuse
        return tuple(_convert(context, section, key, v, a, limits) for v, a in zip(value, arguments, strict=True))
    if origin is list:
        if not isinstance(value, list) or not all(isinstance(v, arguments[0]) for v in value):
            raise refuse
        return list(value)
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise refuse
        return context.path.parent / Path(value).expanduser()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise refuse
    problem = _range_problem(value, limits) if kind in (int, float) else None
    if problem:
        raise context.error(section, key, f"is {value}; {problem} is wanted")
    return value


def _section(context: _Context, name: str, kind: type, table: Any) -> Any:
    if not isinstance(table, dict):
        raise context.error(name, "", f"is {json.dumps(table, default=str)}; a table is wanted: [{name}]")
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    if kind is Model:
        values["options"] = {k: v for k, v in table.items() if k != "name"}
        table = {k: v for k, v in table.items() if k == "name"}
    assert is_dataclass(kind)
    known = {f.name: f for f in fields(kind) if f.name != "options"}
    for key, value in table.items():
        if key not in known:
            raise context.error(name, key, f"is not known{_nearest(key, known)}")
        values[key] = _convert(context, name, key, value, hints[key], known[key].metadata)
    for key, f in known.items():
        if key not in values and f.default is MISSING and f.default_factory is MISSING:
            raise context.error(name, "", f"lacks '{key}': {_wanted(hints[key])} is wanted")
        if key not in values and isinstance(f.default, Path):
            values[key] = context.path.parent / f.default
    return kind(**values)


def _apply(document: dict[str, Any], places: dict[tuple[str, str], str], override: str) -> None:
    """Sets what "section.key=value" says; the value is TOML, or a string where it is none."""
    target, sign, text = override.partition("=")
    section, dot, key = target.strip().partition(".")
    if not (sign and dot and section and key):
        raise errors.InvalidArgument(f"--set {override}: section.key=value is wanted")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = document.setdefault(section, {})
    if not isinstance(table, dict):
        raise errors.InvalidArgument(f"--set {override}: '{section}' is no section of the recipe")
    table[key] = value
    places[section, key] = f"--set {override}"
    places.setdefault((section, ""), f"--set {override}")


def load(path: PathLike, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path: of the TOML file.
        overrides: "section.key=value", as the command's --set gives them; they win over the file.

    Raises:
        NotFound: no such file.
        InvalidArgument: no TOML; an unknown section or key, with the nearest known one; a value of the wrong type or
            out of range; things that do not go together. The message begins with file and line, or with the override.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise errors.NotFound(f"recipe '{path}' does not exist") from None
    except (OSError, UnicodeDecodeError) as e:
        raise errors.InvalidArgument(f"recipe '{path}' cannot be read: {e}") from None
    return parse(text, path, overrides)


def parse(text: str, path: PathLike = "recipe.toml", overrides: Sequence[str] = ()) -> Recipe:
    """As :func:`load`, of a text; `path` is where it would stand."""
    path = Path(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise errors.InvalidArgument(f"'{path}' is no TOML: {e}") from None
    places = _find_places(path, text)
    for override in overrides:
        _apply(document, places, override)
    context = _Context(path, places)
    for name in document:
        if name not in _SECTIONS:
            raise context.error(name, "", f"is no section{_nearest(name, _SECTIONS)}")
    sections: dict[str, Any] = {}
    for name, (kind, always) in _SECTIONS.items():
        if name in document or always:
            sections[name] = _section(context, name, kind, document.get(name, {}))
        else:
            sections[name] = None
    _check_together(context, sections)
    return Recipe(**sections, path=path, digest=_digest(path, sections), _places=places)


def _check_together(context: _Context, sections: Mapping[str, Any]) -> None:
    train, data, schedule = sections["train"], sections["data"], sections["schedule"]
    if mixed := sections["mixed_precision"]:
        try:
            mixed.lists()
        except errors.InvalidArgument as e:
            raise context.error("mixed_precision", "", f"cannot be: {e}") from None
    if train.epochs is None and train.steps is None:
        raise context.error("train", "", "has neither epochs nor steps; one of them is wanted")
    needed = {"multi30k": "folder", "squad": "file"}.get(data.name)
    if needed and getattr(data, needed) is None:
        raise context.error("data", "name", f"is {data.name}, which needs data.{needed}")
    wants = {"step": "every", "warmup_step": "every", "noam": "width"}.get(schedule.name)
    if wants and getattr(schedule, wants) is None:
        raise context.error("schedule", "name", f"is {schedule.name}, which needs schedule.{wants}")
    warms = schedule.name == "noam" or schedule.name.startswith("warmup_")
    if warms and not schedule.warmup:
        raise context.error("schedule", "name", f"is {schedule.name}, which needs schedule.warmup, 1 or more")
    if schedule.warmup and not warms:
        hint = f"; 'warmup_{schedule.name}' would" if schedule.name in ("constant", "step", "linear", "cosine") else ""
        raise context.error("schedule", "warmup", f"is {schedule.warmup}, which '{schedule.name}' does not use{hint}")


def _digest(path: Path, sections: Mapping[str, Any]) -> str:
    left_out = {("train", "threads"), ("train", "folder"), ("train", "keep"), ("data", "prefetch")}
    content: dict[str, Any] = {}
    for name, section in sections.items():
        if name in ("log", "compile") or section is None:
            continue
        values = {f.name: getattr(section, f.name) for f in fields(section) if (name, f.name) not in left_out}
        # As relative paths, so that a recipe has the same digest wherever its folder lies.
        content[name] = {k: os.path.relpath(v, path.parent) if isinstance(v, Path) else v for k, v in values.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
