"""Low-precision neural networks on CPUs: load or train a model, compile it to BF16, FP16 or INT8, run it.

>>> model = lowp.load("resnet50.onnx")
>>> engine = lowp.compile(model, precision="int8", calibration=[{"x": batch}])
>>> logits = engine.run({"x": x})["logits"]
>>> engine.save("resnet50.lowp")
>>> engine = lowp.open("resnet50.lowp", threads=2)
>>> trainer = lowp.Trainer(network, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9), precision="bf16")
>>> trainer.step(images, labels).loss
"""

from lowp import amp, errors, nn, optim, quant, zoo
from lowp._arrays import TensorInfo
from lowp._core import version
from lowp._engine import Engine, StepProfile, compile, example_inputs, open  # noqa: A004
from lowp._model import Model, load
from lowp.errors import (
    CalibrationError,
    Cancelled,
    CorruptFile,
    Error,
    InternalError,
    InvalidArgument,
    InvalidModel,
    IoError,
    NonFinite,
    NotFound,
    ResourceError,
    ShapeMismatch,
    TypeMismatch,
    Unsupported,
    VersionError,
)
from lowp.train.trainer import StepResult, Trainer

__version__ = version()

__all__ = [
    "CalibrationError",
    "Cancelled",
    "CorruptFile",
    "Engine",
    "Error",
    "InternalError",
    "InvalidArgument",
    "InvalidModel",
    "IoError",
    "Model",
    "NonFinite",
    "NotFound",
    "ResourceError",
    "ShapeMismatch",
    "StepProfile",
    "StepResult",
    "TensorInfo",
    "Trainer",
    "TypeMismatch",
    "Unsupported",
    "VersionError",
    "amp",
    "compile",
    "errors",
    "example_inputs",
    "load",
    "nn",
    "open",
    "optim",
    "quant",
    "zoo",
]
