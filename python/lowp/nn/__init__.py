"""Building blocks of models to train. People who know PyTorch can guess them:

>>> class Net(nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.hidden = nn.Linear(784, 128)
...         self.output = nn.Linear(128, 10)
...
...     def forward(self, x):
...         return self.output(nn.functional.relu(self.hidden(x)))
>>> model = Net()
>>> scores = model(images)  # numpy in and out

forward() works on symbolic tensors: it is traced once for each combination of shapes into a graph, which training
extends by gradients and :func:`lowp.compile` by quantization.
"""

from lowp.nn import functional, init
from lowp.nn._run import to_model
from lowp.nn.attention import MultiheadAttention, TransformerEncoder, TransformerEncoderLayer
from lowp.nn.init import seed
from lowp.nn.layers import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    BCEWithLogitsLoss,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    value_of,
)
from lowp.nn.module import Buffer, Module, ModuleList, Parameter, Sequential, checkpoint
from lowp.nn.onnx import OnnxModule
from lowp.nn.recurrent import GRU, LSTM, gates_from_torch
from lowp.nn.tensor import Tensor

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "OnnxModule",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Tensor",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "checkpoint",
    "functional",
    "gates_from_torch",
    "init",
    "seed",
    "to_model",
    "value_of",
]
