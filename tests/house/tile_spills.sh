#!/usr/bin/env bash
# The inner loop of each of gemm's tiles keeps its sums in registers: a vector spilled to the stack in one costs up to half of its
# speed. (Pointers to rows are integers and may live on the stack.) The inner loop is, of what conditional jumps
# backwards span, the part with the most products that spans no other.
# tile_spills.sh LIBRARY: the static library with the kernels' objects.
set -u
library=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
# Members of one name (avx2.cc.o of every family) come out by their index.
bad=0
tiles=0
for target in avx2 avx2_vnni avx512 avx512_vnni avx512_bf16; do
  count=$(ar t "$library" | grep -cx "$target.cc.o")
  for i in $(seq 1 "$count"); do
    ar xN "$i" "$library" "$target.cc.o" || exit 1
    found=$(objdump -d --no-show-raw-insn "$target.cc.o" | c++filt | awk '
      function finish(  j, k, s, inner, most, hot) {
        if (tile == "") return
        ++seen
        most = 0
        for (j = 1; j <= loops; ++j) {
          inner = rets[to[j]] == rets[from[j]]  # not a way back from rare code that lies behind
          for (k = 1; k <= loops; ++k)
            if (k != j && from[k] >= from[j] && to[k] <= to[j]) inner = 0
          if (inner && products[to[j]] - products[from[j]] > most) { most = products[to[j]] - products[from[j]]; hot = j }
        }
        if (most == 0) { print "no loop", tile; return }
        for (s = 1; s <= spilled; ++s)
          if (spill[s] >= from[hot] && spill[s] <= to[hot]) ++spills[tile]
      }
      /^[0-9a-f]+ <.*>:$/ {
        finish()
        tile = match($0, /gemm|tile<.*Step(F32|BF16|Dot|Exact|Quad|Oct|S16)/) && /tile<.*Step/ ? $0 : ""
        loops = spilled = line = products[0] = rets[0] = 0
        delete at
      }
      tile != "" {
        ++line
        products[line] = products[line - 1] + ($0 ~ /[ \t]v(fm|pmadd|pdp|dp)/)
        rets[line] = rets[line - 1] + ($2 == "ret")
        address = $1; sub(":", "", address); at[address] = line
        if ($2 ~ /^j/ && $2 != "jmp" && ($3 in at)) { from[++loops] = at[$3]; to[loops] = line }
        if (/\(%rsp\)/ && /[yz]mm/) spill[++spilled] = line
      }
      END { finish(); for (t in spills) print spills[t], t; print "tiles", seen + 0 }')
    tiles=$((tiles + $(sed -n 's/^tiles //p' <<<"$found")))
    found=$(grep -v '^tiles' <<<"$found")
    if [ -n "$found" ]; then
      echo "$target: vectors on the stack in the inner loop (count, function):"
      echo "$found"
      bad=1
    fi
  done
done
[ $tiles -gt 50 ] || { echo "only $tiles tiles found: have the names changed?"; bad=1; }
exit $bad
