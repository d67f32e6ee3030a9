"""Layers of lowp.nn against numpy, and what modules do with their content."""

import copy
import math
import pickle

import numpy as np
import pytest

import lowp
from lowp import errors, nn
from lowp.nn import functional as F  # noqa: N812 - the usual name


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(found, expected, tolerance=2e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def weights(module):
    return {n: a.astype(np.float64) for n, a in module.state_dict().items()}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x, w, b, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * w + b


def conv(x, w, b, stride, padding, dilation, groups):
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out, per_group, kh, kw = w.shape
    h = (x.shape[2] - dilation * (kh - 1) - 1) // stride + 1
    v = (x.shape[3] - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((len(x), out, h, v))
    for o in range(out):
        first = o // (out // groups) * per_group
        for i in range(kh):
            for j in range(kw):
                window = x[:, first : first + per_group, i * dilation :, j * dilation :]
                window = window[:, :, : (h - 1) * stride + 1 : stride, : (v - 1) * stride + 1 : stride]
                y[:, o] += np.einsum("nchw,c->nhw", window, w[o, :, i, j])
    return y + (0 if b is None else b[:, None, None])


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    layer, x = nn.Linear(8, 6, bias), normal(*shape)
    w = weights(layer)
    close(layer(x), x @ w["weight"].T + w.get("bias", 0))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "bias"),
    [
        (1, 1, 0, 1, 1, True),
        (3, 1, 1, 1, 1, True),
        (3, 2, 1, 1, 2, False),
        (3, 1, 2, 2, 1, True),
        (3, 1, 1, 1, 4, True),
    ],
)
def test_conv2d(kernel, stride, padding, dilation, groups, bias):
    layer, x = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias), normal(2, 4, 9, 7)
    w = weights(layer)
    close(layer(x), conv(x, w["weight"], w.get("bias"), stride, padding, dilation, groups))


def test_norms():
    layer, x = nn.LayerNorm(12), normal(2, 3, 12)
    layer.weight.data[...], layer.bias.data[...] = normal(12, seed=1), normal(12, seed=2)
    close(layer(x), layer_norm(x.astype(np.float64), layer.weight.data, layer.bias.data))
    norm, x = nn.BatchNorm2d(3), normal(2, 3, 4, 4)
    for i, part in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
        part.data[...] = np.abs(normal(3, seed=i)) + 0.5
    scale = norm.weight.data / np.sqrt(norm.running_var.data + 1e-5)
    shift = norm.bias.data - norm.running_mean.data * scale
    close(norm(x), x * scale[:, None, None] + shift[:, None, None])


def test_embedding_and_shapes():
    table, at = nn.Embedding(20, 6), np.random.default_rng(1).integers(0, 20, (3, 4))
    np.testing.assert_array_equal(table(at), table.weight.data[at])
    x = normal(2, 3, 4, 4)
    np.testing.assert_array_equal(nn.Flatten()(x), x.reshape(2, -1))
    np.testing.assert_array_equal(nn.Dropout(0.5)(x), x)  # a called module computes as in evaluation


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Sigmoid(), sigmoid),
        (nn.Tanh(), np.tanh),
        (nn.Softmax(), softmax),
        (nn.GELU(), lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / 2**0.5))),
        (nn.GELU("tanh"), lambda x: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))),
        (nn.Identity(), lambda x: x),
    ],
    ids=lambda v: type(v).__name__,
)
def test_activations(layer, formula):
    x = normal(5, 33) * 3
    close(layer(x), formula(x.astype(np.float64)))


def test_pools():
    x = normal(2, 3, 8, 8)
    windows = x.reshape(2, 3, 4, 2, 4, 2)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x), windows.max((3, 5)))
    close(nn.AvgPool2d(2)(x), windows.mean((3, 5)))
    close(nn.AdaptiveAvgPool2d(1)(x), x.mean((2, 3), keepdims=True))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    close(nn.AvgPool2d(3, 1, 1)(x), np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3)).mean((4, 5)))


