"""Fashion-MNIST (Xiao et al., https://arxiv.org/abs/1708.07747), as Debian packages it."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np

from lowp import errors
from lowp.data._dataset import Array, ArrayDataset

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read_idx(path: str | os.PathLike[str]) -> Array:
    """The uint8 array of a gzipped IDX file: bytes 0, 0, 8, rank, then big-endian extents, then the data.

    The format: http://yann.lecun.com/exdb/mnist.

    Raises:
        CorruptFile: not gzip, not IDX of uint8, or not as long as its extents say.
    """
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (OSError, EOFError) as e:
        raise errors.CorruptFile(f"'{path}' cannot be read as gzip: {e}") from None
    rank = data[3] if len(data) > 3 else 0
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * rank:
        raise errors.CorruptFile(f"'{path}' is no IDX file of uint8: it starts with {data[:4].hex(' ')}")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
    if values.size != np.prod(shape, dtype=np.int64):
        raise errors.CorruptFile(f"'{path}' holds {values.size} bytes of data, its extents {list(shape)} say otherwise")
    return values.reshape(shape)


def fashion_mnist(train: bool = True, folder: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """70,000 pictures of clothes in 10 classes: "x" float32 [1, 28, 28] in 0..1, "label" int64.

    Args:
        train: the 60,000 to train on; False for the 10,000 to test with.
        folder: of the four ``*-ubyte.gz`` files; where Debian's package puts them without it.

    Raises:
        NotFound: the files are not there.
        CorruptFile, InvalidArgument: they are not what their format says.
    """
    base = Path(folder) if folder else FASHION_MNIST_FOLDER
    part = "train" if train else "t10k"
    images, labels = base / f"{part}-images-idx3-ubyte.gz", base / f"{part}-labels-idx1-ubyte.gz"
    for path in (images, labels):
        if not path.is_file():
            raise errors.NotFound(f"'{path}' does not exist; `apt install dataset-fashion-mnist` brings it")
    x = read_idx(images).astype(np.float32) / np.float32(255)
    return ArrayDataset({"x": x[:, None], "label": read_idx(labels).astype(np.int64)}, classes={"label": 10})
