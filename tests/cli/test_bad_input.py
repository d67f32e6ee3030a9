"""Bad input gives an error with a stable code, and never a crash."""

import ctypes
import ctypes.util
import resource
import shutil

import command
import models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


def write(path, content):
    path.write_bytes(content)
    return path


def test_missing_files(mlp, engine, tmp_path):
    none, output = tmp_path / "none", tmp_path / "out"
    for model in (f"{none}.onnx", f"{none}.lowp"):
        assert str(none) in command.fails("not-found", "inspect", model)
        command.fails("not-found", "run", model, "--input", mlp.input, "--output", output)
    command.fails("not-found", "compile", f"{none}.onnx", "-o", output)
    command.fails("not-found", "run", engine, "--input", none, "--output", output)
    command.fails("not-found", "compile", mlp.onnx, "-o", output, "--precision", "int8", "--calibrate", none)
    command.fails(("io", "not-found"), "compile", mlp.onnx, "-o", none / "m.lowp")
    command.fails(("io", "not-found"), "run", engine, "--input", mlp.input, "--output", none / "y.npz")
    command.fails(("io", "invalid-argument"), "compile", mlp.onnx, "-o", tmp_path)
    command.fails(None, "compile", tmp_path, "-o", output)
    command.fails("invalid-argument", "compile", mlp.onnx, "-o", mlp.onnx)
    assert not list(tmp_path.iterdir())


