"""Compilation from Python: calibration samples, options, progress, Ctrl-C."""

import signal
import subprocess
import sys
import textwrap
import time

import models
import numpy as np
import pytest

import lowp

SEED = 11
OPTIONS = {"measure": False, "threads": 1}


def samples(count=4):
    rng = np.random.default_rng(SEED)
    return [{"x": rng.standard_normal((2, 64), np.float32)} for _ in range(count)]


def bits(engine):
    return engine.run({"x": samples(1)[0]["x"]})["y"].tobytes()


def test_calibration_from_everywhere(tmp_path):
    model, data = lowp.load(models.mlp()), samples()
    (tmp_path / "folder").mkdir()
    files = [tmp_path / "folder" / f"{i}.npz" for i in range(4)]
    for file, sample in zip(files, data, strict=True):
        np.savez(file, **sample)
    wanted = lowp.compile(model, "int8", data, **OPTIONS)
    assert wanted.report["calibration_samples"] == 4
    sources = [
        iter(data),
        (s for s in data),
        tmp_path / "folder",
        str(tmp_path / "folder"),
        files,
        [files[0], *data[1:]],
    ]
    for source in sources:
        engine = lowp.compile(model, "int8", source, **OPTIONS)
        assert bits(engine) == bits(wanted)
        assert engine.report["calibration_samples"] == 4
    assert lowp.compile(model, "int8", files[0], **OPTIONS).report["calibration_samples"] == 1
    assert lowp.compile(model, "int8", data[0], **OPTIONS).report["calibration_samples"] == 1


def test_bad_calibration(tmp_path):
    model = lowp.load(models.mlp())
    for nothing in (None, [], iter(())):
        with pytest.raises(lowp.CalibrationError) as e:
            lowp.compile(model, "int8", nothing)
        assert e.value.code == "calibration"
    data = samples()
    data[2]["x"][1, 3] = np.nan
    with pytest.raises(lowp.CalibrationError, match="sample 2.*'x'.*nan.*67"):
        lowp.compile(model, "int8", data)
    with pytest.raises(lowp.TypeMismatch, match="sample 1.*'x'.*float64"):
        lowp.compile(model, "int8", [samples()[0], {"x": np.zeros((2, 64))}])
    with pytest.raises(lowp.InvalidArgument, match="sample 0.*'x' is missing"):
        lowp.compile(model, "int8", [{"y": 1}])
    with pytest.raises(lowp.ShapeMismatch, match="sample 0.*'x'"):
        lowp.compile(model, "int8", [{"x": np.zeros((2, 65), np.float32)}])
    with pytest.raises(lowp.NotFound, match="none.npz"):
        lowp.compile(model, "int8", tmp_path / "none.npz")
    with pytest.raises(lowp.CalibrationError, match="no .npz"):
        lowp.compile(model, "int8", tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK nonsense")
    with pytest.raises(lowp.CalibrationError, match="bad.npz"):
        lowp.compile(model, "int8", tmp_path)
    with pytest.raises(lowp.InvalidArgument, match="int"):
        lowp.compile(model, "int8", 3)


def test_an_exception_of_a_generator_passes_through():
    class OwnError(Exception):
        pass

    def broken():
        yield samples()[0]
        raise OwnError("mine")

    with pytest.raises(OwnError, match="mine"):
        lowp.compile(models.mlp(), "int8", broken())


def test_options():
    model = lowp.load(models.mlp())
    engine = lowp.compile(model, "int8", samples(), keep_fp32=["fc2"], **OPTIONS)
    layers = {layer["node"]: layer for layer in engine.report["layers"]}
    assert layers["fc1"]["executed"] != "f32"
    assert layers["fc2"]["executed"] == "f32" and "request" in layers["fc2"]["reason"]
    with pytest.raises(lowp.InvalidArgument, match="fc9"):
        lowp.compile(model, "int8", samples(), keep_fp32=["fc9"])
    with pytest.raises(lowp.Unsupported, match="fc2"):
        lowp.compile(model, "int8", samples(), keep_fp32=["fc2"], strict=True, **OPTIONS)
    costly = lowp.compile(model, "int8", samples(), min_output_snr=1000.0, **OPTIONS)
    assert costly.report["output_snr_db"] > lowp.compile(model, "int8", samples(), **OPTIONS).report["output_snr_db"]
    for observer in ("minmax", "percentile", "mse", "auto"):
        assert bits(lowp.compile(model, "int8", samples(), observer=observer, **OPTIONS))
    with pytest.raises(lowp.InvalidArgument, match="best.*minmax"):
        lowp.compile(model, "int8", samples(), observer="best")
    for target in ("vnni", "avx2"):
        assert bits(lowp.compile(model, "int8", samples(), target=target, **OPTIONS))
    with pytest.raises(lowp.InvalidArgument, match="z80"):
        lowp.compile(model, "int8", samples(), target="z80")


def test_progress_is_told_and_can_stop():
    seen = []
    lowp.compile(models.mlp(), "int8", samples(), progress=lambda *a: seen.append(a))
    assert ("calibrate", 4, 4) in seen
    with pytest.raises(lowp.Cancelled):
        lowp.compile(models.mlp(), "int8", samples(), progress=lambda *a: False)


def test_ctrl_c_interrupts(tmp_path):
    program = """
        import signal, sys
        sys.path.insert(0, sys.argv[1])
        import models, lowp, numpy as np

        # A shell's background jobs inherit an ignored SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def forever():
            rng = np.random.default_rng(0)
            print("calibrating", flush=True)
            while True:
                yield {"x": rng.standard_normal((64, 64), np.float32)}

        try:
            lowp.compile(models.mlp(), "int8", forever())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), models.__file__.rsplit("/", 1)[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "calibrating\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        start = time.monotonic()
        try:
            out, _ = child.communicate(timeout=30)
        finally:
            child.kill()
    assert out == "interrupted\n" and child.returncode == 0
    assert time.monotonic() - start < 5
