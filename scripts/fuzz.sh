#!/usr/bin/env bash
# fuzz.sh SECONDS: builds the fuzzers and runs all at once, each for so long. They share the build of the address sanitizer.
# What they learn is kept in build-asan/corpus; a crash leaves its input in build-asan.
set -eu
seconds=$1
cmake --preset asan
cmake --build --preset asan --target fuzz_onnx_import fuzz_engine_reader make_engine_seeds
mkdir -p build-asan/corpus/onnx_import build-asan/corpus/engine_reader
.venv/bin/python fuzz/make_onnx_seeds.py build-asan/corpus/onnx_import
build-asan/fuzz/make_engine_seeds build-asan/corpus/engine_reader
# A hostile size must not become an allocation: 1 GiB at once is a failure too.
run() {
  "build-asan/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3000 -malloc_limit_mb=1024 -max_len=65536 \
    -artifact_prefix="build-asan/$1-" -print_final_stats=1 -verbosity=0 "build-asan/corpus/$1"
}
run onnx_import &
first=$!
run engine_reader
wait $first
