"""Training has the same bits on every instruction set, in every precision; bf16 also where it is multiplied as such."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAM = """
import zlib
import test_trainer
from lowp import Trainer, nn, optim
for precision in ("fp32", "bf16", "fp16"):
    for name, (build, x, y) in test_trainer.WHOLE.items():
        nn.seed(1)
        trainer = Trainer(build(), nn.CrossEntropyLoss(), optim.Adam(0.01), precision=precision, threads=1)
        for _ in range(4):
            trainer.step(x, y)
        digest = 0
        for array in trainer.state_dict().values():
            digest = zlib.crc32(array.tobytes(), digest)
        print(precision, name, digest)
"""


def digests(isa):
    paths = [str(TESTS / "python"), str(TESTS.parent / "python"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"LOWP_ISA": isa, "PYTHONPATH": ":".join(p for p in paths if p)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=300)
    if "cannot run it" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain():
    return digests("scalar")


@pytest.fixture(scope="module")
def emulated():
    return digests("emu512")


@pytest.fixture(scope="module")
def emulated_tiles():
    return digests("emu_amx")


def of(precisions, lines):
    return [line for line in lines.splitlines() if line.split()[0] in precisions]


@pytest.mark.parametrize("isa", ["avx2", "avx512", "avx512_vnni"])
def test_bits(isa, plain):
    assert plain.count("\n") == 15
    assert digests(isa) == plain


def test_emulated_bits(plain, emulated, emulated_tiles):
    for lines in (emulated, emulated_tiles):
        assert of(["fp32", "fp16"], lines) == of(["fp32", "fp16"], plain)
        assert of(["bf16"], lines) != of(["bf16"], plain)
    assert of(["bf16"], emulated) != of(["bf16"], emulated_tiles)


def test_bf16_has_the_bits_of_its_emulation(emulated):
    assert digests("avx512_bf16") == emulated


def test_bf16_in_tiles_has_the_bits_of_its_emulation(emulated_tiles):
    assert digests("avx512_amx") == emulated_tiles