def attention(module, x, mask):
    n, s, d = x.shape
    w = weights(module)
    q, k, v = (
        (x @ part.T + b).reshape(n, s, module.num_heads, -1).transpose(0, 2, 1, 3)
        for part, b in zip(np.split(w["in_proj_weight"], 3), np.split(w["in_proj_bias"], 3), strict=True)
    )
    p = softmax(q @ k.transpose(0, 1, 3, 2) / (d // module.num_heads) ** 0.5 + mask)
    return (p @ v).transpose(0, 2, 1, 3).reshape(n, s, d) @ w["out_proj.weight"].T + w["out_proj.bias"]


def test_attention():
    module, x = nn.MultiheadAttention(16, 4), normal(2, 5, 16)
    mask = np.where(np.tril(np.ones((5, 5))), 0, -1e9).astype(np.float32)
    close(module(query=x, mask=mask), attention(module, x.astype(np.float64), mask))
    close(module(x), attention(module, x.astype(np.float64), 0))
    other = normal(2, 5, 16, seed=1)
    assert np.abs(module(x, other) - module(x)).max() > 1e-3  # keys and values of another sequence


@pytest.mark.parametrize("first", [True, False])
def test_transformer_layer(first):
    layer, x = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", norm_first=first), normal(2, 5, 16)

    def feed_forward(h):
        w = weights(layer)
        h = h @ w["linear1.weight"].T + w["linear1.bias"]
        h = h * 0.5 * (1 + np.vectorize(math.erf)(h / 2**0.5))
        return h @ w["linear2.weight"].T + w["linear2.bias"]

    def norm(h, part):
        return layer_norm(h, part.weight.data, part.bias.data)

    h = x.astype(np.float64)
    if first:
        h = h + attention(layer.self_attn, norm(h, layer.norm1), 0)
        h = h + feed_forward(norm(h, layer.norm2))
    else:
        h = norm(h + attention(layer.self_attn, h, 0), layer.norm1)
        h = norm(h + feed_forward(h), layer.norm2)
    close(layer(x), h)
    assert nn.TransformerEncoder([layer, layer])(x).shape == x.shape


def lstm(x, w, suffix, hidden):
    h = c = np.zeros((x.shape[1], hidden))
    steps = range(len(x)) if "reverse" not in suffix else range(len(x) - 1, -1, -1)
    out = np.zeros((len(x), x.shape[1], hidden))
    for t in steps:
        gates = x[t] @ w[f"weight_ih{suffix}"].T + w[f"bias_ih{suffix}"]
        i, o, f, g = np.split(gates + h @ w[f"weight_hh{suffix}"].T + w[f"bias_hh{suffix}"], 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return out, h, c


def gru(x, w, suffix, hidden):
    h = np.zeros((x.shape[1], hidden))
    out = np.zeros((len(x), x.shape[1], hidden))
    for t in range(len(x)) if "reverse" not in suffix else range(len(x) - 1, -1, -1):
        z, r, n = np.split(x[t] @ w[f"weight_ih{suffix}"].T + w[f"bias_ih{suffix}"], 3, 1)
        hz, hr, hn = np.split(h @ w[f"weight_hh{suffix}"].T + w[f"bias_hh{suffix}"], 3, 1)
        z, r = sigmoid(z + hz), sigmoid(r + hr)
        h = (1 - z) * np.tanh(n + r * hn) + z * h
        out[t] = h
    return out, h, h


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent(kind, bidirectional):
    layer, x = kind(6, 5, num_layers=2, bidirectional=bidirectional), normal(4, 3, 6)
    w, h, formula = weights(layer), x.astype(np.float64), lstm if kind is nn.LSTM else gru
    ends = []
    for k in range(2):
        parts = [formula(h, w, f"_l{k}{s}", 5) for s in (("", "_reverse") if bidirectional else ("",))]
        h = np.concatenate([p[0] for p in parts], 2)
        ends += [p[1] for p in parts]
    y, last = layer(x)[:2]
    close(y, h)
    close(last, np.stack(ends))


def test_lengths_end_a_sequence():
    layer, x = nn.LSTM(6, 5), normal(4, 2, 6)
    y = layer(x=x, lengths=np.array([4, 2], np.int32))[0]
    assert not y[2:, 1].any()
    close(y[:2, 1:], layer(x[:2, 1:])[0])


class Losses(nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, scores, labels):
        return self.loss(scores, labels)


def test_losses():
    scores, labels = normal(6, 5), np.array([0, 4, 2, 1, 1, 3])
    log_p = np.log(softmax(scores.astype(np.float64)))
    each = -log_p[np.arange(6), labels]
    close(Losses(nn.CrossEntropyLoss())(scores, labels), np.float64(each.mean()))
    smooth = 0.9 * each.mean() - 0.1 * log_p.mean()
    close(Losses(nn.CrossEntropyLoss(label_smoothing=0.1))(scores, labels), np.float64(smooth))
    kept = labels != 1
    close(Losses(nn.CrossEntropyLoss(ignore_index=1))(scores, labels), np.float64(each[kept].mean()))
    w = np.arange(1, 6)
    weighted = (each * w[labels]).sum() / w[labels].sum()
    close(Losses(nn.CrossEntropyLoss(weight=w))(scores, labels), np.float64(weighted))
    targets = (normal(6, 5, seed=1) > 0).astype(np.float32)
    p = sigmoid(scores.astype(np.float64))
    bce = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    close(Losses(nn.BCEWithLogitsLoss())(scores, targets), np.float64(bce))
    close(Losses(nn.MSELoss())(scores, targets), np.float64(((scores - targets) ** 2).mean()))


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def test_state_dict_round_trip():
    a, b, x = small(), small(), normal(2, 3, 4, 4)
    assert not np.array_equal(a(x), b(x))
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a(x), b(x))
    assert sorted(n for n, _ in a.named_buffers()) == ["1.running_mean", "1.running_var"]
    assert len(list(a.children())) == 5


def test_load_state_dict_refuses_and_changes_nothing():
    model = small()
    before = model.state_dict()
    state = {n: a + 1 for n, a in before.items()}
    with pytest.raises(errors.ShapeMismatch, match=r"'4\.bias' has shape \[6\], the model's has \[5\]"):
        model.load_state_dict(state | {"4.bias": np.zeros(6)})
    with pytest.raises(errors.InvalidArgument, match=r"'4\.bias' is missing"):
        model.load_state_dict({n: a for n, a in state.items() if n != "4.bias"})
    with pytest.raises(errors.InvalidArgument, match="'more' is unknown"):
        model.load_state_dict(state | {"more": np.zeros(1)})
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    model.load_state_dict({"4.bias": np.full(5, 7), "more": np.zeros(1)}, strict=False)
    assert (model[4].bias.data == 7).all()


def test_content_is_seen_at_once():
    layer, x = nn.Linear(4, 3), normal(2, 4)
    layer(x)
    layer.weight.data = np.zeros((3, 4))
    layer.bias.data[...] = 2
    np.testing.assert_array_equal(layer(x), np.full((2, 3), 2, np.float32))
    with pytest.raises(errors.ShapeMismatch, match=r"shape \[4, 3\], the parameter \[3, 4\]"):
        layer.weight.data = np.zeros((4, 3))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_their_own(copied):
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), normal(2, 4)
    y = model(x)
    other = copied(model)
    np.testing.assert_array_equal(other(x), y)
    other[0].weight.data[...] = 0
    np.testing.assert_array_equal(model(x), y)
    assert not np.array_equal(other(x), y)


def test_same_seed_same_model():
    models = []
    for number in (3, 3, 4):
        nn.seed(number)
        models.append(small().state_dict()["0.weight"])
    np.testing.assert_array_equal(models[0], models[1])
    assert not np.array_equal(models[0], models[2])


def test_mistakes_are_explained():
    with pytest.raises(errors.ShapeMismatch, match="last extent is 5, 4 is wanted"):
        nn.Linear(4, 3)(normal(2, 5))
    with pytest.raises(errors.InvalidArgument, match="4 and 6 channels do not divide into 4 groups"):
        nn.Conv2d(4, 6, 3, groups=4)
    with pytest.raises(errors.InvalidArgument, match=r"lowp\.Trainer"):
        F.relu(normal(2))

    class Lost(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(4, 3)]  # a list hides it

        def forward(self, x):
            return self.layers[0](x)

    with pytest.raises(errors.InvalidArgument, match=r"nn\.ModuleList"):
        Lost()(normal(2, 4))


def test_indexing():
    class Parts(nn.Module):
        def forward(self, x):
            return x[1], x[..., -1], x[:, 1:3], x[-2:, ::2]

    x = normal(4, 5, 6)
    for found, expected in zip(Parts()(x), (x[1], x[..., -1], x[:, 1:3], x[-2:, ::2]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_to_model_compiles():
    model, x = small(), normal(7, 3, 4, 4)
    engine = lowp.compile(nn.to_model(model, x[:1]), "fp32", threads=1)
    close(engine.run({engine.inputs[0].name: x})["output"], model(x))
