"""What each command does, and its exit status."""

import json

import command
import numpy as np
import onnx.reference
import pytest


@pytest.mark.parametrize("network", ["mlp", "mobile", "transformer"])
def test_run_equals_the_reference(network, request, tmp_path):
    files = request.getfixturevalue(network)
    (want,) = onnx.reference.ReferenceEvaluator(files.proto).run(None, files.inputs)
    engine = tmp_path / "m.lowp"
    assert str(engine) in command.ok("compile", files.onnx, "-o", engine)
    for model in (engine, files.onnx):
        output = tmp_path / "y.npz"
        assert command.ok("run", model, "--input", files.input, "--output", output, "--threads", 2) == ""
        with np.load(output) as arrays:
            assert arrays.files == ["y"]
            have = arrays["y"]
        assert have.dtype == np.float32 and have.shape == want.shape
        # A few layers of sums of at most a hundred products each, in another order.
        np.testing.assert_allclose(have, want, rtol=0, atol=1000 * 2**-23 * np.abs(want).max())


def snr_db(want, have):
    return 10 * np.log10((want**2).sum() / max(((want - have) ** 2).sum(), 1e-30))


@pytest.mark.parametrize(
    "precision,executed,least", [("fp32", "f32", 110), ("bf16", "bf16", 30), ("fp16", "f16", 50), ("int8", "i8", 25)]
)
def test_compile(precision, executed, least, mlp, samples, tmp_path):
    engine, output = tmp_path / "m.lowp", tmp_path / "y.npz"
    options = ["--calibrate", samples, "--no-measure"] if precision == "int8" else []
    report = command.ok_json("compile", mlp.onnx, "-o", engine, "--precision", precision, "--strict", *options)
    assert {layer["node"]: layer["executed"] for layer in report["layers"]} == {"fc1": executed, "fc2": executed}
    assert report["output"] == str(engine)
    assert report["model_bytes"] == mlp.onnx.stat().st_size and report["engine_bytes"] == engine.stat().st_size
    assert report["ratio"] == report["engine_bytes"] / report["model_bytes"]
    (want,) = onnx.reference.ReferenceEvaluator(mlp.proto).run(None, mlp.inputs)
    command.ok("run", engine, "--input", mlp.input, "--output", output)
    with np.load(output) as arrays:
        assert snr_db(want, arrays["y"]) > least
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["m.lowp", "y.npz"]


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "auto"])
@pytest.mark.parametrize("target", ["vnni", "avx2"])
def test_int8_options(observer, target, mlp, samples, tmp_path):
    engine = tmp_path / "m.lowp"
    report = command.ok_json(
        *("compile", mlp.onnx, "-o", engine, "--precision", "int8", "--no-measure"),
        *("--observer", observer, "--target", target, "--calibrate", samples),
    )
    assert report["calibration_samples"] == 4
    assert report["output_snr_db"] > 20
    request = command.ok_json("inspect", engine)["info"]["request"]
    assert request == {"precision": "int8", "observer": observer, "target": target, "strict": False}


def test_one_file_is_one_sample(mlp, tmp_path):
    engine = tmp_path / "m.lowp"
    report = command.ok_json("compile", mlp.onnx, "-o", engine, "--precision", "int8", "--calibrate", mlp.input)
    assert report["calibration_samples"] == 1
    assert all(layer["fp32_us"] > 0 and layer["int8_us"] > 0 for layer in report["layers"])
    for layer in report["layers"]:
        assert layer["executed"] == "i8" or layer["reason"]


def test_auto(mlp, samples, tmp_path):
    for options in ([], ["--calibrate", samples]):
        engine = tmp_path / "m.lowp"
        report = command.ok_json("compile", mlp.onnx, "-o", engine, "--precision", "auto", *options)
        assert [layer["node"] for layer in report["layers"]] == ["fc1", "fc2"]
        command.ok("run", engine, "--input", mlp.input, "--output", tmp_path / "y.npz")


