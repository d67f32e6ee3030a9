#!/usr/bin/env bash
# The inner tiles of gemm keep their sums in registers: a vector spilled to the stack in a tile function costs up to half of
# its speed. (Pointers to rows are integers and may live on the stack.)
# tile_spills.sh LIBRARY: the static library with the kernels' objects.
set -u
library=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
# Members of one name (avx2.cc.o of every family) come out by their index.
bad=0
for target in avx2 avx2_vnni avx512 avx512_vnni avx512_bf16; do
  count=$(ar t "$library" | grep -cx "$target.cc.o")
  for i in $(seq 1 "$count"); do
    ar xN "$i" "$library" "$target.cc.o" || exit 1
    spills=$(objdump -d --no-show-raw-insn "$target.cc.o" | c++filt | awk '
      /^[0-9a-f]+ <.*>:$/ { tile = match($0, /gemm|tile<.*Step(F32|BF16|Dot|Exact)/) && /tile<.*Step/ ? $0 : "" }
      tile != "" && /\(%rsp\)/ && /[yz]mm/ { spills[tile]++ }
      END { for (t in spills) print spills[t], t }')
    if [ -n "$spills" ]; then
      echo "$target: vectors on the stack (count, function):"
      echo "$spills"
      bad=1
    fi
  done
done
exit $bad
