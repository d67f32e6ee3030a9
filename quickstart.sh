#!/usr/bin/env bash
# From a bare Debian to a running lowp: packages, build, Python environment, then real models compiled to INT8 and compared.
cd "$(dirname "$0")" || exit 1
. scripts/common.sh
step "system packages" install_packages || exit 1
step "python environment" make_venv || exit 1
step "build" build_release || exit 1
exec .venv/bin/python -m lowp.quickstart "$@"
