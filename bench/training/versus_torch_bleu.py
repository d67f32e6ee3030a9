"""BLEU of GNMT trained by lowp, its INT8 engine, and GNMT trained by PyTorch with the same budget.

    bench/setup_torch.sh                                                                    # once: build/torch-venv
    lowp train RECIPE.toml [--set ...]
    .venv/bin/python bench/training/versus_torch_bleu.py RECIPE.toml [--set ...] [--threads 1] [--json]

The recipe and settings are those of the run, whose folder has lowp's weights. PyTorch begins with the same weights and
takes the same batches and rates; lowp's beam search translates with both. On Multi30k it is test_2016_flickr, which no
run has seen, otherwise the recipe's own held-out sentences.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lowp
from lowp import data, nn, train
from lowp.train import recipe as recipes
from lowp.train.run import Run
from lowp.train.tasks.translation import Translation
from lowp.train.trainer import model_state

_ROOT = Path(__file__).resolve().parents[2]


def gates_to_torch(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A parameter of an LSTM with its gates in PyTorch's order; others as they are."""
    if "_l0" not in name:
        return array
    return array[np.argsort(nn.gates_from_torch("LSTM", np.arange(len(array))))]


def write_plan(work: Run, task: Translation, folder: Path) -> None:
    """What torch_gnmt.py wants."""
    recipe, config = work.recipe, task.model.config
    np.savez(folder / "initial.npz", **{n: gates_to_torch(n, s.data) for n, s in task.model.named_states()})
    arrays: dict[str, Any] = {}
    step = 0
    while step < work.total:
        for loaded in work.loader:
            batch = task.batch(loaded, step)
            both = batch.inputs | batch.targets
            for name in ("source", "lengths", "mask", "target", "labels", "weights"):
                whole = name in ("source", "target", "labels")
                arrays[f"{step}.{name}"] = both[name].astype(np.int16) if whole else both[name]
            step += 1
    np.savez(folder / "batches.npz", **arrays)
    plan = {
        "words": config.vocabulary,
        "hidden": config.hidden,
        "layers": config.encoder_layers,
        "dropout": config.dropout,
        "seed": recipe.train.seed,
        "betas": recipe.optimizer.betas,
        "eps": recipe.optimizer.eps,
        "rates": [work.optimizer.rate(s) for s in range(work.total)],
        "clip_norm": recipe.train.clip_norm,
        "label_smoothing": recipe.train.label_smoothing,
        "steps_an_epoch": len(work.loader),
    }
    (folder / "plan.json").write_text(json.dumps(plan))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--torch", type=Path, default=_ROOT / "build" / "torch-venv" / "bin" / "python")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    recipe = recipes.load(options.recipe, options.set)
    run_folder = Path(recipe.train.folder)
    folder = run_folder / "torch"
    folder.mkdir(parents=True, exist_ok=True)
    work = Run(recipe, lambda line: print(line, file=sys.stderr))
    task = work.task
    if not isinstance(task, Translation) or recipe.optimizer.name != "adam":
        raise SystemExit("a recipe of a GNMT that trains with Adam is wanted")
    if not (folder / "trained.npz").exists():
        write_plan(work, task, folder)
        command = [str(options.torch), str(Path(__file__).with_name("torch_gnmt.py")), str(folder)]
        lines = []
        with subprocess.Popen(
            [*command, "--threads", str(options.threads)], stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                print(f"PyTorch: {line}", end="", file=sys.stderr)
        if process.returncode != 0:
            raise SystemExit("PyTorch's training failed")
        (folder / "result.json").write_text(lines[-1])
    pairs = task.held_out
    if recipe.data.name == "multi30k" and recipe.data.folder:
        pairs = data.multi30k(recipe.data.folder, "test_2016_flickr")
    found = {"sentences": len(pairs), **json.loads((folder / "result.json").read_text())}
    trained = np.load(folder / "trained.npz")
    task.model.load_state_dict({n: nn.gates_from_torch("LSTM", a) if "_l0" in n else a for n, a in trained.items()})
    found["bleu_torch"] = task.bleu(task.model, pairs)
    checkpoint = train.latest(run_folder)
    if checkpoint is None:
        raise SystemExit(f"'{run_folder}' has no checkpoint; run lowp train first")
    task.model.load_state_dict(model_state(checkpoint.tensors))
    found["bleu_lowp"] = task.bleu(task.model, pairs)
    files = {name: run_folder / f"{name}.lowp" for name in ("encoder", "decoder")}
    if all(f.exists() for f in files.values()):
        engines = {name: lowp.open(f) for name, f in files.items()}
        found |= {"bleu_engines": task.bleu(engines, pairs), "engines": engines["decoder"].precision}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"BLEU of {found['sentences']} sentences: lowp {found['bleu_lowp']:.2f}", end="")
    if "engines" in found:
        print(f", its {found['engines']} engines {found['bleu_engines']:.2f}", end="")
    print(f", PyTorch {found['bleu_torch']:.2f} (median step {found['median_ms']:.0f} ms)")


if __name__ == "__main__":
    main()
