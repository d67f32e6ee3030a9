"""lowp.Trainer: gradients, optimizers, mixed precision, errors, and that what is kept brings back the same bits."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import pytest

import lowp
from lowp import amp, errors, nn, optim
from lowp.data import ArrayDataset, Loader
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.train import EarlyStopping
from lowp.train.models import BertConfig, BertForSpans, ResNet, span_loss
from lowp.train.models.resnet import BasicBlock


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels(count, classes, seed=0):
    return np.random.default_rng(seed).integers(0, classes, count)


class Mlp(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.hidden, self.drop, self.output = nn.Linear(12, 32), nn.Dropout(dropout), nn.Linear(32, 4)

    def forward(self, x):
        return self.output(self.drop(F.relu(self.hidden(x))))


def trainer_of(model, optimizer=None, **options):
    return lowp.Trainer(model, nn.CrossEntropyLoss(), optimizer or optim.SGD(lr=0.1), threads=1, **options)


def mlp_trainer(optimizer=None, dropout=0.0, **options):
    nn.seed(1)
    return trainer_of(Mlp(dropout), optimizer, **options)


X, Y = normal(16, 12), labels(16, 4)


# ---- gradients


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.rnn = kind(8, 6, num_layers=2, bidirectional=True)
        self.output = nn.Linear(12, 4)

    def forward(self, tokens):
        return self.output(self.rnn(self.words(tokens))[0].mean(0))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, activation="gelu", norm_first=True)
        self.output = nn.Linear(16, 4)

    def forward(self, tokens):
        return self.output(self.layer(self.words(tokens)).mean(1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


TOKENS = np.random.default_rng(3).integers(0, 20, (6, 5))
WHOLE = {
    "mlp": (Mlp, X, Y),
    "cnn": (convolutional, normal(5, 3, 8, 8), labels(5, 4)),
    "lstm": (lambda: Recurrent(nn.LSTM), TOKENS, labels(5, 4)),
    "gru": (lambda: Recurrent(nn.GRU), TOKENS, labels(5, 4)),
    "transformer": (Attentive, TOKENS, labels(6, 4)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_gradients_are_those_of_finite_differences(name):
    """With SGD at rate 1, what a step takes off a weight is its gradient; along it the loss must change as it says."""
    build, x, y = WHOLE[name]
    nn.seed(2)
    model = build()
    trainer = trainer_of(model, optim.SGD(lr=1.0))
    before = model.state_dict()
    trainer.step(x, y)
    gradients = {n: before[n].astype(np.float64) - a for n, a in model.state_dict().items()}

    def loss_at(state):
        model.load_state_dict(state)
        return trainer.evaluate([(x, y)])

    for parameter, g in gradients.items():
        norm = np.sqrt((g * g).sum())
        if norm < 1e-4:
            continue
        h = 0.01 / max(norm, 1.0)
        moved = [loss_at(before | {parameter: (before[parameter] + s * h * g / norm)}) for s in (1, -1)]
        # The step's error grows with h^2, that of f32 losses (1e-7) with 1/h.
        assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(norm, rel=0.02, abs=2e-4), parameter


# ---- optimizers: PyTorch's formulas in double


def sgd(w, g, s, lr, t, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * w
    if momentum:
        s["v"] = momentum * s["v"] + g if "v" in s else g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return w - lr * g


def adam(w, g, s, lr, t, rule="adam", betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    if rule == "adam":
        g = g + weight_decay * w
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    u = s["m"] / (1 - betas[0] ** t) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)
    if rule == "adamw":
        w = w * (1 - lr * weight_decay)
    if rule == "lamb":
        u = u + weight_decay * w
        ratio = np.linalg.norm(w) / np.linalg.norm(u)
        u = u * (ratio if ratio > 0 else 1)
    return w - lr * u


RULES = {
    "sgd": (optim.SGD(0.1), sgd, {}),
    "momentum": (
        optim.SGD(0.1, momentum=0.9, weight_decay=0.01, decay_all=True),
        sgd,
        {"momentum": 0.9, "weight_decay": 0.01},
    ),
    "nesterov": (optim.SGD(0.1, momentum=0.9, nesterov=True), sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam(0.01, weight_decay=0.1, decay_all=True), adam, {"weight_decay": 0.1}),
    "adamw": (
        optim.AdamW(0.01, betas=(0.8, 0.99), weight_decay=0.1, decay_all=True),
        adam,
        {"rule": "adamw", "betas": (0.8, 0.99), "weight_decay": 0.1},
    ),
    "lamb": (optim.LAMB(0.01, decay_all=True), adam, {"rule": "lamb", "eps": 1e-6, "weight_decay": 0.01}),
}


@pytest.mark.parametrize("name", RULES)
def test_optimizer_is_pytorchs(name):
    """Linear regression, whose gradient is plain."""
    optimizer, rule, options = RULES[name]
    x, target = normal(32, 6), normal(32, 3, seed=1)
    model = nn.Linear(6, 3)
    w, b = (p.data.astype(np.float64) for p in model.parameters())
    trainer = lowp.Trainer(model, nn.MSELoss(), optimizer, threads=1)
    states = {}, {}
    for t in range(1, 9):
        trainer.step(x, target)
        d = 2 * (x @ w.T + b - target) / target.size
        gw, gb = d.T @ x, d.sum(0)
        w, b = rule(w, gw, states[0], optimizer.lr, t, **options), rule(b, gb, states[1], optimizer.lr, t, **options)
        np.testing.assert_allclose(model.weight.data, w, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(model.bias.data, b, rtol=2e-5, atol=2e-6)


def test_decay_spares_biases_and_factors_scale_rates():
    model = nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 4))
    trainer = trainer_of(model, optim.SGD(lr=0.1, weight_decay=0.5, factors={"": 1.0, "0.": 0.0}))
    before = model.state_dict()
    trainer.step(X, Y)
    plain = trainer_of(other := nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 4)), optim.SGD(lr=0.1))
    other.load_state_dict(before)
    plain.step(X, Y)
    np.testing.assert_array_equal(model[0].weight.data, before["0.weight"])
    np.testing.assert_array_equal(model[1].bias.data, other[1].bias.data)
    np.testing.assert_allclose(
        model[1].weight.data, other[1].weight.data - 0.05 * before["1.weight"], rtol=1e-5, atol=1e-7
    )


def test_schedule_sets_the_rate():
    trainer = mlp_trainer(optim.SGD(lr=0.5, schedule=lambda s: 1 / (s + 1)))
    assert [trainer.step(X, Y).learning_rate for _ in range(3)] == pytest.approx([0.5, 0.25, 0.5 / 3])


def test_clip_norm():
    free, clipped = mlp_trainer(), mlp_trainer(clip_norm=0.01)
    before = free.model.state_dict()
    norm = free.step(X, Y).gradient_norm
    assert clipped.step(X, Y).gradient_norm == pytest.approx(norm)

    def moved(t):
        return np.concatenate([(a - before[n]).ravel() for n, a in t.model.state_dict().items()])

    assert np.linalg.norm(moved(free)) == pytest.approx(0.1 * norm, rel=1e-4)
    assert np.linalg.norm(moved(clipped)) == pytest.approx(0.1 * 0.01, rel=1e-3)


# ---- layers that training treats otherwise


def test_batch_norm_running_statistics():
    norm = nn.BatchNorm2d(3, momentum=0.2)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(48, 4))
    trainer = trainer_of(model)
    mean, variance = np.zeros(3), np.ones(3)
    for i in range(3):
        x = normal(5, 3, 4, 4, seed=i) * 2 + 1
        trainer.step(x, labels(5, 4))
        mean = 0.8 * mean + 0.2 * x.mean((0, 2, 3))
        variance = 0.8 * variance + 0.2 * x.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(norm.running_mean.data, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norm.running_var.data, variance, rtol=1e-5)


def test_batch_norm_in_eval_mode_keeps_its_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    trainer = trainer_of(model)
    model[0].eval()
    trainer.step(normal(5, 3, 4, 4), labels(5, 4))
    assert not model[0].running_mean.data.any()
    model[0].train()  # noticed although the shapes are the same
    trainer.step(normal(5, 3, 4, 4), labels(5, 4))
    assert model[0].running_mean.data.all()


def test_dropout_is_a_function_of_seed_and_step():
    def losses(seed):
        trainer = mlp_trainer(optim.SGD(lr=0.0), 0.5, seed=seed)
        return [trainer.step(X, Y).loss for _ in range(4)]

    first = losses(7)
    assert first == losses(7) != losses(8)
    assert len(set(first)) == 4

    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(np.zeros(1, np.float32))

        def forward(self, x):
            return F.dropout(x, 0.25) + nn.value_of(self.bias)

    trainer = lowp.Trainer(Drops(), lambda y: y.mean(), optim.SGD(0.0), threads=1)
    y = trainer.step(np.ones((100, 100), np.float32), outputs=True).outputs["output"]
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_freeze_and_unfreeze():
    trainer = mlp_trainer(optim.Adam(lr=0.01))
    model = trainer.model
    model.hidden.freeze()
    before = model.state_dict()
    trainer.step(X, Y)
    np.testing.assert_array_equal(model.hidden.weight.data, before["hidden.weight"])
    assert not np.array_equal(model.output.weight.data, before["output.weight"])
    assert trainer.trained == ["output.weight", "output.bias"]
    model.unfreeze()
    trainer.step(X, Y)
    assert not np.array_equal(model.hidden.weight.data, before["hidden.weight"])


def deep(recompute):
    nn.seed(4)
    blocks = [nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Dropout(0.1), nn.Linear(256, 64)) for _ in range(6)]
    return nn.Sequential(*([nn.checkpoint(b) for b in blocks] if recompute else blocks))


def test_recomputation_has_the_same_bits_and_less_memory():
    x, y = normal(1024, 64), labels(1024, 64)
    kept, again = trainer_of(deep(False)), trainer_of(deep(True))
    for _ in range(3):
        assert kept.step(x, y).loss == again.step(x, y).loss
    for name, array in kept.model.state_dict().items():
        np.testing.assert_array_equal(array, again.model.state_dict()[name])
    assert again.activation_bytes < 0.7 * kept.activation_bytes


# ---- precision


def fit_task(precision, **options):
    """The loss after 300 steps on a teacher's labels."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((512, 12)).astype(np.float32)
    y = (x @ rng.standard_normal((12, 4))).argmax(1)
    trainer = mlp_trainer(optim.SGD(0.1, momentum=0.9), precision=precision, **options)
    for i in range(300):
        at = slice(i % 8 * 64, i % 8 * 64 + 64)
        trainer.step(x[at], y[at])
    return trainer.evaluate([(x, y)]), trainer


