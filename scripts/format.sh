#!/usr/bin/env bash
# Formats every tracked C++ and Python file in place.
cd "$(dirname "$0")/.." || exit 1
git ls-files -z -- '*.h' '*.cc' | xargs -0 -r -n 40 -P "$(nproc)" clang-format -i
.venv/bin/ruff check -q --fix . && .venv/bin/ruff format -q .
