"""Low-precision neural networks on CPUs."""

from lowp._core import version

__version__ = version()
