"""FP32 training gives PyTorch's losses: four models, 50 steps, each within 1e-4 of what PyTorch got from the same
weights and batches (losses/*.json; bench/training/torch_losses.py makes them)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import loss_models as lm  # noqa: E402

from lowp import Trainer, nn, optim  # noqa: E402
from lowp.nn import functional as F  # noqa: E402, N812 - the usual name
from lowp.train.models import Bert, BertConfig, ResNet, span_loss  # noqa: E402
from lowp.train.models.resnet import Bottleneck  # noqa: E402


class Spans(nn.Module):
    """BERT of two layers with a span head, parameters named as in loss_models."""

    def __init__(self):
        super().__init__()
        c = lm.BERT
        config = BertConfig(c["words"], c["hidden"], c["layers"], c["heads"], c["inner"], c["length"], c["types"], 0.0)
        bert = Bert(config)
        self.embeddings, self.encoder = bert.embeddings, bert.encoder
        self.qa_outputs = nn.Linear(config.hidden, 2)

    def forward(self, input_ids, token_type_ids, attention_mask):
        x = self.embeddings(input_ids, token_type_ids)
        mask = ((attention_mask.astype(np.float32) - 1.0) * 1e9).unsqueeze(1, 2)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        start, end = F.split(self.qa_outputs(x), [1, 1], 2)
        return {"start": start.squeeze(2), "end": end.squeeze(2)}


class Encoder(nn.Module):
    def __init__(self, words, hidden):
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.layer0 = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.layer1 = nn.LSTM(2 * hidden, hidden, batch_first=True)

    def forward(self, source):
        return self.layer1(self.layer0(self.embedding(source))[0])[0]


class Attention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.v = nn.Parameter(np.zeros((1, hidden), np.float32))

    def forward(self, query, memory):
        scores = F.tanh(self.query(query).unsqueeze(2) + self.key(memory).unsqueeze(1))
        return F.softmax(F.linear(scores, nn.value_of(self.v)).squeeze(3)) @ memory


class Decoder(nn.Module):
    def __init__(self, words, hidden):
        super().__init__()
        self.embedding = nn.Embedding(words, hidden)
        self.layer0 = nn.LSTM(hidden, hidden, batch_first=True)
        self.attention = Attention(hidden)
        self.layer1 = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, words)

    def forward(self, target, memory):
        query = self.layer0(self.embedding(target))[0]
        context = self.attention(query, memory)
        return self.classifier(self.layer1(F.cat([query, context], 2))[0])


class Gnmt(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder(lm.GNMT["words"], lm.GNMT["hidden"])
        self.decoder = Decoder(lm.GNMT["words"], lm.GNMT["hidden"])

    def forward(self, source, target_in):
        return self.decoder(target_in, self.encoder(source))


class NeuMF(nn.Module):
    def __init__(self):
        super().__init__()
        c = lm.NEUMF
        for part, width in (("mf", c["factors"]), ("mlp", c["layers"][0] // 2)):
            setattr(self, f"{part}_user_embed", nn.Embedding(c["users"], width))
            setattr(self, f"{part}_item_embed", nn.Embedding(c["items"], width))
        sizes = c["layers"]
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.final = nn.Linear(c["factors"] + sizes[-1], 1)

    def forward(self, user, item):
        product = self.mf_user_embed(user) * self.mf_item_embed(item)
        x = F.cat([self.mlp_user_embed(user), self.mlp_item_embed(item)], 1)
        for layer in self.mlp:
            x = F.relu(layer(x))
        return self.final(F.cat([product, x], 1)).squeeze(1)


def resnet():
    c = lm.RESNET
    return ResNet(Bottleneck, c["blocks"], c["classes"], width=c["stem"], small=True)


def token_loss(scores, target_out):
    return F.cross_entropy(scores.reshape(-1, lm.GNMT["words"]), target_out.reshape(-1), ignore_index=0)


# The model, its loss, and which of a batch's arrays are targets.
BUILT = {
    "resnet": (resnet, lambda y, label: F.cross_entropy(y, label), ("label",)),
    "bert": (Spans, span_loss, ("start", "end")),
    "gnmt": (Gnmt, token_loss, ("target_out",)),
    "neumf": (NeuMF, lambda y, label: F.binary_cross_entropy_with_logits(y, label), ("label",)),
}


def set_weights(model, weights):
    """Takes PyTorch's values over; gates of LSTMs into lowp's order."""
    state = dict(weights)
    for path, module in model.named_modules():
        if isinstance(module, nn.LSTM):
            for name in state:
                if name.startswith(f"{path}."):
                    state[name] = nn.gates_from_torch("LSTM", state[name])
    own = dict(model.named_states())
    buffers = {n: b.data for n, b in own.items() if isinstance(b, nn.Buffer)}
    model.load_state_dict(state | buffers)


def make_optimizer(options):
    options = dict(options)
    name = options.pop("name")
    return getattr(optim, name)(**options, decay_all=True)


@pytest.mark.parametrize("name", lm.MODELS)
def test_losses_are_pytorchs(name):
    reference = lm.MODELS[name]
    build, loss, targets = BUILT[name]
    model = build()
    set_weights(model, reference.weights())
    trainer = Trainer(model, loss, make_optimizer(reference.optimizer))
    found = []
    for step in range(lm.STEPS):
        batch = reference.batch(step)
        wanted = {n: batch.pop(n) for n in targets}
        found.append(trainer.step(batch, wanted).loss)
    expected = np.array(json.loads((HERE / "losses" / f"{name}.json").read_text())["losses"])
    off = np.abs(np.array(found) / expected - 1)
    assert off.max() < 1e-4, f"step {off.argmax()}: {found[off.argmax()]} for {expected[off.argmax()]}"
