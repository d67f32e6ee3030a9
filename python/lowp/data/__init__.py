"""Data to train with: data sets, batches in a reproducible order, and readers of real data.

>>> data = lowp.data.fashion_mnist()
>>> loader = lowp.data.Loader(data, batch_size=64, seed=1)
>>> for batch in loader:
...     step(batch["x"], batch["label"])
"""

from lowp.data._dataset import (
    ArrayDataset,
    BatchDataset,
    Dataset,
    EpochDataset,
    Subset,
    check_labels,
    collate,
    split,
)
from lowp.data._generated import generated_pairs, generated_questions, packaged_sentences
from lowp.data._images import FASHION_MNIST_CLASSES, fashion_mnist, read_idx
from lowp.data._loader import Loader
from lowp.data._movielens import Interactions, LeaveOneOut, TrainingPairs, movielens_100k
from lowp.data._squad import Answer, Question, SpanFeatures, Window, read_squad
from lowp.data._translation import BEGIN, END, PAD, Subwords, TranslationDataset, multi30k, read_pairs

__all__ = [
    "BEGIN",
    "END",
    "FASHION_MNIST_CLASSES",
    "PAD",
    "Answer",
    "ArrayDataset",
    "BatchDataset",
    "Dataset",
    "EpochDataset",
    "Interactions",
    "LeaveOneOut",
    "Loader",
    "Question",
    "SpanFeatures",
    "Subset",
    "Subwords",
    "TrainingPairs",
    "TranslationDataset",
    "Window",
    "check_labels",
    "collate",
    "fashion_mnist",
    "generated_pairs",
    "generated_questions",
    "movielens_100k",
    "multi30k",
    "packaged_sentences",
    "read_idx",
    "read_pairs",
    "read_squad",
    "split",
]
