#!/usr/bin/env bash
# A kernel object compiled for one instruction set may define no weak symbol: the linker keeps one copy of an inline
# function, and if that is the one with AVX-512 in it, every other caller crashes on an older CPU.
# kernel_symbols.sh LIBRARY OBJECT_NAME...: members of the static library that are checked.
set -u
library=$1
shift
bad=$(nm -A "$library" 2>/dev/null | grep -E ":($(IFS='|'; echo "$*"))\.cc\.o:" | grep -E ' [WVu] ' | c++filt)
if [ -n "$bad" ]; then
  echo "weak symbols in kernel objects:"
  echo "$bad"
  exit 1
fi
