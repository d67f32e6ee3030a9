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
from lowp.data._dataset import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Answer:
    """A span of the context: its text, and the character it starts at."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question on a text; any of the answers is right. Without one the text does not tell, or nobody knows yet."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


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

    The context's token `begin` stands at place `head` of the window, behind [CLS], the question and [SEP]; `used`
    places are not padding. `start` and `end` are the answer's first and last place, both 0 where the window lacks it.
    """

    question: int
    begin: int
    head: int
    used: int
    start: int
    end: int


# Texts tokenized at once: enough for the tokenizer's threads, and what it returns is large.
_CHUNK = 1024


class SpanFeatures:
    """Questions as inputs of a model with a span head: [CLS] question [SEP] context [SEP], padded.

    A data set with a sample for each of `windows`: input_ids, attention_mask and token_type_ids int64 [length]; start
    and end int64, the answer's first and last token, both 0 ([CLS]) where the window does not hold the whole answer. A
    context too long for one window gives several that overlap (BERT's doc_stride: Devlin et al.,
    https://arxiv.org/abs/1810.04805, run_squad.py).

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
        self._cls, self._sep, self._pad = special.values()
        self._length, self._stride = length, doc_stride
        self.questions = list(questions)
        self.windows: list[Window] = []
        # Of each question's context: characters [begin, end) of its tokens, int32 [tokens, 2].
        self._offsets: list[Array] = []
        ids: list[Array] = []
        for first in range(0, len(self.questions), _CHUNK):
            some = self.questions[first : first + _CHUNK]
            asked = tokenizer.encode_batch([q.question for q in some], add_special_tokens=False)
            told = tokenizer.encode_batch([q.context for q in some], add_special_tokens=False)
            for question, context in zip(asked, told, strict=True):
                self._offsets.append(np.array(context.offsets, np.int32).reshape(-1, 2))
                ids += self._add(question.ids[:max_question], context.ids)
        self._ids = np.stack(ids)
        fields = ("head", "used", "start", "end")
        self._numbers = {f: np.array([getattr(w, f) for w in self.windows], np.int64) for f in fields}

    def _add(self, question: list[int], context: list[int]) -> list[Array]:
        """Appends the windows of the question whose offsets came last; gives their tokens, int32 [length]."""
        number = len(self._offsets) - 1
        room = self._length - len(question) - 3
        head = [self._cls, *question, self._sep]
        answer = self._answer_tokens(number)
        rows = []
        for begin in range(0, max(len(context), 1), self._stride):
            tokens = [*head, *context[begin : begin + room], self._sep]
            row = np.full(self._length, self._pad, np.int32)
            row[: len(tokens)] = tokens
            rows.append(row)
            start = end = 0
            if answer and begin <= answer[0] and answer[1] < begin + room:
                start, end = (token - begin + len(head) for token in answer)
            self.windows.append(Window(number, begin, len(head), len(tokens), start, end))
            if begin + room >= len(context):
                break
        return rows

    def _answer_tokens(self, number: int) -> tuple[int, int] | None:
        """First and last token of the context that hold a character of the question's first answer."""
        if not self.questions[number].answers:
            return None
        answer, offsets = self.questions[number].answers[0], self._offsets[number]
        inside = np.flatnonzero((offsets[:, 0] < answer.start + len(answer.text)) & (offsets[:, 1] > answer.start))
        return (int(inside[0]), int(inside[-1])) if len(inside) else None

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Array]:
        if not 0 <= index < len(self.windows):
            raise IndexError(f"window {index} of {len(self.windows)}")
        return {name: values[0] for name, values in self.take(np.array([index])).items()}

    def take(self, indices: Array) -> dict[str, Array]:
        """The windows of int64 [n] `indices`: input_ids, attention_mask, token_type_ids [n, length], start, end [n]."""
        head, used, start, end = (values[indices] for values in self._numbers.values())
        places = np.arange(self._length)
        mask = places < used[:, None]
        return {
            "input_ids": self._ids[indices].astype(np.int64),
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": (mask & (places >= head[:, None])).astype(np.int64),
            "start": start,
            "end": end,
        }

    def offsets(self, index: int) -> Array:
        """int32 [length, 2]: the context's characters [begin, end) that each token of a window is; -1 for others."""
        window = self.windows[index]
        result = np.full((self._length, 2), -1, np.int32)
        count = window.used - 1 - window.head
        result[window.head : window.head + count] = self._offsets[window.question][window.begin : window.begin + count]
        return result

    def answers(self, start_logits: Array, end_logits: Array, max_answer: int = 30, best: int = 20) -> dict[str, str]:
        """The text that a model answers to each question, by its id.

        Args:
            start_logits, end_logits: [windows, length], in the order of `windows`.
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
        for index, window in enumerate(self.windows):
            span = slice(window.head, window.used - 1)
            if span.start == span.stop:
                continue
            starts, ends = (x[index, span].astype(np.float64) for x in (start_logits, end_logits))
            s = np.argsort(-starts, kind="stable")[:best]
            e = np.argsort(-ends, kind="stable")[:best]
            score = starts[s, None] + ends[e]
            score[(e < s[:, None]) | (e >= s[:, None] + max_answer)] = -np.inf
            i, j = np.unravel_index(score.argmax(), score.shape)
            if score[i, j] > found.get(window.question, (-np.inf, ""))[0]:
                begin, end = (self._offsets[window.question][window.begin + t] for t in (s[i], e[j]))
                text = self.questions[window.question].context[begin[0] : end[1]]
                found[window.question] = float(score[i, j]), text
        return {q.id: found.get(i, (0.0, ""))[1] for i, q in enumerate(self.questions)}
