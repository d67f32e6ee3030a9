"""GNMT: beam search against every sentence there is, padding, and engines against the module."""

import itertools

import numpy as np
import pytest

import lowp
from lowp.train import recipe as recipes
from lowp.train.models import DeployedGnmt, Gnmt, GnmtConfig, translate
from lowp.train.models.gnmt import padded_source
from lowp.train.tasks import make_task

BEGIN, END = 1, 2
WORDS, SOURCE = 5, 3


class Table:
    """A translator whose next word, and what it looks at, depend on the last word alone."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.scores = rng.standard_normal((WORDS, WORDS)).astype(np.float32) * 2
        weights = rng.random((WORDS, SOURCE))
        self.weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)

    def encoder(self, source, lengths):
        return np.zeros((len(source), 1, 1), np.float32)

    def decoder(self, tokens, memory, mask, h, c):
        weights = np.zeros((tokens.shape[1], 1, len(memory)), np.float32)
        weights[:, 0, :SOURCE] = self.weights[tokens[0]]
        return self.scores[tokens], h, c, weights

    def initial_states(self, batch):
        return np.zeros((1, batch, 1), np.float32), np.zeros((1, batch, 1), np.float32)

    def rank(self, sentence, length_penalty, coverage_penalty):
        """By Wu et al. 2016, (14)."""
        whole = [BEGIN, *sentence, END]
        log_p = self.scores - np.log(np.exp(self.scores.astype(np.float64)).sum(1, keepdims=True))
        score = sum(log_p[a, b] for a, b in itertools.pairwise(whole))
        coverage = sum(self.weights[a].astype(np.float64) for a in whole[:-1])
        penalty = ((5 + len(whole) - 1) / 6) ** length_penalty
        return score / penalty + coverage_penalty * np.log(np.minimum(coverage, 1)).sum()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("penalties", [(0.6, 0.1), (1.0, 0.0), (0.0, 1.0)])
def test_wide_beams_find_the_best_of_all_sentences(seed, penalties):
    table, longest = Table(seed), 4
    words = [w for w in range(WORDS) if w != END]
    every = [s for n in range(longest) for s in itertools.product(words, repeat=n)]
    best = max(every, key=lambda s: table.rank(s, *penalties))
    found = translate(
        table,
        [3, 4, 3],
        BEGIN,
        END,
        beams=len(every) + 1,
        longest=longest,
        length_penalty=penalties[0],
        coverage_penalty=penalties[1],
    )
    assert tuple(found) == best


def test_narrow_beams_give_what_is_there():
    table = Table(1)
    table.scores[:, END] = -100  # nothing ends in time
    assert len(translate(table, [3], BEGIN, END, beams=2, longest=5)) == 5
    table.scores[BEGIN, END] = 100
    assert translate(table, [3], BEGIN, END, beams=1) == []


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gnmt")
    (folder / "gnmt.toml").write_text(
        """
        [model]
        name = "gnmt"
        hidden = 16
        layers = 3
        test_sentences = 4
        [data]
        name = "generated_pairs"
        samples = 60
        vocabulary = 300
        [train]
        steps = 1
        [optimizer]
        name = "adam"
        lr = 1e-3
        """
    )
    lowp.nn.seed(3)
    task = make_task(recipes.load(folder / "gnmt.toml"))
    for _, state in task.model.named_states():  # so that words differ
        state.data[...] *= 8
    return task


def test_padding_is_not_read(task):
    words = [5, 9, 7]
    tokens, lengths = padded_source(words, END)
    assert tokens.shape == (8, 1)
    alone = task.model.encoder(np.asarray(words)[:, None], np.asarray([3], np.int32))
    np.testing.assert_allclose(task.model.encoder(tokens, lengths)[:3], alone, rtol=1e-6, atol=1e-6)


def test_engines_translate_as_the_module_does(task, tmp_path):
    engines = {name: lowp.compile(model, "fp32", threads=1, progress=False) for name, model in task.export().items()}
    assert set(engines) == {"encoder", "decoder"}
    deployed = DeployedGnmt(engines["encoder"], engines["decoder"])
    words = lowp.data.Subwords.load(task.save_vocabulary(tmp_path))
    sentences = words.encode([s for s, _ in task.held_out])
    assert len({len(s) for s in sentences}) > 1
    translated = [translate(deployed, s, BEGIN, END, longest=12) for s in sentences]
    assert translated == [translate(task.model, s, BEGIN, END, longest=12) for s in sentences]
    assert len({tuple(t) for t in translated}) > 1
    assert task.evaluate(engines) == task.evaluate(task.model)


def test_calibration_has_the_inputs_of_each_part(task):
    for name, model in task.export().items():
        samples = list(task.calibration(name, 9))
        assert len(samples) == 9
        assert all({i.name for i in model.inputs} == set(s) for s in samples)
    steps = list(task.calibration("decoder", 9))
    assert not np.array_equal(steps[1]["h"], steps[0]["h"])


def test_one_layer():
    model = Gnmt(GnmtConfig(vocabulary=20, hidden=8, encoder_layers=2, decoder_layers=1))
    assert all(0 <= t < 20 for t in translate(model, [4, 5], BEGIN, END, longest=6))
