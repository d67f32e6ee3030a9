"""Quantization-aware training: INT8 engines without calibration that are as accurate as the network in FP32."""

import models
import numpy as np
import pytest

import lowp
from lowp import data, nn, optim
from lowp.quant import Qat
from lowp.train import recipe as recipes
from lowp.train.models.resnet import BasicBlock, ResNet
from lowp.train.run import Run

SEED = 3
OPTIONS = {"measure": False, "threads": 1, "progress": False}


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def resnet():
    return ResNet(BasicBlock, (1, 1), 10, 1, 8, small=True)


@pytest.fixture(scope="module")
def fashion():
    """Training and test images of half the resolution, and their labels."""
    try:
        sets = data.fashion_mnist(True), data.fashion_mnist(False)
    except lowp.NotFound as e:
        pytest.skip(str(e))
    parts = []
    for part in sets:
        x = part.arrays["x"].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5), dtype=np.float32)
        parts += [(x - np.float32(0.286)) / np.float32(0.353), part.arrays["label"].astype(np.int64)]
    return parts


def trainer_of(model, **options):
    optimizer = optim.SGD(lr=0.05, momentum=0.9)
    return lowp.Trainer(model, nn.CrossEntropyLoss(), optimizer, threads=1, **options)


def train(trainer, x, labels, begin, end):
    for i in range(begin, end, 64):
        trainer.step(x[i : i + 64], labels[i : i + 64])


def accuracy(run, x, labels):
    right = [np.argmax(run(x[i : i + 1000]), -1) == labels[i : i + 1000] for i in range(0, len(x), 1000)]
    return np.concatenate(right).mean()


@pytest.mark.parametrize(
    ("make", "bits", "precision"), [(mlp, 8, "fp32"), (mlp, 7, "bf16"), (resnet, 8, "fp32"), (resnet, 7, "fp32")]
)
def test_int8_is_as_accurate_as_fp32(fashion, make, bits, precision):
    x, labels, test, expected = fashion
    nn.seed(SEED)
    model = make()
    trainer = trainer_of(model, precision=precision)
    train(trainer, x, labels, 0, 12800)
    trainer.qat = Qat(bits)
    train(trainer, x, labels, 12800, 19200)
    # The running statistics have followed by now.
    model.freeze_batch_norm()
    trainer.freeze_observers()
    trainer.optimizer.lr = 0.005
    train(trainer, x, labels, 19200, 25600)
    in_fp32 = accuracy(model, test, expected)
    engine = lowp.compile(trainer.export(x[:1]), "int8", target="avx2" if bits == 7 else "vnni", **OPTIONS)
    in_int8 = accuracy(lambda part: engine.run({"input": part})["output"], test, expected)
    assert in_fp32 > 0.7
    assert (in_fp32 - in_int8) / in_fp32 <= 0.005
    layers = [layer for layer in engine.report["layers"] if layer["requested"] == "i8"]
    assert len(layers) == (3 if make is mlp else 7)
    assert all(layer["executed"] == "i8" for layer in layers)


def small(seed=SEED):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((64, 1, 14, 14), np.float32), rng.integers(0, 10, 64)


def ranges_of(trainer):
    return {n: a for n, a in trainer.state_dict().items() if n.endswith((".low", ".high"))}


def test_frozen_ranges_stay_and_a_checkpoint_has_them():
    x, labels = small()
    nn.seed(SEED)
    first = trainer_of(resnet(), qat=Qat())
    for _ in range(3):
        first.step(x, labels)
    before = ranges_of(first)
    assert "optimizer:layer1.0.conv1.weight:input.high" in before
    first.step(2 * x, labels)
    moved = ranges_of(first)
    name = "optimizer:conv1.weight:input.high"
    assert moved[name] == np.float32(before[name] + np.float32(0.1) * (2 * x.max() - before[name]))
    first.freeze_observers()
    first.step(4 * x, labels)
    assert ranges_of(first) == moved
    assert not any(name in first.trained for name in moved)
    second = trainer_of(resnet(), qat=first.qat)
    second.load_state_dict(first.state_dict())
    engines = [lowp.compile(t.export(x[:1]), "int8", **OPTIONS) for t in (first, second)]
    outputs = [e.run({"input": x})["output"] for e in engines]
    assert outputs[0].tobytes() == outputs[1].tobytes()
    first.step(x, labels), second.step(x, labels)
    assert first.state_dict()["fc.weight"].tobytes() == second.state_dict()["fc.weight"].tobytes()


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale():
    x, labels = small()
    nn.seed(SEED)
    model = resnet()
    trainer = trainer_of(model, qat=Qat())
    trainer.step(x, labels)
    model.freeze_batch_norm()
    before = model.state_dict()
    trainer.optimizer.lr = 1e-3
    trainer.step(x, labels)
    after = model.state_dict()
    assert np.array_equal(before["bn1.running_var"], after["bn1.running_var"])
    assert not np.array_equal(before["bn1.weight"], after["bn1.weight"])


