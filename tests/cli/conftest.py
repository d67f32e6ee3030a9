"""Shared by the tests of the command."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python")]
os.environ["LOWP_CACHE"] = ""  # tests neither read nor leave measurements

import command  # noqa: E402
import models  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not command.LOWP.is_file():
        pytest.skip(f"{command.LOWP} is not built (LOWP_BIN names another)")
    return command.LOWP


class Files:
    """A model and what goes with it."""

    def __init__(self, folder, name, model, inputs):
        self.onnx = folder / f"{name}.onnx"
        self.proto = model
        onnx.save(model, self.onnx)
        self.inputs = inputs
        self.input = folder / f"{name}.npz"
        np.savez(self.input, **inputs)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture(scope="session")
def mlp(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("mlp"), "mlp", models.mlp(), {"x": normal(5, 64)})


@pytest.fixture(scope="session")
def mobile(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("mobile"), "mobile", models.mobile(), {"x": normal(2, 3, 19, 19)})


@pytest.fixture(scope="session")
def transformer(tmp_path_factory):
    ids = np.random.default_rng(1).integers(0, 50, (2, 13))
    return Files(tmp_path_factory.mktemp("transformer"), "transformer", models.transformer(), {"ids": ids})


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder of calibration samples for the mlp."""
    folder = tmp_path_factory.mktemp("samples")
    for i in range(4):
        np.savez(folder / f"{i}.npz", x=normal(16, 64, seed=i))
    return folder


@pytest.fixture(scope="session")
def engine(mlp, tmp_path_factory):
    """The mlp, compiled in FP32."""
    path = tmp_path_factory.mktemp("engine") / "mlp.lowp"
    command.ok("compile", mlp.onnx, "-o", path, "--threads", 1)
    return path
