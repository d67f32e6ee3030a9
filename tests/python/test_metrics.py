"""Metrics against definitions written out, and values known from elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lowp
from lowp import metrics


def test_mean():
    mean = metrics.Mean()
    assert math.isnan(mean.value)
    mean.add(1.0, 3)
    mean.add(5.0)
    mean.add(math.nan, 0)
    assert mean.value == 2.0
    mean.reset()
    assert math.isnan(mean.value)
    with pytest.raises(lowp.InvalidArgument, match="weight is -1"):
        mean.add(0, -1)


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.sampled_from([0, 1, 2, np.inf])
    ),
    st.integers(1, 7),
    st.integers(0, 100),
)
def test_top_k_is_what_sorting_gives(logits, k, seed):
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    best = np.argsort(-logits, 1, kind="stable")[:, :k]
    assert metrics.top_k(logits, labels, k) == pytest.approx(np.mean((best == labels[:, None]).any(1)))
    assert metrics.accuracy(logits, labels) == pytest.approx(np.mean(logits.argmax(1) == labels))


def test_top_k_of_odd_values():
    nan = math.nan
    assert metrics.top_k(np.array([[nan, 1.0], [nan, 1.0]]), np.array([0, 1]), 1) == 0
    assert metrics.top_k(np.array([[nan, 1.0], [nan, 1.0]]), np.array([0, 1]), 2) == 0.5
    assert math.isnan(metrics.accuracy(np.zeros((2, 3)), np.array([7, 7]), ignore=7))
    assert metrics.accuracy(np.eye(3)[None], np.array([[0, 1, -100]]), ignore=-100) == 1
    with pytest.raises(lowp.InvalidArgument, match="labels are 0 to 3, logits have 3 classes"):
        metrics.accuracy(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(lowp.ShapeMismatch):
        metrics.accuracy(np.zeros((2, 3)), np.array([[0], [1]]))
    with pytest.raises(lowp.InvalidArgument, match="k is 0"):
        metrics.top_k(np.zeros((2, 3)), np.array([0, 1]), 0)


def test_squad():
    assert metrics.normalize_answer("The  U.S. a Dollar!") == "us dollar"
    answers = {"a": ["the Eiffel Tower", "Paris"], "b": [], "c": ["42"]}
    right = {"a": "Eiffel tower.", "b": "", "c": "42"}
    assert metrics.exact_match(right, answers) == metrics.f1(right, answers) == 1
    some = {"a": "tower of Eiffel here", "b": "something"}
    assert metrics.exact_match(some, answers) == 0
    precision, recall = 2 / 4, 2 / 2
    assert metrics.f1(some, answers) == pytest.approx(2 * precision * recall / (precision + recall) / 3)
    # Words are counted as often as they occur.
    assert metrics.f1({"a": "x x x"}, {"a": ["x y"]}) == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    with pytest.raises(lowp.InvalidArgument, match="no questions"):
        metrics.f1({}, {})


def test_bleu():
    pytest.importorskip("sacrebleu")
    references = ["The cat sat on the mat.", "There is a dog in the garden."]
    assert metrics.bleu(references, references) == pytest.approx(100)
    assert metrics.bleu(["x", "y"], references) < 1
    # One substitution in 7 + 8 tokens: precisions 14/15, 11/13, 9/11, 7/9 and no brevity penalty.
    one = ["The cat sat on the rug.", "There is a dog in the garden."]
    expected = 100 * math.exp(np.mean(np.log([14 / 15, 11 / 13, 9 / 11, 7 / 9])))
    assert metrics.bleu(one, references) == pytest.approx(expected)
    with pytest.raises(lowp.ShapeMismatch, match="1 hypotheses for 2"):
        metrics.bleu(["x"], references)
    with pytest.raises(lowp.InvalidArgument):
        metrics.bleu([], [])


def test_ranking():
    scores = np.array([[0.9, 0.1, 0.2], [0.5, 0.7, 0.1], [0.1, 0.2, 0.3]])
    assert metrics.hit_rate(scores, 1) == pytest.approx(1 / 3)
    assert metrics.hit_rate(scores, 2) == pytest.approx(2 / 3)
    assert metrics.ndcg(scores, 2) == pytest.approx((1 + 1 / math.log2(3)) / 3)
    assert metrics.ndcg(scores, 3) == pytest.approx((1 + 1 / math.log2(3) + 1 / 2) / 3)


def test_a_model_that_cannot_tell_hits_nothing():
    assert metrics.hit_rate(np.zeros((4, 100))) == 0
    assert metrics.ndcg(np.full((4, 100), math.nan)) == 0
    assert metrics.hit_rate(np.array([[1.0] + [math.nan] * 10])) == 0
    with pytest.raises(lowp.ShapeMismatch, match=r"\[3\], \[users, 1 \+ negatives\]"):
        metrics.hit_rate(np.zeros(3))


def test_perplexity():
    assert metrics.perplexity(math.log(7)) == pytest.approx(7)
    assert metrics.perplexity(1e6) == math.inf
