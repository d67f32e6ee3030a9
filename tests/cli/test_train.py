"""lowp train: killed, interrupted, refused, on a full disk; whatever happens, the same command goes on, to the same
bits. LOWP_SLOW=1 kills twenty times instead of three."""

import os
import random
import resource
import signal
import subprocess
import time

import command
import numpy as np
import pytest

from lowp.train import checkpoint, latest

RECIPE = """
[model]
name = "neumf"
factors = 4
width = 16

[data]
name = "movielens_100k"
negatives = 1

[train]
epochs = 3
batch_size = 512
precision = "bf16"
seed = 5
checkpoint_every = 20
keep = 2
threads = 1
folder = "run"

[optimizer]
name = "adam"
lr = 0.002

[schedule]
name = "plateau"
patience = 0

[early_stopping]
metric = "ndcg"
better = "larger"
patience = 3
"""


@pytest.fixture(scope="module", autouse=True)
def data_are_there():
    try:
        from lowp import data

        data.movielens_100k()
    except Exception as e:  # noqa: BLE001 - no network, or no package
        pytest.skip(f"MovieLens-100k is not here: {e}")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last checkpoint of a run that nothing happened to, and its seconds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "recipe.toml"
    path.write_text(RECIPE)
    begin = time.monotonic()
    result = command.ok_json("train", path)
    assert result["interrupted"] is False and result["steps"] > 200
    return latest(folder / "run"), time.monotonic() - begin


def start(path, *arguments, **options):
    return subprocess.Popen(
        [str(command.LOWP), "train", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def assert_whole(folder):
    """Every checkpoint in the folder can be read."""
    for path in folder.glob("*.safetensors"):
        checkpoint.load(path)


def assert_same(found, expected):
    assert found.metadata.step == expected.metadata.step
    assert found.metadata.extra == expected.metadata.extra
    assert found.tensors.keys() == expected.tensors.keys()
    for name, array in found.tensors.items():
        np.testing.assert_array_equal(array, expected.tensors[name], err_msg=name)


def test_killed_at_any_moment(recipe, undisturbed, tmp_path):
    expected, seconds = undisturbed
    seed = int(os.environ.get("LOWP_SEED", time.time_ns() % 2**32))
    print("seed", seed)
    moments = random.Random(seed)
    folder = tmp_path / "run"
    kills = 20 if os.environ.get("LOWP_SLOW") else 3
    steps = 0
    for _ in range(kills):
        process = start(recipe)
        time.sleep(moments.uniform(0.3, 1.2) * seconds)
        process.kill()
        process.communicate()
        assert_whole(folder)
        found = latest(folder)
        if found:
            assert found.metadata.step >= steps  # what was reached stays reached
            steps = found.metadata.step
    result = command.ok_json("train", recipe)
    assert result["steps"] == expected.metadata.step
    assert_same(latest(folder), expected)
    assert not list(folder.glob(".writing*"))
    # The table has each step once.
    rows = (folder / "log.csv").read_text().splitlines()[1:]
    assert len({r.split(",")[0] for r in rows if r.split(",")[2]}) == len([r for r in rows if r.split(",")[2]])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number, recipe, undisturbed, tmp_path):
    expected, _ = undisturbed
    process = start(recipe)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run").glob("*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    found = latest(tmp_path / "run")
    assert f"interrupted after step {found.metadata.step}" in stderr
    assert "Traceback" not in stderr
    command.ok("train", recipe)
    assert_same(latest(tmp_path / "run"), expected)


def test_a_finished_run_stays_as_it_is(recipe, undisturbed, tmp_path):
    first = command.ok_json("train", recipe)
    again = command.ok_json("train", recipe)
    assert again["metrics"] == first["metrics"] and again["steps"] == first["steps"]
    assert_same(latest(tmp_path / "run"), undisturbed[0])


def test_an_unknown_key_has_a_nearest(recipe):
    recipe.write_text(RECIPE.replace("batch_size", "batchsize"))
    message = command.fails("invalid-argument", "train", recipe)
    assert "line 13" in message and "did you mean 'batch_size'?" in message
    recipe.write_text(RECIPE)
    message = command.fails("invalid-argument", "train", recipe, "--set", "optimizer.lrr=1")
    assert "did you mean 'lr'?" in message
    recipe.write_text(RECIPE.replace("factors", "factor"))
    assert "did you mean 'factors'?" in command.fails("invalid-argument", "train", recipe)
    command.fails("not-found", "train", recipe.with_name("none.toml"))


def test_a_checkpoint_of_another_recipe_is_refused(recipe, tmp_path):
    command.ok("train", recipe, "--set", "train.epochs=1")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*.safetensors")}
    message = command.fails("invalid-argument", "train", recipe, "--set", "train.epochs=1", "--set", "optimizer.lr=0.5")
    assert "belongs to another recipe" in message and "train.folder" in message
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "run").glob("*.safetensors")}


def test_a_run_begins_with_the_weights_of_another(recipe, undisturbed, tmp_path):
    source = undisturbed[0]
    steps = ["--set", "train.steps=1", "--set", "optimizer.lr=1e-30", "--set", f"train.initial={source.path.parent}"]
    command.ok_json("train", recipe, *steps)
    found = latest(tmp_path / "run")
    assert found.metadata.step == 1
    for name, array in found.tensors.items():
        if not name.startswith(("optimizer:", "trainer:")):
            np.testing.assert_array_equal(array, source.tensors[name], err_msg=name)
    other = ["--set", f"train.folder={tmp_path / 'other'}", "--set", "model.factors=8"]
    message = command.fails("shape-mismatch", "train", recipe, *steps, *other)
    assert "another model" in message and str(source.path) in message
    nothing = ["--set", f"train.initial={tmp_path}", "--set", f"train.folder={tmp_path / 'other'}"]
    command.fails("not-found", "train", recipe, "--set", "train.steps=1", *nothing)


def test_a_full_disk_loses_nothing(recipe, undisturbed, tmp_path):
    folder = tmp_path / "run"
    process = start(recipe)
    while not list(folder.glob("*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate()
    kept = latest(folder)
    size = kept.path.stat().st_size

    def limit():
        # As a full disk, but for every file: writing past the limit fails instead of ending the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    done = command.run("train", recipe, preexec_fn=limit)
    message = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and message.startswith("lowp: io: "), done.stderr
    assert "cannot be written" in message and "earlier checkpoints are as they were" in message
    assert_whole(folder)
    assert latest(folder).metadata.step == kept.metadata.step
    assert not list(folder.glob(".writing*"))
    command.ok("train", recipe)
    assert_same(latest(folder), undisturbed[0])
