"""Several processes train one model: mpirun and a small network (mpi_worker.py), and `lowp train`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import command
import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / "python"
MPIRUN = shutil.which("mpirun")
pytestmark = [
    pytest.mark.skipif(MPIRUN is None, reason="mpirun (openmpi-bin) is not installed"),
    pytest.mark.skipif(not (PYTHON / "lowp" / "liblowp_mpi.so").is_file(), reason="lowp was built without MPI"),
]
# A step of these takes milliseconds, starting a rank a second or two.
LIMIT = 120


def environment():
    path = os.pathsep.join(p for p in (str(PYTHON), os.environ.get("PYTHONPATH")) if p)
    # Root has to say so twice.
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | root | {"PYTHONPATH": path, "LOWP_PYTHON": sys.executable}


def start(ranks, *arguments):
    """mpirun, in a process group of its own."""
    return subprocess.Popen(
        [MPIRUN, "--oversubscribe", "-n", str(ranks), *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """(status, stdout, stderr); no process of it is left."""
    try:
        stdout, stderr = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, stdout, stderr


def worker(ranks, out, **options):
    options["out"] = str(out)
    return finish(start(ranks, sys.executable, HERE / "mpi_worker.py", json.dumps(options)))


def train(ranks, out, **options):
    """The figures of each step, and rank 0's arrays. All ranks have the same."""
    status, stdout, stderr = worker(ranks, out, **options)
    assert status == 0, stderr
    found = json.loads(stdout)
    assert found["differing"] == []
    with np.load(out) as file:
        return found["figures"], dict(file)


def test_ranks_together_do_what_one_does(tmp_path):
    one, weights_of_one = train(1, tmp_path / "1.npz")
    for ranks in (2, 3):
        several, weights = train(ranks, tmp_path / f"{ranks}.npz")
        if ranks == 3:  # parts of 10, 11 and 11 samples, whose means count alike
            np.testing.assert_allclose(several[0][0], one[0][0], rtol=0.02)
            continue
        # Only the order of additions differs: a few units in the last place of sums over 32 samples, and what 20 steps
        # make of them.
        np.testing.assert_allclose(np.array(several), np.array(one), rtol=1e-4)
        assert weights.keys() == weights_of_one.keys()
        for name, array in weights.items():
            np.testing.assert_allclose(array, weights_of_one[name], atol=1e-5, err_msg=name)


def test_runs_are_alike_and_dropout_differs_by_rank(tmp_path):
    first = train(2, tmp_path / "a.npz", dropout=0.5)
    again = train(2, tmp_path / "b.npz", dropout=0.5, bucket_bytes=100)
    other = train(1, tmp_path / "c.npz", dropout=0.5)
    assert first[0] == again[0]
    for name, array in first[1].items():
        np.testing.assert_array_equal(array, again[1][name], err_msg=name)
    assert first[0] != other[0]


def test_compressed_gradients_train(tmp_path):
    exact, _ = train(2, tmp_path / "a.npz", steps=40)
    rounded, _ = train(2, tmp_path / "b.npz", steps=40, compress="bf16")
    assert exact != rounded
    # A gradient is rounded by 2^-9 of itself at most, twice.
    np.testing.assert_allclose(rounded[0][1], exact[0][1], rtol=2**-7)
    assert np.mean([f[0] for f in rounded[-10:]]) < 0.25 * rounded[0][0]


def test_sparse_tables_have_the_rows_of_all_ranks(tmp_path):
    one, weights_of_one = train(1, tmp_path / "1.npz", sparse=True)
    two, weights = train(2, tmp_path / "2.npz", sparse=True)
    np.testing.assert_allclose(np.array(two), np.array(one), rtol=1e-4)
    for name, array in weights.items():
        np.testing.assert_allclose(array, weights_of_one[name], atol=1e-5, err_msg=name)
    rounded, _ = train(2, tmp_path / "3.npz", sparse=True, compress="bf16")
    assert rounded != two
    np.testing.assert_allclose(rounded[0][1], two[0][1], rtol=2**-7)


def test_one_rank_that_is_not_finite_skips_everybodys_step(tmp_path):
    figures, _ = train(2, tmp_path / "a.npz", infinite=[1, 3], loss_scale="dynamic")
    assert [i for i, f in enumerate(figures) if f[2]] == [3]
    status, _, stderr = worker(2, tmp_path / "b.npz", infinite=[1, 3])
    assert status != 0
    assert "not finite" in stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_ends_the_others(rank, tmp_path):
    begin = time.monotonic()
    status, _, stderr = worker(2, tmp_path / "a.npz", kill=[rank, 5])
    assert status != 0
    assert "signal 9" in stderr.lower(), stderr
    assert time.monotonic() - begin < 30


RECIPE = """
[model]
name = "resnet"
depth = "small"
width = 4

[data]
name = "fashion_mnist"

[train]
steps = {steps}
batch_size = 16
checkpoint_every = 5

[optimizer]
name = "sgd"
lr = 0.05
momentum = 0.9

[log]
every = 1
console = false
"""


def recipe(folder, steps):
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    folder.mkdir()
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(steps=steps))
    return path


def losses(folder):
    lines = (folder / "run" / "log.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    return [line.split(",")[column] for line in lines[1:] if line.split(",")[column]]


def test_the_command_trains_and_goes_on(tmp_path):
    whole, halves = recipe(tmp_path / "whole", 10), recipe(tmp_path / "halves", 10)
    status, stdout, stderr = finish(start(2, command.LOWP, "train", whole, "--json"))
    assert status == 0, stderr
    result = json.loads(stdout)  # of rank 0 alone
    assert result["steps"] == 10
    # As if it had been cut off after step 5.
    shutil.copytree(whole.parent / "run", halves.parent / "run")
    for later in (halves.parent / "run").glob("step-*10.safetensors"):
        later.unlink()
    status, stdout, stderr = finish(start(2, command.LOWP, "train", halves, "--json"))
    assert status == 0, stderr
    assert "going on from" in stderr and stderr.count("going on from") == 1
    assert json.loads(stdout)["metrics"] == result["metrics"]
    assert losses(halves.parent) == losses(whole.parent)


def test_interrupted_ranks_write_a_checkpoint(tmp_path):
    path = recipe(tmp_path / "run", 100000)
    process = start(2, command.LOWP, "train", path)
    log = path.parent / "run" / "log.csv"
    begin = time.monotonic()
    while not (log.is_file() and len(log.read_text().splitlines()) > 2):
        assert process.poll() is None and time.monotonic() - begin < LIMIT
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    status, _, stderr = finish(process)
    assert status != 0
    assert "interrupted after step" in stderr, stderr


def test_without_mpi_ranks_are_refused():
    code = "from lowp.train import parallel; import lowp; lowp._core.__file__ = '/nowhere/_core.so'; parallel.connect()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment() | {"OMPI_COMM_WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "one of 2 ranks" in done.stderr and "libopenmpi-dev" in done.stderr
