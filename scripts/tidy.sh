#!/usr/bin/env bash
# clang-tidy over the C++ files that changed since they last passed: tidy.sh BUILD_FOLDER.
# A pass is remembered by content, outside the checkout, so that a fresh clone does not start over. A file's key is its own
# text and .clang-tidy; headers are checked through the files that include them. On a cold start the time is limited:
# files not reached are named and checked next time.
set -u
build=$1
limit=${LOWP_TIDY_SECONDS:-240}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lowp/tidy
mkdir -p "$cache"
config=$(sha256sum <.clang-tidy)

tidy_one() {
  local file=$1 key
  key=$( (echo "$config"; cat "$file") | sha256sum | cut -d' ' -f1)
  [ -e "$cache/$key" ] && return 0
  if [ "$DEADLINE" -le "$(date +%s)" ]; then
    echo "not reached in time: $file"
    return 0
  fi
  # The flags are gcc's; clang reads them, but its own warnings are not what is asked here.
  clang-tidy -quiet -p "$build" --extra-arg=-w --extra-arg=-Wno-error --extra-arg=-Wno-unknown-warning-option "$file" 2>&1 |
    grep -v 'warnings generated\|^Suppressed\|^Use -header-filter' | sed "s|$PWD/||g"
  [ "${PIPESTATUS[0]}" -eq 0 ] && touch "$cache/$key"
}
export -f tidy_one
export build cache config
DEADLINE=$(($(date +%s) + limit))
export DEADLINE

# Kernel instantiations are left out: one template, seen seven times, with flags that clang does not all know.
git ls-files -- 'src/*.cc' 'tools/*.cc' | grep -v '_\(test\|bench\)\.cc$' |
  grep -Ev '^src/kernels/[^/]+/(scalar|emu[a-z0-9_]*|avx[a-z0-9_]*)\.cc$' |
  xargs -r -P "$(nproc)" -I{} bash -c 'tidy_one {}'
