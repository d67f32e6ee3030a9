"""The models that recipes train, built of lowp.nn: ResNet, BERT with a span head, GNMT, NeuMF."""

from lowp.train.models.bert import Bert, BertConfig, BertForSpans, span_loss
from lowp.train.models.gnmt import DeployedGnmt, Gnmt, GnmtConfig, translate
from lowp.train.models.ncf import NeuMF
from lowp.train.models.resnet import ResNet, resnet18, resnet50

__all__ = [
    "Bert",
    "BertConfig",
    "BertForSpans",
    "DeployedGnmt",
    "Gnmt",
    "GnmtConfig",
    "NeuMF",
    "ResNet",
    "resnet18",
    "resnet50",
    "span_loss",
    "translate",
]
