"""Accuracy of real models after compilation, on labelled data: ImageNet photographs and STS Benchmark sentence pairs.

    python bench/accuracy.py [--data ../shared/data] [--json] [--observer auto] [--precisions fp32 bf16 int8]

Prints top-1 of EfficientNet-lite0 and Spearman's correlation (in percent) of MiniLM for each precision.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lowp
from lowp import zoo

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_CALIBRATION_IMAGES = 100
_CALIBRATION_SENTENCES = 200
Array = np.ndarray[Any, Any]


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices of at most `size`."""
    return (items[i : i + size] for i in range(0, len(items), size))


def load_images(folder: Path, size: int = 224) -> tuple[Array, Array]:
    """Preprocessed images [n, 3, size, size] and classes [n] of a folder with labels.tsv."""
    with (folder / "labels.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    images = np.concatenate([zoo.preprocess_image(folder / r["file"], size) for r in rows])
    return images, np.array([int(r["class"]) for r in rows])


def top1(engine: lowp.Engine, images: Array, classes: Array, batch: int = 20) -> float:
    """Percentage of images whose class is right."""
    logits = [engine.run({"x": x})["logits"] for x in batches(images, batch)]
    return float(100 * np.mean(np.concatenate(logits).argmax(1) == classes))


def load_pairs(path: Path) -> list[tuple[float, str, str]]:
    """Score and sentences of the STS Benchmark's lines."""
    fields = [line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8")]
    return [(float(f[4]), f[5], f[6]) for f in fields if len(f) >= 7]


def embed(engine: lowp.Engine, sentences: Sequence[str], batch: int = 16) -> Array:
    """Embeddings [n, 384]; sentences of like length run together."""
    tokenizer = zoo.MiniLMTokenizer()
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    result = np.empty((len(sentences), 384), np.float32)
    for rows in batches(order, batch):
        result[list(rows)] = engine.run(tokenizer([sentences[i] for i in rows]))["embedding"]
    return result


def ranks(values: Array) -> Array:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def spearman(engine: lowp.Engine, pairs: Sequence[tuple[float, str, str]]) -> float:
    """Spearman's correlation, in percent, of cosine similarity with people's scores."""
    vectors = embed(engine, [s for _, a, b in pairs for s in (a, b)])
    cosine = (vectors[0::2] * vectors[1::2]).sum(1)
    scores = np.array([score for score, _, _ in pairs])
    return float(100 * np.corrcoef(ranks(cosine), ranks(scores))[0, 1])


def compile_lite0(images: Array, precision: str, **options: Any) -> lowp.Engine:
    """EfficientNet-lite0, calibrated on the first images."""
    samples = ({"x": x[None]} for x in images[:_CALIBRATION_IMAGES])
    return lowp.compile(zoo.efficientnet_lite0(), precision, samples if precision == "int8" else None, **options)


def compile_minilm(pairs: Sequence[tuple[float, str, str]], precision: str, **options: Any) -> lowp.Engine:
    """MiniLM, calibrated on the first sentences of the pairs."""
    tokenizer = zoo.MiniLMTokenizer()
    samples = (tokenizer(first) for _, first, _ in pairs[:_CALIBRATION_SENTENCES])
    return lowp.compile(zoo.minilm(), precision, samples if precision == "int8" else None, **options)


def measure(data: Path, precisions: Sequence[str], models: Sequence[str], **options: Any) -> list[dict[str, Any]]:
    """One row for each model and precision."""
    rows = []

    def row(name: str, metric: str, precision: str, engine: lowp.Engine, value: float, start: float) -> None:
        layers = [x for x in engine.report["layers"] if x["requested"] != x["executed"]]
        rows.append(
            {
                "model": name,
                "precision": precision,
                metric: round(value, 2),
                "snr_db": round(engine.report.get("output_snr_db", 0), 1),
                "layers": len(engine.report["layers"]),
                "kept": len(layers),
                "seconds": round(time.monotonic() - start, 1),
            }
        )

    if "lite0" in models:
        images, classes = load_images(data / "imagenet-sample")
        for p in precisions:
            start = time.monotonic()
            engine = compile_lite0(images, p, **options)
            row("efficientnet_lite0", "top1", p, engine, top1(engine, images, classes), start)
    if "minilm" in models:
        train, dev = (load_pairs(data / "stsb" / f"sts-{part}.csv") for part in ("train", "dev"))
        for p in precisions:
            start = time.monotonic()
            engine = compile_minilm(train, p, **options)
            row("minilm", "spearman", p, engine, spearman(engine, dev), start)
    return rows


def main() -> None:
    """Parses arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_DATA)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "fp16", "int8"])
    parser.add_argument("--models", nargs="*", default=["lite0", "minilm"])
    parser.add_argument("--observer", default="auto")
    parser.add_argument("--target", default="")
    parser.add_argument("--no-equalize", action="store_true", help="leave channels as they are")
    parser.add_argument("--no-measure", action="store_true", help="keep INT8 layers that are not faster")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    options = {
        "observer": a.observer,
        "target": a.target,
        "measure": not a.no_measure,
        "equalize": not a.no_equalize,
        "threads": a.threads,
    }
    rows = measure(a.data, a.precisions, a.models, **options)
    if a.json:
        print(json.dumps(rows))
        return
    for r in rows:
        print("  ".join(f"{k} {v}" for k, v in r.items()))


if __name__ == "__main__":
    main()
