"""Runs the command and the C example."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOWP = Path(os.environ.get("LOWP_BIN") or ROOT / "build" / "bin" / "lowp").absolute()
RUN_MODEL = LOWP.parents[1] / "examples" / "run_model"
CODES = (
    "invalid-argument invalid-model unsupported shape-mismatch type-mismatch not-found io corrupt version calibration "
    "resource cancelled non-finite internal"
).split()


def run(*arguments, isa=None, program=LOWP, **options):
    """The finished process, its output as text. It may fail, but not by a signal."""
    environment = {k: v for k, v in os.environ.items() if k != "LOWP_ISA"}
    if isa is not None:
        environment["LOWP_ISA"] = isa
    options = {"capture_output": True, "text": True, "timeout": 300, "env": environment} | options
    done = subprocess.run([str(program), *map(str, arguments)], **options)
    assert done.returncode >= 0, f"signal {-done.returncode}: {done.args}\n{done.stderr}"
    assert "AddressSanitizer" not in done.stderr and "runtime error:" not in done.stderr, done.stderr
    return done


def ok(*arguments, **options):
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ok_json(*arguments, **options):
    return json.loads(ok(*arguments, "--json", **options))


def fails(code, *arguments, **options):
    """Fails with this code (one of several, or None: any but internal); gives the message."""
    done = run(*arguments, **options)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    codes = [code] if isinstance(code, str) else code or [c for c in CODES if c != "internal"]
    found = done.stderr.removeprefix("lowp: ").split(":")[0]
    assert found in codes, done.stderr
    return done.stderr
