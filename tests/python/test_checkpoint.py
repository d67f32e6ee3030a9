"""Checkpoints: what comes back, what is kept, and that neither a kill, a full disk nor damage loses one."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import lowp
from lowp.train import checkpoint
from lowp.train.checkpoint import CheckpointFolder, Metadata, latest, load, match, save


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "conv.weight/momentum": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "half": rng.standard_normal((5, 2)).astype(np.float16),
        "brain": rng.standard_normal((5, 2)).astype(ml_dtypes.bfloat16),
        "double": np.array([np.nan, np.inf, -0.0]),
        "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "scalar": np.float32(3.5),
        "empty": np.zeros((0, 4), np.float32),
        "ä/x": np.array([True, False]),
    }


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        left, right = np.asarray(a[name]), np.asarray(b[name])
        assert left.dtype == right.dtype and left.shape == right.shape, name
        assert left.tobytes() == right.tobytes(), name


def test_what_is_saved_comes_back(tmp_path):
    metadata = Metadata(
        7, 2, {"epoch": 2, "position": 5}, {"data": 3}, 1024.0, "abc", 0.25, {"plateau": {"best": None, "bad": 1}}
    )
    path = save(tmp_path / "new" / "a.safetensors", tensors(), metadata)
    found = load(path)
    same(found.tensors, tensors())
    assert found.metadata == metadata and found.path == path
    assert found.metadata.lowp_version == lowp.__version__
    assert checkpoint.read_metadata(path) == metadata
    assert os.listdir(path.parent) == ["a.safetensors"]
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o666
    from safetensors.numpy import load_file  # any reader of the format can

    assert load_file(path)["conv.weight"].shape == (4, 3, 3, 3)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(lowp.InvalidArgument, match="cannot be written as JSON"):
        save(tmp_path / "a", {}, Metadata(0, extra={"x": np.zeros(3)}))
    with pytest.raises(lowp.InvalidArgument, match="__metadata__"):
        save(tmp_path / "a", {"__metadata__": np.zeros(3)}, Metadata(0))
    with pytest.raises(lowp.IoError, match="cannot be written"):
        save("/proc/none/a", tensors(), Metadata(0))
    assert not list(tmp_path.iterdir())


def test_the_last_and_the_best_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step, metric in enumerate((0.5, 0.2, 0.9, None, 0.3, float("nan"))):
        folder.save({"w": np.full(2, step, np.float32)}, Metadata(step, metric=metric))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{s:08d}.safetensors" for s in (1, 4, 5)]
    assert folder.latest().metadata.step == 5
    assert folder.best().metadata.step == 1 and folder.best().tensors["w"].tolist() == [1, 1]
    assert CheckpointFolder(tmp_path, larger_is_better=True).best().metadata.step == 4
    assert latest(tmp_path / "nowhere") is None and CheckpointFolder(tmp_path / "nowhere").best() is None
    with pytest.raises(lowp.InvalidArgument, match="keep is 0"):
        CheckpointFolder(tmp_path, keep=0)


def damage_end(content):
    return content[:-7]


def damage_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def damage_header(content):
    return content.replace(b'\\"step\\": 3', b'\\"step\\": 8')


@pytest.mark.parametrize(
    "damage, message",
    [
        (damage_end, "damaged"),
        (damage_bit, "tensor 'w' is not what was written"),
        (damage_header, "metadata has another checksum"),
        (lambda c: b"", "damaged"),
        (lambda c: b"\0" * len(c), "damaged"),
        (lambda c: os.urandom(8) + c[8:], "damaged"),
    ],
)
def test_damaged_checkpoints_are_passed_over(tmp_path, damage, message):
    folder = CheckpointFolder(tmp_path)
    for step in (2, 3):
        path = folder.save({"w": np.arange(100.0)}, Metadata(step))
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    with pytest.raises(lowp.CorruptFile, match=message):
        load(path)
    with pytest.warns(RuntimeWarning, match="00000003.*trying the one before"):
        assert folder.latest().metadata.step == 2
    assert folder.best() is None


def test_no_damage_goes_unseen(tmp_path):
    path = save(tmp_path / "a", tensors(), Metadata(5, extra={"x": [1, 2]}))
    content = path.read_bytes()
    rng = np.random.default_rng(2)
    for place in [*range(60), *rng.integers(0, len(content), 400)]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = load(path)
        except (lowp.CorruptFile, lowp.VersionError):
            continue
        same(found.tensors, tensors())  # what was hit means nothing, such as a space of the header
        assert found.metadata == Metadata(5, extra={"x": [1, 2]})


def test_other_files(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(2)}, tmp_path / "step-00000009.safetensors")
    with pytest.raises(lowp.CorruptFile, match="no checkpoint of lowp"):
        load(tmp_path / "step-00000009.safetensors")
    with pytest.raises(lowp.NotFound):
        load(tmp_path / "none")
    (tmp_path / "step-x.safetensors").write_bytes(b"")
    with pytest.warns(RuntimeWarning):
        assert latest(tmp_path) is None


def test_a_newer_one_is_not_passed_over(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save({}, Metadata(1))
    monkeypatch.setattr(checkpoint, "_FORMAT", 2)
    folder.save({}, Metadata(2, lowp_version="9.0"))
    monkeypatch.undo()
    with pytest.raises(lowp.VersionError, match="lowp 9.0, newer"):
        latest(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(tensors(), Metadata(1))

    def full(path, arrays, header):
        path.write_bytes(b"x" * 100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(lowp.IoError, match=r"No space left on device.*MB are needed.*earlier checkpoints are as they"):
        folder.save(tensors(1), Metadata(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.safetensors"]
    same(folder.latest().tensors, tensors())


def test_a_disk_that_is_really_full(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        folder = CheckpointFolder(tmp_path, keep=1)
        folder.save({"w": np.ones(100_000, np.float32)}, Metadata(1))
        with pytest.raises(lowp.IoError, match="No space left"):
            folder.save({"w": np.zeros(200_000, np.float32)}, Metadata(2))
        assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.safetensors"]
        assert folder.latest().tensors["w"].all()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


WRITER = """
import sys
import numpy as np
from lowp.train.checkpoint import CheckpointFolder, Metadata