def test_16_bit_training_reaches_the_loss_of_fp32():
    full, trainer = fit_task("fp32")
    assert full < 0.1
    for precision in ("bf16", "fp16"):
        half, trainer = fit_task(precision)
        assert half == pytest.approx(full, rel=0.15), precision
        assert trainer.model.hidden.weight.data.dtype == np.float32


def test_16_bit_activations_take_little_more_than_half():
    def memory(precision, **options):
        model = ResNet(BasicBlock, (1, 1, 1), 10, 3, 16, small=True)
        trainer = trainer_of(model, precision=precision, **options)
        # 16 images would do where bf16 is multiplied: kernels that expand it have scratch that does not grow with them.
        trainer.step(normal(32, 3, 32, 32), labels(32, 10))
        return trainer.activation_bytes

    assert memory("bf16") <= 0.6 * memory("fp32")
    denied = amp.lists_with(deny=["Conv"])
    assert "Conv" in denied["deny"] and "Conv" not in denied["allow"]
    assert memory("bf16") <= 0.6 * memory("bf16", lists=denied)
    with pytest.raises(errors.InvalidArgument, match="'deny' has \"Rely\", which is no op"):
        amp.lists_with(deny=["Rely"])
    with pytest.raises(errors.InvalidArgument, match="'Relu' is in two lists"):
        amp.lists_with(deny=["Relu"], follow=["Relu"])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrences_keep_16_bits(kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = kind(16, 16, 4), nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.body(x)[0].reshape(-1, 16))

    def memory(precision):
        trainer = trainer_of(Net(), precision=precision)
        trainer.step(normal(40, 32, 16), labels(40 * 32, 4))
        return trainer.activation_bytes

    # Gates of the layer whose turn it is are f32 either way.
    assert memory("bf16") <= 0.75 * memory("fp32")


