"""Sentence pairs, subwords, and batches of like length for translation."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowp import errors
from lowp.data._dataset import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PathLike = str | os.PathLike[str]
PAD, BEGIN, END = 0, 1, 2
_SPECIAL = ("<pad>", "<s>", "</s>")


def _lines(path: Path) -> list[str]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as file:
                return file.read().splitlines()
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise errors.NotFound(f"'{path}' does not exist") from None
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise errors.CorruptFile(f"'{path}' cannot be read: {e}") from None


def read_pairs(source: PathLike, target: PathLike) -> list[tuple[str, str]]:
    """Pairs of lines of two text files (UTF-8, gzip where the name ends in .gz).

    Raises:
        NotFound, CorruptFile: a file that is not there, or is no text.
        ShapeMismatch: different numbers of lines.
    """
    sources, targets = _lines(Path(source)), _lines(Path(target))
    if len(sources) != len(targets):
        raise errors.ShapeMismatch(f"'{source}' has {len(sources)} lines, '{target}' has {len(targets)}")
    return list(zip(sources, targets, strict=True))


def multi30k(folder: PathLike, split: str = "train") -> list[tuple[str, str]]:
    """English and German captions (Elliott et al., https://arxiv.org/abs/1605.00459).

    Args:
        folder: of ``{split}.en.gz`` and ``{split}.de.gz``.
        split: train (29,000 pairs), val (1,014) or test_2016_flickr (1,000).
    """
    return read_pairs(Path(folder) / f"{split}.en.gz", Path(folder) / f"{split}.de.gz")


class Subwords:
    """A vocabulary of byte pairs (Sennrich et al., https://arxiv.org/abs/1508.07909) that can write any text.

    It works on bytes, so that nothing is unknown. 0 pads, 1 begins and 2 ends a sentence.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        for number, token in enumerate(_SPECIAL):
            if tokenizer.token_to_id(token) != number:
                raise errors.InvalidArgument(
                    f"the vocabulary has {tokenizer.token_to_id(token)} for {token}, not {number}"
                )

    @classmethod
    def train(cls, sentences: Iterable[str], size: int) -> Subwords:
        """The vocabulary of at most `size` subwords (259 or more) of these sentences; the same for the same ones."""
        try:
            from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
        except ImportError as e:
            raise errors.Unsupported("subwords need the package tokenizers: pip install lowp[train]") from e
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        if size < len(alphabet) + len(_SPECIAL):
            raise errors.InvalidArgument(f"size is {size}; {len(alphabet) + len(_SPECIAL)} or more is wanted")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(sentences, trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: PathLike) -> Subwords:
        """What :meth:`save` wrote.

        Raises:
            NotFound, CorruptFile: no such file, or not such a file.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as e:
            raise errors.Unsupported("subwords need the package tokenizers: pip install lowp[train]") from e
        try:
            return cls(Tokenizer.from_str(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise errors.NotFound(f"'{path}' does not exist") from None
        except Exception as e:  # noqa: BLE001 - the package raises nothing more exact
            raise errors.CorruptFile(f"'{path}' is no vocabulary: {e}") from None

    def save(self, path: PathLike) -> None:
        """Writes the vocabulary as JSON, in the form of the package tokenizers."""
        Path(path).write_text(self._tokenizer.to_str(), encoding="utf-8")

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The subwords of each sentence, without begin and end."""
        return [e.ids for e in self._tokenizer.encode_batch(list(sentences), add_special_tokens=False)]

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The sentence of these subwords, up to the first END; PAD and BEGIN are left out."""
        kept: list[int] = []
        for token in map(int, ids):
            if token == END:
                break
            if token not in (PAD, BEGIN):
                kept.append(token)
        return self._tokenizer.decode(kept, skip_special_tokens=False).strip()


class TranslationDataset:
    """Pairs as subwords: samples are {"source": int64 [S], "target": int64 [T]}, the target with BEGIN and END.

    Give the loader `lengths` and :meth:`collate`, so that a batch has sentences of like length and little padding:

    >>> Loader(data, 64, lengths=data.lengths, collate=data.collate)

    Args:
        pairs: source and target sentences.
        source, target: vocabularies; may be the same.
        max_length: pairs with more subwords on either side are left out (`left_out` counts them), as are empty ones.
        pad_to: batches are padded to multiples of this, so that few different shapes have to be planned for.

    Raises:
        InvalidArgument: no pair is left.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        source: Subwords,
        target: Subwords,
        max_length: int = 64,
        pad_to: int = 8,
    ) -> None:
        if pad_to < 1:
            raise errors.InvalidArgument(f"pad_to is {pad_to}; 1 or more is wanted")
        encoded = zip(source.encode([s for s, _ in pairs]), target.encode([t for _, t in pairs]), strict=True)
        kept = [(s, t) for s, t in encoded if 0 < len(s) <= max_length and 0 < len(t) <= max_length]
        if not kept:
            raise errors.InvalidArgument(f"none of {len(pairs)} pairs has 1 to {max_length} subwords on either side")
        self.left_out = len(pairs) - len(kept)
        self._pad_to = pad_to
        self._pairs = [(np.array(s, np.int64), np.array([BEGIN, *t, END], np.int64)) for s, t in kept]
        # The decoder costs more than the encoder, so its length counts; the source's breaks ties.
        self.lengths = np.array([len(t) * (max_length + 1) + len(s) for s, t in self._pairs], np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Array]:
        source, target = self._pairs[index]
        return {"source": source, "target": target}

    def collate(self, samples: Sequence[dict[str, Array]]) -> dict[str, Array]:
        """A padded batch of n samples.

        Returns:
            source int64 [n, S] and source_length int64 [n]; target_in int64 [n, T], from BEGIN on, and target_out int64
            [n, T], the next subword of each, up to END. Padding is PAD, which the loss is to ignore.
        """
        source = self._padded([s["source"] for s in samples])
        return {
            "source": source,
            "source_length": np.array([len(s["source"]) for s in samples], np.int64),
            "target_in": self._padded([s["target"][:-1] for s in samples]),
            "target_out": self._padded([s["target"][1:] for s in samples]),
        }

    def _padded(self, rows: Sequence[Array]) -> Array:
        longest = max(map(len, rows))
        result = np.full((len(rows), -(-longest // self._pad_to) * self._pad_to), PAD, np.int64)
        for row, values in zip(result, rows, strict=True):
            row[: len(values)] = values
        return result
