"""How good a model's outputs are: classification, question answering, translation, ranking.

Functions take the outputs of a batch or of a whole test set and give a fraction (0..1) unless they say otherwise;
:class:`Mean` puts batches together.

>>> mean = Mean()
>>> for batch in loader:
...     mean.add(accuracy(logits(batch), batch["label"]), len(batch["label"]))
>>> mean.value
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lowp import errors

Array = np.ndarray[Any, Any]


class Mean:
    """The weighted mean of what is added; sums in double precision."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Adds a value that is itself a mean over `weight` samples; one of no samples changes nothing."""
        if weight < 0:
            raise errors.InvalidArgument(f"weight is {weight}; 0 or more is wanted")
        if weight > 0:
            self._sum += float(value) * weight
            self._weight += weight

    @property
    def value(self) -> float:
        """The mean; NaN before anything was added."""
        return self._sum / self._weight if self._weight else math.nan

    def reset(self) -> None:
        """Forgets everything."""
        self.__init__()  # type: ignore[misc]


def accuracy(logits: Array, labels: Array, ignore: int | None = None) -> float:
    """How often the largest of logits [..., classes] is the label [...]; labels equal to `ignore` do not count."""
    return top_k(logits, labels, 1, ignore)


def top_k(logits: Array, labels: Array, k: int, ignore: int | None = None) -> float:
    """How often the label [...] is among the k largest of logits [..., classes].

    Of equal logits the lower class is the larger; a NaN is larger than anything, and a label whose logit is NaN is
    missed. NaN where no label counts.

    Raises:
        ShapeMismatch: labels are not [...] for logits [..., classes].
        InvalidArgument: a label is no class; k is below 1.
    """
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise errors.ShapeMismatch(f"labels have shape {list(labels.shape)}, logits {list(logits.shape)}")
    if k < 1:
        raise errors.InvalidArgument(f"k is {k}; 1 or more is wanted")
    rows, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    if ignore is not None:
        rows, wanted = rows[wanted != ignore], wanted[wanted != ignore]
    if not len(wanted):
        return math.nan
    if wanted.min() < 0 or wanted.max() >= rows.shape[1]:
        raise errors.InvalidArgument(
            f"labels are {wanted.min()} to {wanted.max()}, logits have {rows.shape[1]} classes"
        )
    own = np.take_along_axis(rows, wanted[:, None], 1)
    classes = np.arange(rows.shape[1])
    before = ~(rows <= own) | ((rows == own) & (classes < wanted[:, None]))
    np.put_along_axis(before, wanted[:, None], False, 1)
    return float(np.mean((before.sum(1) < k) & ~np.isnan(own[:, 0])))


def normalize_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, without punctuation and articles, single spaces."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _f1(prediction: str, answer: str) -> float:
    given, right = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not given or not right:
        return float(given == right)
    common = sum((Counter(given) & Counter(right)).values())
    return 2 * common / (len(given) + len(right))


def exact_match(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> float:
    """How many questions have a prediction that equals one of the answers, both normalised (Rajpurkar et al. 2016).

    Args:
        predictions: text by the question's id; a question without one is wrong.
        answers: right texts by id; none where the text does not tell, which an empty prediction answers.

    Raises:
        InvalidArgument: no questions.
    """
    return _over_questions(predictions, answers, lambda p, a: float(normalize_answer(p) == normalize_answer(a)))


def f1(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> float:
    """Mean over the questions of the best F1 of words in common with an answer; as :func:`exact_match`."""
    return _over_questions(predictions, answers, _f1)


def _over_questions(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], score: Any) -> float:
    if not answers:
        raise errors.InvalidArgument("there are no questions")
    total = 0.0
    for identifier, right in answers.items():
        if identifier in predictions:
            total += max(score(predictions[identifier], a) for a in right or ("",))
    return total / len(answers)


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU, 0 to 100, by the package sacrebleu: its tokenizer 13a, so that figures compare with published ones.

    Raises:
        ShapeMismatch: different numbers of sentences.
        InvalidArgument: none.
        Unsupported: sacrebleu is not installed.
    """
    if len(hypotheses) != len(references):
        raise errors.ShapeMismatch(f"{len(hypotheses)} hypotheses for {len(references)} references")
    if not hypotheses:
        raise errors.InvalidArgument("there are no sentences")
    try:
        import sacrebleu
    except ImportError as e:
        raise errors.Unsupported("BLEU needs the package sacrebleu: pip install lowp[train]") from e
    return float(sacrebleu.corpus_bleu(list(hypotheses), [list(references)]).score)


def _ranks(scores: Array) -> Array:
    if scores.ndim != 2 or scores.size == 0:
        raise errors.ShapeMismatch(f"scores have shape {list(scores.shape)}, [users, 1 + negatives] is wanted")
    own = scores[:, :1]
    # What is not certainly below stands before: a model that scores everything alike, or NaN, hits nothing.
    ranks = (~(scores[:, 1:] < own)).sum(1)
    return np.where(np.isnan(own[:, 0]), scores.shape[1], ranks)


def hit_rate(scores: Array, k: int = 10) -> float:
    """HR@k: how many users have the held-out item, first in scores [users, 1 + negatives], among their k best.

    Items of equal score count as better than the held-out one.
    """
    return float(np.mean(_ranks(scores) < k))


def ndcg(scores: Array, k: int = 10) -> float:
    """NDCG@k of the same ranking: 1 / log2(rank + 2) where the rank, counted from 0, is below k, else 0."""
    ranks = _ranks(scores)
    return float(np.mean(np.where(ranks < k, 1 / np.log2(ranks + 2.0), 0.0)))


def perplexity(loss: float) -> float:
    """exp of the mean cross-entropy, in nats a token; infinite where that overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