def test_batches_of_other_shapes_take_turns_in_one_memory():
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    trainer = trainer_of(ResNet(BasicBlock, (1, 1), 10, 3, 16, small=True))
    trainer.step(normal(32, 3, 32, 32), labels(32, 10))
    needed, before = trainer.activation_bytes, resident()
    for samples in range(31, 25, -1):
        trainer.step(normal(samples, 3, 32, 32), labels(samples, 10))
    assert trainer.activation_bytes == needed > 10e6
    assert resident() - before < 1.5 * needed  # six more programs


def test_loss_scale_modes():
    plain = mlp_trainer()
    scaled = mlp_trainer(loss_scale=1024.0)
    for _ in range(3):
        a, b = plain.step(X, Y), scaled.step(X, Y)
        # A power of 2 changes no bit in f32.
        assert (a.loss, a.gradient_norm) == (b.loss, b.gradient_norm)
        assert (a.loss_scale, b.loss_scale) == (1.0, 1024.0)
    growing = mlp_trainer(loss_scale=amp.LossScale(initial=8.0, interval=2, ceiling=16.0))
    assert [growing.step(X, Y).loss_scale for _ in range(6)] == [8, 8, 16, 16, 16, 16]
    assert amp.loss_scale_of(None, "fp16").mode == "dynamic" and amp.loss_scale_of(None, "bf16").mode == "none"
    with pytest.raises(errors.InvalidArgument, match="loss_scale is 'much'"):
        amp.loss_scale_of("much", "fp16")


