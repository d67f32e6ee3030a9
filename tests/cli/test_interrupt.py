"""Ctrl-C."""

import signal
import subprocess
import time

import command
import numpy as np
import pytest


@pytest.mark.parametrize("old", [None, b"an old engine"])
def test_compile(old, mobile, tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    x = np.random.default_rng(1).standard_normal((64, 3, 19, 19), np.float32)
    np.savez(samples / "0.npz", x=x)
    for i in range(1, 3000):
        (samples / f"{i}.npz").hardlink_to(samples / "0.npz")
    engine = tmp_path / "m.lowp"
    if old:
        engine.write_bytes(old)
    arguments = "compile", mobile.onnx, "-o", engine, "--precision", "int8", "--calibrate", samples
    process = subprocess.Popen(
        [str(command.LOWP), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stdout == "" and stderr.startswith("lowp: cancelled: ")
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p != samples}
    assert left == ({"m.lowp": old} if old else {})
