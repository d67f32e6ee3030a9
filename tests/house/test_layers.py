"""Lower layers never include higher ones, and nothing in the tree names the machine it was written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What each folder of src/ may include besides itself; docs/design.md draws it.
BASE = {"base"}
KERNELS = BASE | {"simd"}
OPS = BASE | {"ir", "kernels"}
MIDDLE = OPS | {"ops"}
RUNTIME = MIDDLE | {"passes", "autograd", "quant"}
BORDER = RUNTIME | {"runtime"}
ALLOWED = {
    "base": set(),
    "simd": BASE,
    "kernels": KERNELS,
    "ir": BASE,
    "ops": OPS,
    "passes": MIDDLE,
    "autograd": MIDDLE,
    "quant": MIDDLE | {"passes"},
    "runtime": RUNTIME,
    "train": BORDER,
    "onnx": BORDER,
    "format": BORDER,
    "capi": BORDER | {"train", "onnx", "format"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"/]+)/', re.MULTILINE)


def tracked(*patterns):
    """Files git knows, or would add, that match; an export without .git is walked."""
    command = ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "--", *patterns]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in found.stdout.splitlines() if (ROOT / line).is_file()]


def test_every_folder_has_a_layer():
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    assert folders <= set(ALLOWED)


def test_include_directions():
    wrong = []
    for path in tracked("src/*.h", "src/*.cc", "src/*.inc"):
        layer = path.relative_to(ROOT / "src").parts[0]
        if re.search(r"_(test|bench)\.cc$", path.name) or layer not in ALLOWED:
            continue
        for other in INCLUDE.findall(path.read_text()):
            if other in ALLOWED and other != layer and other not in ALLOWED[layer]:
                wrong.append(f"{path.relative_to(ROOT)} ({layer}) includes {other}/")
    assert not wrong, "\n".join(wrong)


def test_ops_see_only_the_kernels_contracts():
    wrong = [
        f"{path.relative_to(ROOT)} includes {name}"
        for path in tracked("src/ops/*.cc", "src/ops/*.h")
        for name in re.findall(r'#\s*include\s*"(kernels/[^"]+|simd/[^"]+)"', path.read_text())
        if name.endswith(".inl.h") or name.startswith("simd/")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_machine_paths():
    pattern = re.compile(r"/(home|Users|root)/\w|/work/|/mnt/\w")
    wrong = []
    for path in tracked("*"):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line) and path != Path(__file__):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not wrong, "\n".join(wrong)