folder, step = CheckpointFolder(sys.argv[1], keep=2), int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    folder.save({"w": np.full(300_000, step, np.float32), "v": np.full(7, step)}, Metadata(step, metric=1 / step))
    print(step, flush=True)
"""


def test_kill_while_writing(tmp_path):
    """The last checkpoint that a killed process finished is there and whole, and nothing else stays."""
    rng = np.random.default_rng(8)
    finished = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(finished)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.01 + 0.1 * rng.random())
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split("\n")[:-1]  # the last may be cut off
        writer.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = latest(tmp_path)
        if lines:
            assert found.metadata.step >= int(lines[-1])
        if found:
            finished = found.metadata.step
            assert (found.tensors["w"] == finished).all() and (found.tensors["v"] == finished).all()
    assert finished > 0
    CheckpointFolder(tmp_path, keep=2).save({"w": np.zeros(1)}, Metadata(finished + 1))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert len(list(tmp_path.iterdir())) <= 3


def test_match():
    model = {"a.weight": np.zeros((2, 3), np.float32), "a.bias": np.zeros(3, np.float32)}
    assert match(model, model).keys() == model.keys()
    with pytest.raises(
        lowp.InvalidArgument,
        match=r"lacks 'a.bias' \(nearest: 'a.bais'\); the model does not know 'a.bais' \(nearest: 'a.bias'\)",
    ):
        match({"a.weight": model["a.weight"], "a.bais": model["a.bias"]}, model)
    with pytest.raises(
        lowp.ShapeMismatch, match=r"'a.weight' has shape \[4, 3\] in the checkpoint, \[2, 3\] in the model"
    ):
        match(model | {"a.weight": np.zeros((4, 3), np.float32)}, model)
    with pytest.raises(lowp.TypeMismatch, match="'a.bias' is float16 in the checkpoint, float32 in the model"):
        match(model | {"a.bias": np.zeros(3, np.float16)}, model)
    with pytest.raises(lowp.InvalidArgument, match="and 15 more"):
        match({}, {f"p{i}": np.zeros(1) for i in range(20)})


def test_metadata_is_json_in_the_header(tmp_path):
    path = save(tmp_path / "a", tensors(), Metadata(5))
    content = Path(path).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["lowp"])["step"] == 5
