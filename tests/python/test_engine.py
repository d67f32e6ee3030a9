"""Running engines: against ONNX's reference, arrays of every kind, errors, threads, files, memory."""

import concurrent.futures
import gc
import os

import ml_dtypes
import models
import numpy as np
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import lowp

SEED = 20240


@pytest.fixture(scope="module")
def engine():
    return lowp.compile(lowp.load(models.mlp()), precision="fp32", threads=1)


def batch(n, features=64, seed=SEED):
    return np.random.default_rng(seed).standard_normal((n, features), np.float32)


@pytest.mark.parametrize("make,shape", [(models.mlp, (5, 64)), (models.convnet, (3, 3, 16, 16))])
def test_equals_the_reference(make, shape):
    model = make()
    x = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    (want,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    have = lowp.compile(model, precision="fp32").run({"x": x})["y"]
    assert have.dtype == np.float32
    # Sums of at most 96 products in other order: 96 epsilon times their magnitude.
    np.testing.assert_allclose(have, want, rtol=0, atol=96 * 2**-23 * np.abs(want).max() * 4)


@pytest.mark.parametrize("precision,snr", [("bf16", 30), ("fp16", 50), ("int8", 25)])
@pytest.mark.parametrize("make,shape", [(models.mlp, (64, 64)), (models.convnet, (8, 3, 16, 16))])
def test_low_precision_is_close(make, shape, precision, snr):
    model = lowp.load(make())
    x = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    want = lowp.compile(model, precision="fp32").run({"x": x})["y"]
    engine = lowp.compile(model, precision, [{"x": x}] if precision == "int8" else None, measure=False)
    have = engine.run({"x": x})["y"]
    assert engine.precision == precision
    assert 10 * np.log10((want**2).sum() / ((have - want) ** 2).sum()) > snr


def test_inputs_and_outputs():
    model = lowp.load(models.mlp())
    engine = lowp.compile(model, precision="fp32")
    for thing in (model, engine):
        assert [(i.name, i.dtype, i.shape) for i in thing.inputs] == [("x", np.float32, ("N", 64))]
        assert [(o.name, o.dtype, o.shape) for o in thing.outputs] == [("y", np.float32, ("N", 10))]
    assert ("fc1", "Gemm") in model.nodes


@given(n=st.integers(0, 9), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_any_batch_size(engine, n, seed):
    x = batch(n, seed=seed)
    y = engine.run({"x": x})["y"]
    assert y.shape == (n, 10)
    for i in range(n):
        np.testing.assert_allclose(y[i], engine.run({"x": x[i : i + 1]})["y"][0], rtol=1e-4, atol=1e-4)


@given(
    shape=st.tuples(st.integers(0, 7), st.integers(0, 7)), order=st.sampled_from("CF"), step=st.sampled_from([1, -1, 2])
)
@settings(max_examples=50, deadline=None)
def test_any_layout(add_engine, shape, order, step):
    x = np.asarray(np.random.default_rng(SEED).standard_normal((14, 14)), np.float32, order=order)
    x = x[::step, ::step][: shape[0], : shape[1]]
    np.testing.assert_array_equal(add_engine.run({"x": x, "y": x.copy()})["z"], x + x)


@pytest.fixture(scope="module")
def add_engine():
    return lowp.compile(models.add(TensorProto.FLOAT), precision="fp32")


@pytest.mark.parametrize(
    "onnx_dtype,dtype",
    [
        (TensorProto.FLOAT, np.float32),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.INT8, np.int8),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT16, np.int16),
        (TensorProto.UINT16, np.uint16),
        (TensorProto.INT32, np.int32),
        (TensorProto.UINT32, np.uint32),
        (TensorProto.INT64, np.int64),
        (TensorProto.UINT64, np.uint64),
        (TensorProto.BOOL, np.bool_),
        (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
        (TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2),
        (TensorProto.INT4, ml_dtypes.int4),
        (TensorProto.UINT4, ml_dtypes.uint4),
    ],
)
def test_every_dtype(onnx_dtype, dtype):
    engine = lowp.compile(models.identity(onnx_dtype), precision="fp32")
    x = np.array([[0, 1, 2], [3, 1, 0], [1, 2, 3]]).astype(dtype)
    y = engine.run({"x": x})["y"]
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x)
    y[...] = x[::-1]  # the caller's own
    np.testing.assert_array_equal(engine.run({"x": x})["y"], x)


def test_reads_in_place_and_takes_dlpack(add_engine):
    class Exports:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    x = batch(2, 3)
    np.testing.assert_array_equal(add_engine.run({"x": Exports(x), "y": x})["z"], x + x)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(add_engine.run({"x": frozen, "y": x})["z"], x + x)
    np.testing.assert_array_equal(add_engine.run({"x": [[1, 2.5]], "y": [[1, 1]]})["z"], [[2, 3.5]])


