#!/usr/bin/env bash
# All checks: set-up, format, build, lint, C++ and Python tests, then (without --fast) sanitizers and fuzzing.
# Quiet; one line a step; ends with "N passed, N failed". Logs: build/logs.
cd "$(dirname "$0")" || exit 1
. scripts/common.sh

fast=0
for argument in "$@"; do
  case $argument in
    --fast) fast=1 ;;
    *) echo "usage: ./test.sh [--fast]"; exit 2 ;;
  esac
done

passed=0
failed=0
skipped=0

# check NAME COMMAND...: a step that counts as one.
check() {
  if step "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
finish() {
  printf '%dm%02ds\n%d passed, %d failed, %d skipped\n' $((SECONDS / 60)) $((SECONDS % 60)) $passed $failed $skipped
  [ $failed -eq 0 ]
  exit
}
# needed NAME COMMAND...: a step without which nothing else makes sense.
needed() {
  step "$@" && return
  failed=$((failed + 1))
  finish
}
# count_gtest and count_pytest add the cases of the last step to the totals.
count_gtest() {
  passed=$((passed + $(sed -n 's/.*\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$STEP_LOG" | awk '{n+=$1} END {print n+0}')))
  failed=$((failed + $(sed -n 's/.*\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$STEP_LOG" | awk '{n+=$1} END {print n+0}')))
  skipped=$((skipped + $(sed -n 's/.*\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$STEP_LOG" | awk '{n+=$1} END {print n+0}')))
}
count_pytest() {
  local line
  line=$(grep -E '^[0-9]+ (passed|failed|skipped|error)|^=+ .* in [0-9.]+s' "$STEP_LOG" | tail -n 1)
  local n
  n=$(sed -n 's/.*\b\([0-9][0-9]*\) passed.*/\1/p' <<<"$line"); passed=$((passed + ${n:-0}))
  n=$(sed -n 's/.*\b\([0-9][0-9]*\) failed.*/\1/p' <<<"$line"); failed=$((failed + ${n:-0}))
  n=$(sed -n 's/.*\b\([0-9][0-9]*\) error.*/\1/p' <<<"$line"); failed=$((failed + ${n:-0}))
  n=$(sed -n 's/.*\b\([0-9][0-9]*\) skipped.*/\1/p' <<<"$line"); skipped=$((skipped + ${n:-0}))
}
# What the tests of the last step that skipped themselves missed: pytest's summary, and the line behind googletest's.
show_skipped() {
  sed -nE -e 's/^(SKIPPED|XFAIL) /    skipped: /p' -e '/: Skipped$/{n;s/^([0-9]+: )?/    skipped: /p}' "$STEP_LOG"
}
# tests gtest|pytest NAME COMMAND...: counts the cases; a failure that no case explains (a crash) counts as one.
tests() {
  local kind=$1 before=$failed
  shift
  if step "$@"; then
    "count_$kind"
  else
    "count_$kind"
    [ $failed -eq $before ] && failed=$((failed + 1))
  fi
  show_skipped
}

format_check() {
  git ls-files -z -- '*.h' '*.cc' | xargs -0 -r -n 40 -P "$JOBS" clang-format --dry-run -Werror &&
    .venv/bin/ruff check -q . && .venv/bin/ruff format -q --check .
}
run_ctest() { ctest --preset release -V; }
run_pytest() { .venv/bin/python -m pytest -rsx tests python; }
address_sanitized() {
  cmake --preset asan && cmake --build --preset asan && (cd build-asan && ctest -V)
}
# Only what has threads in it; everything else is the same code on one.
thread_sanitized() {
  cmake --preset tsan || return 1
  local targets
  targets=$(cd build-tsan && ninja -t targets all | grep -oE '^(base_test|core_test):' | tr -d ':')
  cmake --build --preset tsan --target $targets || return 1
  for test in $targets; do
    "build-tsan/tests/$test" --gtest_filter='ThreadPool*:Log*:*Session*:*Engine*:*Concurren*:*Thread*:Slices*:*Exchange*:*Communicator*' || return 1
  done
}
fuzz() { scripts/fuzz.sh "${LOWP_FUZZ_SECONDS:-60}"; }

needed "system packages" install_packages
needed "python environment" make_venv
check "format" format_check
needed "build" build_release
check "clang-tidy" scripts/tidy.sh build
tests gtest "tests" run_ctest
tests pytest "python tests" run_pytest
[ -f scripts/backend_ratchet.py ] && check "onnx backend ratchet" .venv/bin/python scripts/backend_ratchet.py
if [ $fast -eq 0 ]; then
  check "address and undefined" address_sanitized
  check "thread sanitizer" thread_sanitized
  [ -f fuzz/CMakeLists.txt ] && check "fuzzing" fuzz
fi
finish
