"""Shared by the tests of the Python package."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["LOWP_CACHE"] = ""  # tests neither read nor leave measurements
