#include "kernels/gemm/choice.h"

#include <fmt/format.h>

namespace lowp::kernels {

std::string choice_text(const KernelChoice& c) {
  if (c == KernelChoice{}) return "formula";
  std::string text;
  auto add = [&](std::string part) { text += (text.empty() ? "" : " ") + std::move(part); };
  if (c.algorithm != KernelChoice::Algorithm::kFormula)
    add(c.algorithm == KernelChoice::Algorithm::kWinograd ? "winograd" : "direct");
  if (c.width != 0) add(fmt::format("tile={}", c.width));
  if (c.loop != KernelChoice::Loop::kFormula)
    add(c.loop == KernelChoice::Loop::kRowsOutside ? "loop=rows" : "loop=columns");
  if (c.gather) add("gather");
  if (c.chunk != 0) add(fmt::format("chunk={}", c.chunk));
  if (c.split_m != 0) add(fmt::format("threads={}x{}", c.split_m, c.split_n));
  return text;
}

}  // namespace lowp::kernels