def test_compile_gives_the_same_file_again(mlp, samples, tmp_path):
    for name in ("a", "b"):
        options = "--precision", "int8", "--no-measure", "--calibrate", samples
        command.ok("compile", mlp.onnx, "-o", tmp_path / name, *options, "--threads", 1 if name == "a" else 2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_keep_fp32_and_strict(mlp, samples, tmp_path):
    engine = tmp_path / "m.lowp"
    options = "--precision", "int8", "--no-measure", "--calibrate", samples, "--keep-fp32", "fc2"
    report = command.ok_json("compile", mlp.onnx, "-o", engine, *options)
    assert [layer["executed"] for layer in report["layers"]] == ["i8", "f32"]
    assert report["layers"][1]["requested"] == "i8" and report["layers"][1]["reason"]
    text = command.ok("compile", mlp.onnx, "-o", engine, *options)
    assert "'fc2' runs in f32 instead of i8" in text
    engine.unlink()
    message = command.fails("unsupported", "compile", mlp.onnx, "-o", engine, *options, "--strict")
    assert "fc2" in message and "fc1" not in message
    assert not list(tmp_path.iterdir())


def test_min_output_snr(mlp, samples, tmp_path):
    engine = tmp_path / "m.lowp"
    options = "--precision", "int8", "--no-measure", "--calibrate", samples
    report = command.ok_json("compile", mlp.onnx, "-o", engine, *options)
    wanted = report["output_snr_db"] + 1
    better = command.ok_json("compile", mlp.onnx, "-o", engine, *options, "--min-output-snr", wanted)
    assert better["output_snr_db"] >= wanted
    kept = [layer for layer in better["layers"] if layer["executed"] == "f32"]
    assert len(kept) == 1 and "dB of signal to noise" in kept[0]["reason"]
    message = command.fails("invalid-argument", "compile", mlp.onnx, "-o", engine, *options, "--min-output-snr", -3)
    assert "-3 dB" in message


def test_disable_pass(mlp, tmp_path):
    engine = tmp_path / "m.lowp"
    command.ok("compile", mlp.onnx, "-o", engine, "--disable-pass", "fuse_epilogues")
    assert "Relu" in command.ok_json("inspect", engine)["ops"]
    command.ok("compile", mlp.onnx, "-o", engine)
    assert "Relu" not in command.ok_json("inspect", engine)["ops"]


@pytest.mark.parametrize(
    "options,named",
    [
        (["--precision", "int4"], "int4"),
        (["--observer", "guess"], "guess"),
        (["--target", "neon"], "neon"),
        (["--disable-pass", "nonesuch"], "nonesuch"),
        (["--keep-fp32", "nonesuch"], "nonesuch"),
        (["--threads", "-3"], "-3"),
    ],
)
def test_unknown_values(options, named, mlp, tmp_path):
    assert named in command.fails("invalid-argument", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["nonesuch"], ["compile"], ["compile", "m.onnx"], ["run", "m.lowp"], ["doctor", "--nonesuch"]]
)
def test_wrong_command_lines(arguments):
    done = command.run(*arguments)
    assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_help_and_version():
    for name in ("compile", "run", "bench", "compare", "inspect", "doctor"):
        assert name in command.ok("--help")
        assert "--help" in command.ok(name, "--help")
    assert command.ok("--version").strip() == command.ok_json("doctor")["version"]


def test_quiet(mlp, tmp_path):
    done = command.run("compile", mlp.onnx, "-o", tmp_path / "m.lowp", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bench(engine, mlp):
    for model in (engine, mlp.onnx):
        report = command.ok_json("bench", model, "--batch", 3, "--threads", 1, "--runs", 5, "--profile")
        assert report["threads"] == 1 and report["batch"] == 3 and report["runs"] == 5
        assert 0 < report["min_ms"] <= report["median_ms"] <= report["p95_ms"]
        macs = {step["node"]: step["macs"] for step in report["profile"]}
        assert macs["fc1"] == 3 * 64 * 96 and macs["fc2"] == 3 * 96 * 10
    assert "profile" not in command.ok_json("bench", engine, "--runs", 3, "--shape", "x=7x64")
    assert "median" in command.ok("bench", engine, "--runs", 3)


def test_compare(mlp, samples, tmp_path):
    engine = tmp_path / "m.lowp"
    options = "--precision", "int8", "--no-measure", "--calibrate", samples, "--disable-pass", "fuse_epilogues"
    command.ok("compile", mlp.onnx, "-o", engine, *options)
    rows = command.ok_json("compare", mlp.onnx, engine, "--input", mlp.input)
    assert rows[-1]["tensor"] == "y" and 15 < rows[-1]["snr_db"] < 100
    assert any(row["precision_a"] == "f32" and row["precision_b"] == "i8" for row in rows)
    for row in command.ok_json("compare", mlp.onnx, mlp.onnx, "--input", mlp.input):
        assert row["max_abs_error"] == 0
    assert "tensor" in command.ok("compare", mlp.onnx, engine, "--input", mlp.input)


def test_inspect(mlp, engine):
    for path, ops in ((mlp.onnx, {"Gemm": 2, "Relu": 1}), (engine, {"lowp.Linear": 2})):
        report = command.ok_json("inspect", path)
        assert report["inputs"] == [{"name": "x", "dtype": "f32", "shape": ["N", 64]}]
        assert report["outputs"] == [{"name": "y", "dtype": "f32", "shape": ["N", 10]}]
        assert report["ops"] == ops
        text = command.ok("inspect", path, "--nodes")
        assert "fc1" in text and "fc2" in text
    info = report["info"]
    assert info["request"]["precision"] == "fp32" and len(info["golden"]) == 16
    assert [layer["node"] for layer in info["measurements"]["layers"]] == ["fc1", "fc2"]


def test_doctor():
    report = command.ok_json("doctor")
    assert report["targets_agree"] is True
    names = [t["name"] for t in report["targets"]]
    assert report["target"] in names and {"scalar", "emu512", "emu_amx"} <= set(names)
    assert len({t["digest"] for t in report["targets"]}) == 1
    assert "the same bits" in command.ok("doctor")
    for name in names:
        chosen = json.loads(command.ok("doctor", "--json", isa=name))
        assert chosen["target"] == chosen["LOWP_ISA"] == name


def test_the_c_example(mlp, tmp_path):
    if not command.RUN_MODEL.is_file():
        pytest.skip(f"{command.RUN_MODEL} is not built")
    engine = tmp_path / "m.lowp"
    done = command.run(mlp.onnx, engine, program=command.RUN_MODEL)
    assert done.returncode == 0, done.stderr
    x = np.ones((1, 64), np.float32)
    (want,) = onnx.reference.ReferenceEvaluator(mlp.proto).run(None, {"x": x})
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1] and lines[0].startswith("y[0] = ")
    assert float(lines[0].split("=")[1]) == pytest.approx(want[0, 0], rel=1e-4)
    command.ok("inspect", engine)
    missing = command.run(tmp_path / "none.onnx", engine, program=command.RUN_MODEL)
    assert missing.returncode == 1 and "not-found" in missing.stderr