def test_errors_name_the_input(engine, add_engine):
    x = batch(1)
    with pytest.raises(lowp.InvalidArgument, match="'x' is missing") as e:
        engine.run({})
    assert e.value.code == "invalid-argument" and isinstance(e.value, ValueError)
    with pytest.raises(lowp.InvalidArgument, match="'z' is unknown.*'x'"):
        engine.run({"x": x, "z": x})
    with pytest.raises(lowp.TypeMismatch, match="'x' is float64, the model wants float32") as e:
        engine.run({"x": x.astype(np.float64)})
    assert isinstance(e.value, TypeError)
    with pytest.raises(lowp.TypeMismatch, match="list"):
        engine.run([x])
    with pytest.raises(lowp.TypeMismatch, match="'x'"):
        engine.run({"x": object()})
    with pytest.raises(lowp.ShapeMismatch, match="'x'.*63.*64|'x'.*64.*63") as e:
        engine.run({"x": x[:, :63]})
    assert isinstance(e.value, ValueError)
    with pytest.raises(lowp.ShapeMismatch, match="'x'"):
        engine.run({"x": x[0]})
    with pytest.raises(lowp.ShapeMismatch, match="3.*2|2.*3"):
        add_engine.run({"x": np.zeros((2, 2), np.float32), "y": np.zeros((3, 2), np.float32)})
    np.testing.assert_array_equal(engine.run({"x": x})["y"].shape, (1, 10))  # and goes on


def test_errors_of_files(tmp_path, engine):
    with pytest.raises(lowp.NotFound) as e:
        lowp.load(tmp_path / "none.onnx")
    assert isinstance(e.value, FileNotFoundError) and e.value.code == "not-found"
    with pytest.raises(lowp.NotFound):
        lowp.open(tmp_path / "none.lowp")
    with pytest.raises(lowp.Error):
        lowp.load(b"not a model")
    path = tmp_path / "e.lowp"
    engine.save(path)
    data = path.read_bytes()
    (tmp_path / "short.lowp").write_bytes(data[: len(data) // 2])
    with pytest.raises(lowp.CorruptFile):
        lowp.open(tmp_path / "short.lowp")
    with pytest.raises(lowp.Error) as e:
        engine.save(tmp_path / "no" / "such" / "folder.lowp")
    assert e.value.code in ("io", "not-found")
    with pytest.raises(lowp.InvalidArgument, match="int7"):
        lowp.compile(models.mlp(), "int7")
    with pytest.raises(lowp.InvalidArgument, match="threads"):
        lowp.compile(models.mlp(), "fp32", threads=-1).run({"x": batch(1)})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_save_and_open_give_the_same_bits(tmp_path, precision):
    x = batch(32)
    engine = lowp.compile(models.mlp(), precision, [{"x": x}] if precision == "int8" else None, measure=False)
    engine.save(tmp_path / "m.lowp")
    again = lowp.open(tmp_path / "m.lowp", threads=2)
    from_bytes = lowp.open((tmp_path / "m.lowp").read_bytes())
    want = engine.run({"x": x})["y"]
    for other in (again, from_bytes):
        assert other.run({"x": x})["y"].tobytes() == want.tobytes()
        assert (other.precision, other.report) == (precision, engine.report)
        assert other.inputs == engine.inputs and other.outputs == engine.outputs


def test_four_threads_give_the_same_bits():
    engine = lowp.compile(models.convnet(), precision="fp32", threads=2)
    x = np.random.default_rng(SEED).standard_normal((2, 3, 16, 16), np.float32)
    want = engine.run({"x": x})["y"].tobytes()

    def work(_):
        return all(engine.run({"x": x})["y"].tobytes() == want for _ in range(1000))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_reloading_does_not_grow(tmp_path):
    path = tmp_path / "m.lowp"
    lowp.compile(models.mlp(1024, 1024, 256), precision="fp32").save(path)  # 5 MB of weights
    x = batch(4, 1024)

    def reload(times):
        for _ in range(times):
            lowp.open(path, threads=1).run({"x": x})
        gc.collect()
        return resident_bytes()

    before = reload(10)
    assert reload(100) - before < 2 << 20


def test_profile_and_report(engine):
    steps = engine.profile({"x": batch(8)}, runs=3)
    assert steps and all(s.microseconds >= 0 for s in steps)
    assert sum(s.macs for s in steps) == 8 * (64 * 96 + 96 * 10)
    assert engine.profile(runs=1)
    with pytest.raises(lowp.InvalidArgument, match="runs"):
        engine.profile(runs=0)
    assert {layer["node"] for layer in engine.report["layers"]} == {"fc1", "fc2"}
