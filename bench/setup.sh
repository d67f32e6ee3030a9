#!/usr/bin/env bash
# A venv of its own for the peers, build/bench-venv, that also finds the built lowp package. Then:
#   build/bench-venv/bin/python bench/versus_peers.py --help
cd "$(dirname "$0")/.." || exit 1
set -e
[ -x build/bench/peak ] || { echo "build lowp first: ./quickstart.sh, or cmake --preset release && cmake --build --preset release"; exit 1; }
[ -x build/bench-venv/bin/python ] || /usr/bin/python3 -m venv build/bench-venv
build/bench-venv/bin/python scripts/list_requirements.py >build/requirements.txt
build/bench-venv/bin/python -m pip install -q --disable-pip-version-check -r bench/requirements.txt -r build/requirements.txt
echo "$PWD/python" >"$(build/bench-venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/lowp.pth"
echo "build/bench-venv is ready"
