#!/usr/bin/env bash
# A venv with TensorFlow, a peer in training on a CPU:
#   bench/setup_tensorflow.sh [FOLDER, build/tensorflow-venv without it]
cd "$(dirname "$0")/.." || exit 1
set -e
venv=${1:-build/tensorflow-venv}
[ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"
"$venv/bin/python" -m pip -q --disable-pip-version-check install tensorflow-cpu
TF_CPP_MIN_LOG_LEVEL=3 "$venv/bin/python" -c 'import tensorflow as tf; print("TensorFlow", tf.__version__, "in", "'"$venv"'")'