def test_truncated_models(mobile, tmp_path):
    whole = mobile.onnx.read_bytes()
    for length in (0, 1, 7, 64, len(whole) // 3, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        model = write(tmp_path / "m.onnx", whole[:length])
        command.fails(("corrupt", "invalid-model"), "compile", model, "-o", tmp_path / "m.lowp")
    assert not (tmp_path / "m.lowp").exists()


def test_models_with_flipped_bits(mobile, tmp_path):
    """A changed weight is still a model; anything else is an error."""
    whole = mobile.onnx.read_bytes()
    rng = np.random.default_rng(7)
    failed = 0
    for at in rng.integers(0, len(whole), 60):
        changed = bytearray(whole)
        changed[at] ^= 1 << int(rng.integers(8))
        done = command.run("compile", write(tmp_path / "m.onnx", bytes(changed)), "-o", tmp_path / "m.lowp")
        assert done.returncode in (0, 1) and "internal:" not in done.stderr, (at, done.stderr)
        failed += done.returncode
    assert failed > 0


def test_files_that_are_no_models(tmp_path):
    for i, content in enumerate((b"hello", b"\0" * 4096, b"\x89PNG\r\n\x1a\n" + b"x" * 99, b"\xff" * 1000)):
        model = write(tmp_path / f"{i}.onnx", content)
        command.fails(("corrupt", "invalid-model"), "compile", model, "-o", tmp_path / "m.lowp")
        command.fails("corrupt", "inspect", write(tmp_path / f"{i}.lowp", content))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_wrong_dtype(dtype, mlp, engine, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((5, 64), dtype))
    for model in (engine, mlp.onnx):
        message = command.fails(
            "type-mismatch", "run", model, "--input", tmp_path / "x.npz", "--output", tmp_path / "y"
        )
        assert "'x'" in message and "f32" in message
    options = "--precision", "int8", "--calibrate", tmp_path / "x.npz"
    command.fails("type-mismatch", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)


@pytest.mark.parametrize("shape", [(5,), (), (5, 63), (5, 64, 1), (64, 5)])
def test_wrong_shape(shape, mlp, engine, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(shape, np.float32))
    message = command.fails("shape-mismatch", "run", engine, "--input", tmp_path / "x.npz", "--output", tmp_path / "y")
    assert "'x'" in message and f"[{','.join(map(str, shape))}]" in message and "[N,64]" in message
    options = "--precision", "int8", "--calibrate", tmp_path / "x.npz"
    command.fails("shape-mismatch", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)


def test_wrong_names(engine, tmp_path):
    output = tmp_path / "y"
    for arrays, named in (({"z": 1}, "'x'"), ({"x": np.zeros((1, 64), np.float32), "z": 1}, "'z'"), ({}, "'x'")):
        np.savez(tmp_path / "x.npz", **arrays)
        assert named in command.fails(None, "run", engine, "--input", tmp_path / "x.npz", "--output", output)
    command.fails("invalid-argument", "bench", engine, "--shape", "z=1x64")
    command.fails("invalid-argument", "bench", engine, "--shape", "x=1,64")
    command.fails("shape-mismatch", "bench", engine, "--shape", "x=1x2")
    command.fails("resource", "bench", engine, "--shape", "x=99999999999x64")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_calibration_data_that_is_not_finite(bad, mlp, tmp_path):
    x = np.zeros((4, 64), np.float32)
    x[2, 3] = bad
    np.savez(tmp_path / "x.npz", x=x)
    options = "--precision", "int8", "--calibrate", tmp_path / "x.npz"
    assert "'x'" in command.fails("calibration", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)


def test_no_calibration_data(mlp, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    for options in ([], ["--calibrate", folder]):
        command.fails("calibration", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", "--precision", "int8", *options)
    np.savez(folder / "x.npz", x=np.zeros((0, 64), np.float32))
    options = "--precision", "int8", "--calibrate", folder
    command.fails("calibration", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)
    np.savez(folder / "x.npz")
    command.fails("calibration", "compile", mlp.onnx, "-o", tmp_path / "m.lowp", *options)


def test_unknown_ops_are_all_listed(tmp_path):
    info = models.F32, ["N"]
    nodes = [
        helper.make_node("Nonesuch", ["x"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "known"),
        helper.make_node("Strange", ["b"], ["y"], "second", domain="far.away"),
    ]
    model = models.make_model(nodes, {"x": info}, {"y": info})
    model.opset_import.append(helper.make_opsetid("far.away", 1))
    onnx.save(model, tmp_path / "m.onnx")
    message = command.fails("unsupported", "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.lowp")
    for text in ("Nonesuch", "first", "Strange", "second", "far.away"):
        assert text in message
    assert "known" not in message.replace("unknown", "")


def test_external_data_outside_the_folder(tmp_path):
    secret = write(tmp_path / "secret.bin", b"\0" * 256)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    (folder / "folder").symlink_to(tmp_path)

    def save(location):
        w = TensorProto(name="w", data_type=models.F32, dims=[64], data_location=TensorProto.EXTERNAL)
        w.external_data.add(key="location", value=location)
        info = models.F32, [64]
        model = models.make_model([helper.make_node("Add", ["x", "w"], ["y"], "add")], {"x": info}, {"y": info})
        model.graph.initializer.append(w)
        return write(folder / "m.onnx", model.SerializeToString())

    for location in (str(secret), "../secret.bin", "a/../../secret.bin", "link.bin", "folder/secret.bin", ""):
        command.fails("invalid-model", "compile", save(location), "-o", tmp_path / "m.lowp")
    command.fails("not-found", "compile", save("none.bin"), "-o", tmp_path / "m.lowp")
    write(folder / "inside.bin", b"\0" * 255)
    command.fails("corrupt", "compile", save("inside.bin"), "-o", tmp_path / "m.lowp")
    write(folder / "inside.bin", b"\0" * 256)
    command.ok("compile", save("inside.bin"), "-o", tmp_path / "m.lowp")


def test_engines_with_changed_bytes(engine, mlp, tmp_path):
    whole = engine.read_bytes()
    changed_engine = tmp_path / "m.lowp"
    for at in [*range(0, 64, 3), *range(64, len(whole), len(whole) // 60), len(whole) - 1]:
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        write(changed_engine, bytes(changed))
        command.fails("corrupt", "run", changed_engine, "--input", mlp.input, "--output", tmp_path / "y.npz")


def test_truncated_engines(engine, tmp_path):
    whole = engine.read_bytes()
    for length in [*range(0, len(whole), 1024), 63, 64, 65, len(whole) - 1]:
        command.fails("corrupt", "inspect", write(tmp_path / "m.lowp", whole[:length]))
    command.fails("corrupt", "inspect", write(tmp_path / "m.lowp", whole + b"\0"))


def test_engine_of_a_newer_version(engine, tmp_path):
    name = ctypes.util.find_library("xxhash")
    if name is None:
        pytest.skip("no libxxhash to write the header's checksum with")
    xxh3 = ctypes.CDLL(name).XXH3_64bits
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    whole = bytearray(engine.read_bytes())
    assert whole[56:64] == xxh3(bytes(whole[:56]), 56).to_bytes(8, "little")
    whole[8:12] = (2).to_bytes(4, "little")
    whole[56:64] = xxh3(bytes(whole[:56]), 56).to_bytes(8, "little")
    message = command.fails("version", "inspect", write(tmp_path / "m.lowp", bytes(whole)))
    assert "2" in message and "1" in message


def test_full_disk(mobile, engine, mlp, tmp_path):
    """An old file survives, and nothing else is left behind."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    old = tmp_path / "m.lowp"
    shutil.copy(engine, old)
    command.fails("io", "compile", mobile.onnx, "-o", old, preexec_fn=limit)
    assert old.read_bytes() == engine.read_bytes()
    np.savez(tmp_path / "x.npz", x=np.zeros((1000, 64), np.float32))
    output = write(tmp_path / "y.npz", b"old")
    command.fails("io", "run", engine, "--input", tmp_path / "x.npz", "--output", output, preexec_fn=limit)
    assert output.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.lowp", "x.npz", "y.npz"]


def test_unknown_instruction_set(mlp, engine, tmp_path):
    for arguments in (
        ["doctor"],
        ["compile", mlp.onnx, "-o", tmp_path / "m.lowp"],
        ["run", engine, "--input", mlp.input, "--output", tmp_path / "y.npz"],
        ["bench", engine],
    ):
        assert "nonsense" in command.fails("invalid-argument", *arguments, isa="nonsense")


def test_damaged_arrays(mlp, engine, tmp_path):
    whole = mlp.input.read_bytes()
    path, output = tmp_path / "x.npz", tmp_path / "y.npz"
    for content in (b"", b"PK", b"no archive at all", *(whole[:n] for n in range(1, len(whole), 97))):
        command.fails("corrupt", "run", engine, "--input", write(path, content), "--output", output)
    rng = np.random.default_rng(3)
    start = whole.index(b"\x93NUMPY")
    for at in [*range(start, start + 128), *rng.integers(0, len(whole), 40)]:
        changed = bytearray(whole)
        changed[at] ^= 1 << int(rng.integers(8))
        done = command.run("run", engine, "--input", write(path, bytes(changed)), "--output", output)
        assert done.returncode in (0, 1) and "internal:" not in done.stderr, (at, done.stderr)
    command.fails("corrupt", "run", engine, "--input", tmp_path, "--output", output)
    for array, code in ((np.asfortranarray(np.zeros((5, 64), np.float32)), "unsupported"), ("text", "unsupported")):
        np.savez(path, x=array)
        command.fails(code, "run", engine, "--input", path, "--output", output)