def feed_forward():
    """As a transformer has it: channels are equalized behind the norm and behind GELU."""
    return nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 96), nn.GELU(), nn.Dropout(0.1), nn.Linear(96, 64))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.OnnxModule(models.mlp()), (64, 64)),  # a loaded model, whose weights are [in, out]
        (lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU()), (8, 5, 64)),  # linear layers on three dimensions
        (feed_forward, (8, 5, 64)),
    ],
)
def test_engine_computes_what_evaluation_says(make, shape):
    nn.seed(SEED)
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal(shape, np.float32)
    model = make()
    target = rng.standard_normal(model(x).shape).astype(np.float32)
    trainer = lowp.Trainer(model, nn.MSELoss(), optim.Adam(lr=1e-3), threads=1, qat=Qat())
    for _ in range(20):
        trainer.step(x, target)
    engine = lowp.compile(trainer.export(x[:1]), "int8", strict=True, **OPTIONS)
    (output,) = engine.run({"input": x}).values()
    assert np.mean((output - target) ** 2) == pytest.approx(trainer.evaluate([(x, target)]), rel=1e-3)
    assert trainer.evaluate([(x, target)]) != pytest.approx(np.mean((model(x) - target) ** 2), rel=1e-6)


def test_scales_of_channels_are_states_that_follow_the_data():
    rng = np.random.default_rng(SEED)
    x, target = (rng.standard_normal((8, 5, 64), np.float32) for _ in range(2))
    nn.seed(SEED)
    model = feed_forward()
    model[0].weight.data[5] = 30.0  # a channel that is far larger than the others
    trainer = lowp.Trainer(model, nn.MSELoss(), optim.SGD(lr=1e-3), threads=1, qat=Qat())
    trainer.step(x, target)
    scales = {n: a for n, a in trainer.state_dict().items() if n.endswith(":input.scales")}
    assert list(scales) == ["optimizer:1.weight:input.scales", "optimizer:4.weight:input.scales"]
    assert scales["optimizer:1.weight:input.scales"].argmax() == 5
    assert not any(n.removeprefix("optimizer:") in trainer.trained for n in scales)
    plain = lowp.Trainer(model, nn.MSELoss(), optim.SGD(lr=1e-3), threads=1, qat=Qat(equalize=False))
    plain.step(x, target)
    assert not any(n.endswith(":input.scales") for n in plain.state_dict())


def test_excluded_layers_stay_float():
    x, labels = small()
    trainer = trainer_of(resnet(), qat=Qat(exclude=["conv1", "layer1"]))
    trainer.step(x, labels)
    engine = lowp.compile(trainer.export(x[:1]), "int8", **OPTIONS)
    executed = {layer["node"]: layer["executed"] for layer in engine.report["layers"]}
    assert {n for n, dtype in executed.items() if dtype == "f32"} == {
        "conv1.Conv",
        "layer1.0.conv1.Conv",
        "layer1.0.conv2.Conv",
    }


def test_what_cannot_be_is_refused():
    x, labels = small()
    with pytest.raises(lowp.InvalidArgument, match="activation_bits is 6"):
        Qat(activation_bits=6)
    with pytest.raises(lowp.InvalidArgument, match="momentum is 0"):
        Qat(momentum=0.0)
    trainer = trainer_of(resnet(), qat=Qat())
    with pytest.raises(lowp.CalibrationError, match=r"conv1\.weight:input\.low"):
        trainer.export(x[:1])
    trainer.qat = Qat(exclude=("no_such",))
    with pytest.raises(lowp.InvalidArgument, match="no_such"):
        trainer.step(x, labels)
    with pytest.raises(lowp.InvalidArgument, match="no ranges to freeze"):
        trainer_of(resnet()).freeze_observers()


TEXT = """
[model]
name = "resnet"
width = 4
[data]
name = "fashion_mnist"
[train]
epochs = 3
batch_size = 64
threads = 1
folder = "run"
[optimizer]
name = "sgd"
lr = 0.01
[qat]
start = 1
activation_bits = 7
freeze = 1
[log]
console = false
[compile]
precision = "int8"
"""


def test_a_recipe_says_from_when_on(tmp_path, monkeypatch):
    rng = np.random.default_rng(SEED)
    few = data.ArrayDataset(
        {"x": rng.random((256, 1, 28, 28), np.float32), "label": rng.integers(0, 10, 256).astype(np.int64)}
    )
    monkeypatch.setattr(data, "fashion_mnist", lambda train, folder: few)
    recipe = recipes.parse(TEXT, tmp_path / "recipe.toml")
    said, seen = [], []
    run = Run(recipe, said.append)
    step = run.trainer.step

    def watched(inputs, targets):
        result = step(inputs, targets)
        seen.append((run.trainer.qat is not None, bool(run.trainer.qat and run.trainer.qat.frozen)))
        return result

    monkeypatch.setattr(run.trainer, "step", watched)
    assert not run.train()
    assert seen == [(False, False)] * 4 + [(True, False)] * 4 + [(True, True)] * 4
    assert run.task.model.bn1.frozen
    deployed = run.compile()
    assert deployed["precision"] == "int8"
    assert deployed["metrics"] == run.metrics  # what training reports is what is deployed
    assert any("epoch 1: rounding as INT8" in line for line in said)
    # A later process goes on with the ranges of the checkpoint.
    again = Run(recipe, said.append)
    again.resume()
    assert again.trainer.qat == run.trainer.qat
    assert ranges_of(again.trainer) == ranges_of(run.trainer)
    assert again.compile()["metrics"] == run.compile()["metrics"]