def test_fp16_survives_a_scale_that_overflows():
    trainer = mlp_trainer(precision="fp16", loss_scale=amp.LossScale(initial=2.0**24))
    before = trainer.model.state_dict()
    first = trainer.step(X * 10, Y)
    assert first.skipped and first.loss_scale == 2.0**24
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    results = [trainer.step(X * 10, Y) for _ in range(30)]
    assert not results[-1].skipped and results[-1].loss < first.loss
    assert trainer.steps_skipped + trainer.steps_taken == trainer.steps_run == 31


def test_what_is_not_finite_is_named_and_changes_nothing():
    trainer = mlp_trainer(seed=5)
    trainer.step(X, Y)
    before = trainer.state_dict()
    bad = X.copy()
    bad[3, 7] = np.nan
    with pytest.raises(errors.NonFinite, match=r"step 1 \(seed 5.*'input' .* at \[3, 7\].*changed nothing"):
        trainer.step(bad, Y)
    counted = {"optimizer:skipped_steps", "trainer:skipped_in_row"}
    after = trainer.state_dict()
    assert_same({n: a for n, a in before.items() if n not in counted}, {n: after[n] for n in before.keys() - counted})
    trainer.model.output.weight.data[2, 3] = np.inf
    with pytest.raises(errors.NonFinite, match=r"output\.weight"):
        trainer.step(X, Y)


def test_endless_skipping_ends():
    trainer = mlp_trainer(precision="fp16", max_skipped=3)
    bad = np.full_like(X, np.inf)
    assert trainer.step(bad, Y).skipped and trainer.step(bad, Y).skipped
    with pytest.raises(errors.NonFinite, match="3 steps in a row changed nothing"):
        trainer.step(bad, Y)


# ---- what is kept


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.dtype == b[name].dtype and array.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_resume_is_bit_identical(precision):
    def trainer():
        return mlp_trainer(optim.AdamW(1e-2), 0.3, precision=precision, seed=3, loss_scale=None)

    whole = trainer()
    for i in range(10):
        if i == 5:
            kept = whole.state_dict()
        whole.step(normal(16, 12, seed=i), Y)
    resumed = trainer()
    resumed.model.output.weight.data[...] = 0
    resumed.load_state_dict(kept)
    assert resumed.steps_taken == 5
    assert_same(resumed.state_dict(), kept)
    for i in range(5, 10):
        resumed.step(normal(16, 12, seed=i), Y)
    assert_same(resumed.state_dict(), whole.state_dict())
    # Back again, in a trainer that has gone on.
    resumed.load_state_dict(kept)
    for i in range(5, 10):
        resumed.step(normal(16, 12, seed=i), Y)
    assert_same(resumed.state_dict(), whole.state_dict())


def test_back_to_the_beginning():
    trainer = mlp_trainer(optim.SGD(0.1, momentum=0.9))
    begin = trainer.state_dict()
    first = [trainer.step(X, Y).loss for _ in range(3)]
    trainer.load_state_dict(begin)
    assert [trainer.step(X, Y).loss for _ in range(3)] == first


def test_anothers_state_is_refused():
    trainer = mlp_trainer()
    trainer.step(X, Y)
    before = trainer.state_dict()
    with pytest.raises(errors.InvalidArgument, match="missing"):
        trainer.load_state_dict(trainer_of(nn.Linear(12, 4)).state_dict())
    assert_same(before, trainer.state_dict())


def test_bits_do_not_depend_on_threads():
    def states(threads):
        nn.seed(1)
        trainer = lowp.Trainer(convolutional(), nn.CrossEntropyLoss(), optim.Adam(0.01), threads=threads)
        for i in range(3):
            trainer.step(normal(9, 3, 8, 8, seed=i), labels(9, 4))
        return trainer.state_dict()

    assert_same(states(1), states(2))


# ---- mistakes


