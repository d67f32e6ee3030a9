#!/usr/bin/env bash
# A venv with PyTorch, the strongest peer in training on a CPU:
#   bench/setup_torch.sh [FOLDER, build/torch-venv without it]
# PyTorch's wheel on PyPI is built for CUDA: its dependencies of 3 GB are left out, but for the few libraries that
# `import torch` loads even where there is no GPU.
cd "$(dirname "$0")/.." || exit 1
set -e
venv=${1:-build/torch-venv}
[ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip -q --disable-pip-version-check "$@"; }
pip install numpy filelock typing_extensions sympy networkx jinja2 fsspec
pip install --no-deps torch nvidia-cufile nvidia-cusparselt-cu13 nvidia-nvshmem-cu13 nvidia-nccl-cu13
"$venv/bin/python" -c 'import torch; print("PyTorch", torch.__version__, "in", "'"$venv"'")'
