# ruff: noqa: N818 - the names are part of the interface
"""The exceptions that lowp raises for expected failures.

Each has ``code``, a string that stays the same between versions ("shape-mismatch"), and is also the built-in exception
that fits, so that ``except ValueError`` works as usual.
"""

from __future__ import annotations


class Error(Exception):
    """Base of all of them."""

    code = "internal"


class InvalidArgument(Error, ValueError):
    """An option or argument makes no sense; an input is missing or unknown."""

    code = "invalid-argument"


class InvalidModel(Error, ValueError):
    """The model breaks the rules of its format."""

    code = "invalid-model"


class NonFinite(Error, FloatingPointError):
    """Training met an infinity or NaN. The message names tensor, layer, step and seed; the step changed nothing."""

    code = "non-finite"


class Unsupported(Error, NotImplementedError):
    """Valid, but lowp cannot do it, or not in the precision that ``strict`` wants."""

    code = "unsupported"


class ShapeMismatch(Error, ValueError):
    """A tensor's rank or extents are not what is wanted."""

    code = "shape-mismatch"


class TypeMismatch(Error, TypeError):
    """A tensor's dtype is not what is wanted."""

    code = "type-mismatch"


class NotFound(Error, FileNotFoundError):
    """A file does not exist."""

    code = "not-found"


class IoError(Error, OSError):
    """The operating system refused: disk full, permissions, no network."""

    code = "io"


class CorruptFile(Error, ValueError):
    """A file is damaged: checksum, truncation, offsets."""

    code = "corrupt"


class VersionError(Error, ValueError):
    """A file was written by a newer lowp."""

    code = "version"


class CalibrationError(Error, ValueError):
    """Calibration data are missing, empty or not finite."""

    code = "calibration"


class ResourceError(Error, MemoryError):
    """Memory or another limit is exhausted."""

    code = "resource"


class Cancelled(Error):
    """A progress callback returned False."""

    code = "cancelled"


class InternalError(Error, RuntimeError):
    """A bug in lowp; please report it."""

    code = "internal"


_CLASSES: dict[str, type[Error]] = {
    c.code: c
    for c in (
        InvalidArgument,
        InvalidModel,
        NonFinite,
        Unsupported,
        ShapeMismatch,
        TypeMismatch,
        NotFound,
        IoError,
        CorruptFile,
        VersionError,
        CalibrationError,
        ResourceError,
        Cancelled,
        InternalError,
    )
}


def from_code(code: str, message: str) -> Error:
    """The exception of the core's error code."""
    return _CLASSES.get(code, InternalError)(message)
