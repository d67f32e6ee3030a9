"""Kernels selected by measurement: what is recorded and shown, the cache, and where choices are used."""

import command
import numpy as np
import onnx.reference
import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LOWP_CACHE", str(folder))
    return folder


def compile_mobile(mobile, engine, *options):
    return command.ok_json("compile", mobile.onnx, "-o", engine, "--threads", 1, *options)


def tunings(engine):
    return {node["name"]: node.get("tuning") for node in command.ok_json("inspect", engine)["nodes"]}


def test_the_second_compilation_uses_the_cache(mobile, cache, tmp_path):
    first = compile_mobile(mobile, tmp_path / "a.lowp")
    assert first["tuning"]["measured"] > 0 and first["tuning"]["cached"] == 0
    assert first["tuning"]["threads"] == 1
    (file,) = cache.iterdir()
    second = compile_mobile(mobile, tmp_path / "b.lowp")
    assert second["tuning"]["measured"] == 0 and second["tuning"]["cached"] == first["tuning"]["measured"]
    assert tunings(tmp_path / "a.lowp") == tunings(tmp_path / "b.lowp")
    content = file.read_bytes()
    assert compile_mobile(mobile, tmp_path / "c.lowp", "--no-cache")["tuning"]["cached"] == 0
    assert file.read_bytes() == content


@pytest.mark.parametrize("damage", [b"", b"\0", b"lowp-tune 0123456789abcdef\n{}\n", b"{" * 100_000])
def test_damaged_cache(damage, mobile, cache, tmp_path):
    measured = compile_mobile(mobile, tmp_path / "a.lowp")["tuning"]["measured"]
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    assert compile_mobile(mobile, tmp_path / "b.lowp")["tuning"] | {"inputs": 0} == {
        "threads": 1,
        "inputs": 0,
        "measured": measured,
        "cached": 0,
    }
    assert compile_mobile(mobile, tmp_path / "c.lowp")["tuning"]["cached"] == measured  # written anew


def test_cache_that_cannot_be_written(mobile, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOWP_CACHE", str(tmp_path / "file" / "folder"))
    assert compile_mobile(mobile, tmp_path / "a.lowp")["tuning"]["measured"] > 0


@pytest.mark.parametrize("option", ["--no-tune", "--no-measure"])
def test_switched_off(option, mobile, cache, tmp_path):
    report = compile_mobile(mobile, tmp_path / "m.lowp", option)
    assert "tuning" not in report and not any("kernel" in layer for layer in report["layers"])
    assert not any(tunings(tmp_path / "m.lowp").values())
    assert not cache.exists()


def test_report_and_inspect(mobile, cache, tmp_path):
    engine = tmp_path / "m.lowp"
    report = compile_mobile(mobile, engine, "--shape", "x=2x3x19x19")
    assert report["tuning"]["inputs"] == {"x": "f32[2,3,19,19]"}
    layers = {layer["node"]: layer for layer in report["layers"] if "kernel" in layer}
    recorded = {name: t for name, t in tunings(engine).items() if t}
    assert layers and layers.keys() == recorded.keys()
    target = command.ok_json("doctor")["target"]
    for name, (tuning,) in recorded.items():
        assert tuning["target"] == target and tuning["threads"] == 1
        for key in ("kernel", "kernel_us", "runner_up", "runner_up_us"):
            assert tuning[key] == layers[name][key]
        assert tuning["kernel"] != tuning["runner_up"]
    assert recorded.keys() <= {layer["node"] for layer in report["layers"]}
    text = command.ok("inspect", engine, "--nodes")
    assert all(t[0]["kernel"] + " " in text for t in recorded.values())
    assert "distinct layers measured" in command.ok("compile", mobile.onnx, "-o", engine, "--threads", 1)


def test_choices_are_used_where_they_were_measured(mobile, cache, tmp_path):
    engine, output = tmp_path / "m.lowp", tmp_path / "y.npz"
    compile_mobile(mobile, engine)
    recorded = {name: t[0] for name, t in tunings(engine).items() if t}
    assert recorded

    def kernels(threads, batch):
        arguments = "bench", engine, "--runs", 3, "--profile", "--threads", threads, "--batch", batch
        return {step["node"]: step["kernel"] for step in command.ok_json(*arguments)["profile"]}

    here, more_threads, more_rows = kernels(1, 1), kernels(2, 1), kernels(1, 3)
    for name, tuning in recorded.items():
        plain = " ".join(more_threads[name].split()[:2])
        assert plain.endswith(" " + tuning["target"])
        assert here[name] == (plain if tuning["kernel"] == "formula" else f"{plain} {tuning['kernel']}")
        assert more_threads[name] == plain and more_rows[name] == plain
    command.ok("run", engine, "--input", mobile.input, "--output", output, "--threads", 1)
    (want,) = onnx.reference.ReferenceEvaluator(mobile.proto).run(None, mobile.inputs)
    with np.load(output) as arrays:
        np.testing.assert_allclose(arrays["y"], want, rtol=0, atol=1000 * 2**-23 * np.abs(want).max())


@pytest.mark.parametrize(
    "shape,code", [("x", "invalid-argument"), ("z=1x3x19x19", "invalid-argument"), ("x=1x4x19x19", "shape-mismatch")]
)
def test_bad_shapes(shape, code, mobile, tmp_path):
    command.fails(code, "compile", mobile.onnx, "-o", tmp_path / "m.lowp", "--shape", shape)
    assert not list(tmp_path.iterdir())
