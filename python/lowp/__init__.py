"""Low-precision neural networks on CPUs: load an ONNX model, compile it to BF16, FP16 or INT8, run it.

>>> model = lowp.load("resnet50.onnx")
>>> engine = lowp.compile(model, precision="int8", calibration=[{"x": batch}])
>>> logits = engine.run({"x": x})["logits"]
>>> engine.save("resnet50.lowp")
>>> engine = lowp.open("resnet50.lowp", threads=2)
"""

from lowp import errors, zoo
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
    NotFound,
    ResourceError,
    ShapeMismatch,
    TypeMismatch,
    Unsupported,
    VersionError,
)

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
    "NotFound",
    "ResourceError",
    "ShapeMismatch",
    "StepProfile",
    "TensorInfo",
    "TypeMismatch",
    "Unsupported",
    "VersionError",
    "compile",
    "errors",
    "example_inputs",
    "load",
    "open",
    "zoo",
]
