"""The benchmark's arithmetic: ratios, intervals, turns, tables. Nothing is timed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

_BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(_BENCH))

from compare import engines, measure, models, table  # noqa: E402


def row(engine: str, precision: str, ms: float, **more: object) -> table.Row:
    own = {"model": "m", "title": "Model", "batch": 1, "threads": 1, "engine": engine, "precision": precision}
    return {**own, "median_ms": ms, "min_ms": ms, **more}


def test_ratios_are_to_the_fastest_peer():
    rows = [row("lowp fp32", "fp32", 4.0), row("lowp int8", "int8", 1.0), row("onnxruntime fp32", "fp32", 8.0)]
    rows += [row("openvino fp32", "fp32", 6.0), row("openvino int8", "int8", 3.0)]
    table.add_ratios(rows)
    assert rows[0]["versus_fp32"] == 1.5 and "versus_int8" not in rows[0]
    assert rows[1]["versus_fp32"] == 6.0 and rows[1]["versus_int8"] == 3.0
    assert rows[2]["versus_fp32"] == 0.75


def test_without_a_peer_there_is_no_ratio():
    rows = [row("lowp int8", "int8", 1.0)]
    table.add_ratios(rows)
    assert "versus_int8" not in rows[0] and "versus_fp32" not in rows[0]


def test_interval_covers_the_ratio_of_steady_times_and_widens_with_noise():
    assert measure.paired_interval([2.0] * 9, [1.0] * 9) == (2.0, 2.0)
    rng = np.random.default_rng(1)
    # Noise that hits both alike cancels, other noise does not.
    noise, other = list(1 + 0.5 * rng.random(15)), list(1 + 0.5 * rng.random(15))
    low, high = measure.paired_interval([2 * x for x in noise], noise)
    assert low == high == pytest.approx(2.0)
    low, high = measure.paired_interval([2 * x for x in noise], other)
    assert low < 2.0 < high


def test_every_engine_runs_in_every_round_once_woken():
    calls: dict[str, int] = {"a": 0, "b": 0}

    def run(name: str):
        def body(feed: object) -> None:
            calls[name] += 1

        return body

    before = measure.PAUSE_S
    measure.PAUSE_S = 0.0
    try:
        times = measure.take_turns({"a": run("a"), "b": run("b")}, {}, 4)
    finally:
        measure.PAUSE_S = before
    assert {k: len(v) for k, v in times.items()} == {"a": 4, "b": 4}
    assert min(calls.values()) >= 2 + 4 * 2


def test_tables_show_failures_and_ratios():
    rows = [row("lowp int8", "int8", 1.0), row("onnxruntime fp32", "fp32", 8.0)]
    rows.append({**row("openvino int8", "int8", 0.0), "error": "no such layer"})
    del rows[2]["median_ms"]
    table.add_ratios(rows[:2])
    text = table.text(rows)
    assert "failed: no such layer" in text and "8.00" in text
    line = table.markdown(rows).splitlines()[-1]
    assert "| none |" in line and "8.00 (onnxruntime)" in line and "1.00 (8.00x)" in line


def test_contenders():
    names = [c.name for c in engines.contenders(models.MODELS["gnmt_encoder"], ["fp32", "bf16", "int8"], False)]
    assert "onnxruntime int8 (dynamic)" in names and [n for n in names if "bf16" in n] == ["lowp bf16"]
    native = [c.name for c in engines.contenders(models.MODELS["resnet50"], ["bf16"], True)]
    assert native == ["lowp bf16", "openvino bf16"]
    both = [c.variant for c in engines.contenders(models.MODELS["minilm"], ["int8"], True) if c.engine == "onnxruntime"]
    assert both == ["static", "dynamic"]


@pytest.mark.parametrize("name", list(models.MODELS))
def test_feeds_grow_with_the_batch(name: str):
    model = models.MODELS[name]
    one, eight = (model.feed(b, np.random.default_rng(0)) for b in (1, 8))
    assert one.keys() == eight.keys()
    assert sum(v.size for v in eight.values()) == 8 * sum(v.size for v in one.values())


def test_a_child_reports_on_its_last_line():
    assert engines.read_child('noise\n{"load_ms": 1.5}\n') == {"load_ms": 1.5}
    source = engines.child_program(engines.Contender("lowp", "fp32"), Path("a b.lowp"), 2, Path("f.npz"))
    compile(source, "child", "exec")


def test_layers_of_one_shape_are_one_line():
    import layers

    step = SimpleNamespace(kernel="gemm.u8s8 avx2", macs=1000, bytes=10, microseconds=2.0, node="a")
    other = SimpleNamespace(kernel="softmax.f32 avx2", macs=0, bytes=10, microseconds=5.0, node="b")
    lines = layers.collect([step, other, step])
    assert [(x.kernel, x.count, x.microseconds) for x in lines] == [("gemm.u8s8", 2, 4.0), ("softmax.f32", 1, 5.0)]
    # 2000 multiply-accumulates at 1 GMAC/s take 2 us.
    assert lines[0].lost(1.0) == 2.0
    assert len(layers.families([*lines, *lines])) == 2


def test_disturbance_is_the_mean_of_median_over_minimum():
    assert measure.disturbance({"a": [1.0, 2.0, 3.0], "b": [1.0, 1.0, 5.0]}) == 1.5
    assert measure.disturbance({}) == 1.0


def test_the_least_disturbed_attempt_counts_whoever_wins_in_it(monkeypatch: pytest.MonkeyPatch):
    attempts = [
        {"lowp": [1.0, 1.5, 1.5], "peer": [1.0, 1.5, 1.5]},
        {"lowp": [2.0, 2.2, 2.2], "peer": [1.0, 1.1, 1.1]},
        {"lowp": [1.0, 9.0, 9.0], "peer": [1.0, 9.0, 9.0]},
    ]
    lines: list[str] = []
    monkeypatch.setattr(measure, "take_turns", lambda runs, feed, rounds, attempt: attempts[attempt])
    assert measure.calmest({}, {}, 3, 3, lines.append) == attempts[1]
    assert len(lines) == 3
    attempts[0] = {"lowp": [1.0, 1.0, 1.0]}
    assert measure.calmest({}, {}, 3, 3, lines.append) == attempts[0]
    assert len(lines) == 3
