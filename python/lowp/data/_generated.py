"""Text that lowp makes itself, so that the recipes it ships need no download: from the phrases beside this file."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any

from lowp import errors
from lowp.data._random import raw
from lowp.data._squad import Answer, Question

# Endings of an adjective after the indefinite article, and the article itself.
_NOMINATIVE = {"m": ("Ein", "er"), "f": ("Eine", "e"), "n": ("Ein", "es")}
_ACCUSATIVE = {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")}


@functools.cache
def _phrases() -> dict[str, Any]:
    return tomllib.loads((resources.files("lowp") / "data" / "phrases.toml").read_text(encoding="utf-8"))


class _Draw:
    """Choices out of one counter's numbers."""

    def __init__(self, seed: int, purpose: str, counter: int, most: int) -> None:
        self._numbers: list[int] = raw(most, seed, purpose, counter).tolist()

    def below(self, bound: int) -> int:
        return self._numbers.pop() % bound

    def one(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def some(self, choices: Any, count: int) -> list[Any]:
        left = list(choices)
        return [left.pop(self.below(len(left))) for _ in range(count)]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _pair(draw: _Draw) -> tuple[str, str]:
    p = _phrases()["translation"]
    who, wer, gender = draw.one(p["people"])
    how, wie = draw.one(p["adjectives"])
    verb, verb_de, participle, things = draw.one(p["verbs"])
    what = draw.one(things)
    was, what_gender = p["things"][what]
    where, wo = draw.one(p["places"])
    when, wann = draw.one(p["adverbs"])
    article, ending = _NOMINATIVE[gender]
    subject, subject_de = f"{_article(how)} {how} {who}", f"{article} {wie}{ending} {wer}"
    thing, thing_de = f"{_article(what)} {what}", f"{_ACCUSATIVE[what_gender][0]} {was}"
    if draw.below(2):
        colour, colour_de = draw.one([("red", "rot"), ("white", "weiß"), ("brown", "braun"), ("new", "neu")])
        thing = f"a {colour} {what}"
        thing_de = f"{_ACCUSATIVE[what_gender][0]} {colour_de}{_ACCUSATIVE[what_gender][1]} {was}"
    kind = draw.below(4)
    if kind == 0:  # the verb stays second when the sentence begins with the time
        german = f"{wann[0].upper()}{wann[1:]} {verb_de} {subject_de[0].lower()}{subject_de[1:]} {thing_de} {wo}."
        return f"{when[0].upper()}{when[1:]} {subject} is {verb} {thing} {where}.", german
    if kind == 1:  # the participle goes to the end
        english = f"{subject[0].upper()}{subject[1:]} has been {verb} {thing} {where}."
        return english, f"{subject_de} hat {wo} {thing_de} {participle}."
    if kind == 2:  # so does the verb of a clause
        english = f"I see that {subject} is {verb} {thing} {where}."
        return english, f"Ich sehe, dass {subject_de[0].lower()}{subject_de[1:]} {wo} {thing_de} {verb_de}."
    return f"{subject[0].upper()}{subject[1:]} is {verb} {thing} {where}.", f"{subject_de} {verb_de} {wo} {thing_de}."


def generated_pairs(count: int, seed: int = 0, start: int = 0) -> list[tuple[str, str]]:
    """Simple English sentences with their German translations.

    Cases, genders and word order are right. Pair i is a function of (seed, start + i): ranges that do not meet give
    pairs drawn independently, out of some three million, so that few of a test set were trained on.

    Raises:
        InvalidArgument: no pair is wanted, or a negative start.
    """
    _check(count, start)
    return [_pair(_Draw(seed, "pairs", start + i, 16)) for i in range(count)]


@functools.cache
def packaged_sentences() -> tuple[str, ...]:
    """The English sentences beside this file."""
    return tuple((resources.files("lowp") / "data" / "sentences.txt").read_text(encoding="utf-8").splitlines())


def _question(draw: _Draw, identifier: str) -> Question:
    p = _phrases()["questions"]
    people = draw.some(p["names"], 3)
    # The same kinds of fact for several people: the answer cannot be found by its kind alone.
    told = [(name, fact, draw.one(fact["values"])) for fact in draw.some(p["facts"], 3) for name in people]
    told = draw.some(told, 6)
    chosen = draw.below(len(told))
    context, start = "", 0
    for i, (name, fact, value) in enumerate(told):
        sentence = fact["sentence"].format(name=name, value=value)
        if i == chosen:
            start = len(context) + len(fact["sentence"].split("{value}")[0].format(name=name))
        context += sentence + " "
        if draw.below(3) == 0:
            context += draw.one(packaged_sentences()) + " "
    name, fact, value = told[chosen]
    return Question(
        identifier, draw.one(fact["questions"]).format(name=name), context.rstrip(), (Answer(value, start),)
    )


def generated_questions(count: int, seed: int = 0, start: int = 0) -> list[Question]:
    """Questions on short texts about made-up people, in the form of SQuAD.

    A text tells six facts of three kinds about three people, so that both the name and the kind asked for decide the
    answer, with other sentences between. Question i is a function of (seed, start + i).

    Raises:
        InvalidArgument: no question is wanted, or a negative start.
    """
    _check(count, start)
    return [_question(_Draw(seed, "questions", start + i, 64), f"generated-{seed}-{start + i}") for i in range(count)]


def _check(count: int, start: int) -> None:
    if count < 1 or start < 0:
        raise errors.InvalidArgument(f"count is {count} and start {start}; at least 1 and at least 0 are wanted")
