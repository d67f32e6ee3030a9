"""Question answering in the form of SQuAD (Rajpurkar et al., https://arxiv.org/abs/1606.05250)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowp import errors
from lowp.data._dataset import Array, ArrayDataset

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Answer:
    """A span of the context: its text, and the character it starts at."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question on a text; any of the answers is right, and without one the text does not tell."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]


def _field(value: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        got = type(value.get(name)).__name__ if isinstance(value, dict) and name in value else "nothing"
        raise errors.CorruptFile(f"{where}: '{name}' is {got}, a {kind.__name__} is wanted")
    return value[name]


def read_squad(path: str | os.PathLike[str]) -> list[Question]:
    """The questions of a SQuAD-format JSON file (versions 1.1 and 2.0, XQuAD).

    Raises:
        NotFound, CorruptFile: no such file; no JSON, or not of this form. The message says where in the file.
        InvalidArgument: an answer that is not in its context at the place it names.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.NotFound(f"'{path}' does not exist") from None
    except ValueError as e:
        raise errors.CorruptFile(f"'{path}' is no JSON: {e}") from None
    questions = []
    for a, article in enumerate(_field(document, "data", list, f"'{path}'")):
        for p, paragraph in enumerate(_field(article, "paragraphs", list, f"'{path}': data[{a}]")):
            where = f"'{path}': data[{a}].paragraphs[{p}]"
            context = _field(paragraph, "context", str, where)
            for q, entry in enumerate(_field(paragraph, "qas", list, where)):
                questions.append(_read_question(entry, context, f"{where}.qas[{q}]"))
    return questions


def _read_question(entry: Any, context: str, where: str) -> Question:
    identifier, question = _field(entry, "id", str, where), _field(entry, "question", str, where)
    answers = []
    for answer in _field(entry, "answers", list, where):
        text, start = _field(answer, "text", str, where), _field(answer, "answer_start", int, where)
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise errors.InvalidArgument(
                f"{where} ('{identifier}'): the answer is '{text}', the context has '{found}' at {start}"
            )
        answers.append(Answer(text, start))
    return Question(identifier, question, context, tuple(answers))


@dataclass(frozen=True)
class Window:
    """A stretch of a question's context, as long as fits the model.

    `offsets` int32 [length, 2]: the characters [begin, end) of the context that each token is; -1 for other tokens.
    """

    question: int
    offsets: Array


class SpanFeatures:
    """Questions as inputs of a model with a span head: [CLS] question [SEP] context [SEP], padded.

    A context too long for one window gives several that overlap (BERT's doc_stride: Devlin et al.,
    https://arxiv.org/abs/1810.04805, run_squad.py). `dataset` has a sample for each window: input_ids, attention_mask
    and token_type_ids int64 [length]; start and end int64, the answer's first and last token, both 0 ([CLS]) where the
    window does not hold the whole answer.

    Args:
        questions: the first answer of each is trained on.
        tokenizer: with the tokens [CLS], [SEP] and [PAD], and offsets into the text as given.
        length: tokens of a window.
        doc_stride: tokens of the context by which a window starts after the one before.
        max_question: longer questions are cut to so many tokens.

    Raises:
        InvalidArgument: no question; numbers that leave no room for a context, or that would leave parts of it out; a
            tokenizer without the special tokens.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: Tokenizer,
        length: int = 384,
        doc_stride: int = 128,
        max_question: int = 64,
    ) -> None:
        room = length - max_question - 3
        if not questions:
            raise errors.InvalidArgument("there are no questions")
        if room < 1 or max_question < 1 or not 1 <= doc_stride <= room:
            raise errors.InvalidArgument(
                f"length {length} less max_question {max_question} and 3 special tokens leaves {room} for the context;"
                f" doc_stride is {doc_stride}, 1 to that is wanted"
            )
        special = {t: tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]")}
        if None in special.values():
            lacking = ", ".join(t for t, i in special.items() if i is None)
            raise errors.InvalidArgument(f"the tokenizer lacks {lacking}")
        self._special = special
        self._length, self._stride = length, doc_stride
        self.questions = list(questions)
        self.windows: list[Window] = []
        rows: list[dict[str, Any]] = []
        asked = tokenizer.encode_batch([q.question for q in questions], add_special_tokens=False)
        told = tokenizer.encode_batch([q.context for q in questions], add_special_tokens=False)
        for number, (question, context) in enumerate(zip(asked, told, strict=True)):
            rows += self._add(number, question.ids[:max_question], context.ids, context.offsets)
        self.dataset = ArrayDataset({name: np.stack([r[name] for r in rows]) for name in rows[0]})

    def _add(
        self, number: int, question: list[int], context: list[int], offsets: list[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        """The windows of one question."""
        room = self._length - len(question) - 3
        head = [self._special["[CLS]"], *question, self._special["[SEP]"]]
        answer = self._answer_tokens(self.questions[number], offsets)
        rows = []
        for begin in range(0, max(len(context), 1), self._stride):
            part = context[begin : begin + room]
            ids = np.full(self._length, self._special["[PAD]"], np.int64)
            used = len(head) + len(part) + 1
            ids[:used] = [*head, *part, self._special["[SEP]"]]
            places = np.arange(self._length)
            where = np.full((self._length, 2), -1, np.int32)
            if part:
                where[len(head) : used - 1] = offsets[begin : begin + room]
            inside = answer is not None and answer[0] >= begin and answer[1] < begin + len(part)
            shift = len(head) - begin
            start, end = (answer[0] + shift, answer[1] + shift) if answer is not None and inside else (0, 0)
            rows.append(
                {
                    "input_ids": ids,
                    "attention_mask": (places < used).astype(np.int64),
                    "token_type_ids": ((places >= len(head)) & (places < used)).astype(np.int64),
                    "start": np.int64(start),
                    "end": np.int64(end),
                }
            )
            self.windows.append(Window(number, where))
            if begin + room >= len(context):
                break
        return rows

    @staticmethod
    def _answer_tokens(question: Question, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
        """First and last token of the context that hold a character of the first answer."""
        if not question.answers:
            return None
        first, last = question.answers[0].start, question.answers[0].start + len(question.answers[0].text)
        touched = [i for i, (begin, end) in enumerate(offsets) if begin < last and end > first]
        return (touched[0], touched[-1]) if touched else None

    def answers(self, start_logits: Array, end_logits: Array, max_answer: int = 30, best: int = 20) -> dict[str, str]:
        """The text that a model answers to each question, by its id.

        Args:
            start_logits, end_logits: [windows, length], in the order of `dataset`.
            max_answer: tokens of the longest answer.
            best: how many of the likeliest starts and ends are tried.

        Raises:
            ShapeMismatch: logits of another shape.
        """
        wanted = (len(self.windows), self._length)
        for name, logits in (("start_logits", start_logits), ("end_logits", end_logits)):
            if logits.shape != wanted:
                raise errors.ShapeMismatch(f"{name} has shape {list(logits.shape)}, {list(wanted)} is wanted")
        found: dict[int, tuple[float, str]] = {}
        for window, starts, ends in zip(self.windows, start_logits, end_logits, strict=True):
            context = np.flatnonzero(window.offsets[:, 0] >= 0)
            if not len(context):
                continue
            s = context[np.argsort(-starts[context].astype(np.float64), kind="stable")[:best]]
            e = context[np.argsort(-ends[context].astype(np.float64), kind="stable")[:best]]
            score = starts[s].astype(np.float64)[:, None] + ends[e].astype(np.float64)
            score[(e < s[:, None]) | (e >= s[:, None] + max_answer)] = -np.inf
            i, j = np.unravel_index(score.argmax(), score.shape)
            if score[i, j] > found.get(window.question, (-np.inf, ""))[0]:
                begin, end = window.offsets[s[i], 0], window.offsets[e[j], 1]
                found[window.question] = float(score[i, j]), self.questions[window.question].context[begin:end]
        return {q.id: found.get(i, (0.0, ""))[1] for i, q in enumerate(self.questions)}