def test_a_wrong_label_names_label_and_classes():
    trainer = mlp_trainer()
    trainer.step(X, Y)
    before = trainer.state_dict()
    wrong = Y.copy()
    wrong[5] = 4
    with pytest.raises(errors.Error, match="label 4 at position 5 is outside 4 classes"):
        trainer.step(X, wrong)
    assert_same(before, trainer.state_dict())


def test_mistakes_are_explained():
    with pytest.raises(errors.InvalidArgument, match="precision is 'int8'"):
        mlp_trainer(precision="int8")
    with pytest.raises(errors.InvalidArgument, match="lr is -1"):
        optim.SGD(lr=-1)
    with pytest.raises(errors.ShapeMismatch, match="a scalar tensor is wanted"):
        lowp.Trainer(Mlp(), lambda y, t: y, optim.SGD()).step(X, Y)
    with pytest.raises(errors.InvalidArgument, match="'seed' is the name of an input of the step"):
        mlp_trainer().step({"seed": X}, Y)
    with pytest.raises(errors.InvalidArgument, match="a pair of inputs and targets is wanted"):
        mlp_trainer().fit([X], progress=False)


# ---- whole ways


def test_fit_and_early_stopping():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((512, 12)).astype(np.float32)
    y = (x @ rng.standard_normal((12, 4))).argmax(1)
    trainer = mlp_trainer(optim.Adam(0.01))
    loader = Loader(ArrayDataset([x[:384], y[:384]]), 32, seed=1)
    seen = []
    history = trainer.fit(
        loader, 4, validation=[(x[384:], y[384:])], callback=lambda e, f: seen.append(e), progress=False
    )
    assert seen == [0, 1, 2, 3] and len(history) == 4 and trainer.steps_taken == 48
    assert history[-1]["validation"] < 0.6 * history[0]["validation"] and history[-1]["loss"] < history[0]["loss"]
    assert trainer.evaluate([(x[:384], y[:384])]) < history[-1]["loss"] * 1.1
    figures = iter([3.0, 2.0, 2.5, 2.6, 0.0])
    short = trainer.fit(loader, 5, validation=lambda: next(figures), early_stopping=EarlyStopping(2), progress=False)
    assert [f["validation"] for f in short] == [3.0, 2.0, 2.5, 2.6]


def test_bert_trains_with_several_inputs_and_outputs():
    model = BertForSpans(BertConfig(50, 16, 1, 2, 32, 12, dropout=0.1))
    trainer = lowp.Trainer(model, span_loss, optim.AdamW(1e-2), precision="bf16", threads=1)
    ids = np.random.default_rng(1).integers(0, 50, (8, 12))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    targets = {"start": labels(8, 12), "end": labels(8, 12, seed=1)}
    losses = [trainer.step(inputs, targets).loss for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def onnx_mlp():
    def value(name, shape):
        return oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    arrays = {"a/w": normal(12, 16) * 0.3, "a/b": np.zeros(16, np.float32), "c/w": normal(16, 4, seed=1) * 0.3}
    nodes = [
        oh.make_node("Gemm", ["x", "a/w", "a/b"], ["h"], "first"),
        oh.make_node("Relu", ["h"], ["r"], "relu"),
        oh.make_node("MatMul", ["r", "c/w"], ["y"], "second"),
    ]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = oh.make_graph(nodes, "mlp", [value("x", ["N", 12])], [value("y", ["N", 4])], tensors)
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), arrays


def test_onnx_models_fine_tune():
    file, arrays = onnx_mlp()
    model = nn.OnnxModule(file, trained=lambda n: n.startswith("c"))
    np.testing.assert_allclose(
        model(X), np.maximum(X @ arrays["a/w"] + arrays["a/b"], 0) @ arrays["c/w"], rtol=1e-5, atol=1e-5
    )
    assert sorted(model.state_dict()) == ["a.b", "a.w", "c.w"]
    trainer = trainer_of(model, optim.Adam(0.05))
    losses = [trainer.step(X, Y).loss for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    np.testing.assert_array_equal(model.state_dict()["a.w"], arrays["a/w"])
    assert not np.array_equal(model.state_dict()["c.w"], arrays["c/w"])


def test_a_trained_model_becomes_int8():
    _, trainer = fit_task("bf16")
    x = normal(256, 12, seed=9)
    model = nn.to_model(trainer.model, x[:1])
    engine = lowp.compile(model, "int8", [{"input": x[:128]}], threads=1, measure=False, tune=False, progress=False)
    scores, found = trainer.model(x), engine.run({"input": x})["output"]
    assert np.abs(found - scores).mean() < 0.05 * np.abs(scores).mean()
    assert (found.argmax(1) == scores.argmax(1)).mean() > 0.97
