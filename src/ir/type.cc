#include "ir/type.h"

#include <algorithm>
#include <limits>

namespace lowp::ir {

bool TensorType::concrete() const {
  return dims && std::all_of(dims->begin(), dims->end(), [](const Dim& d) { return d.known(); });
}

Extents TensorType::extents() const {
  LOWP_CHECK(concrete());
  Extents e;
  e.reserve(dims->size());
  for (const Dim& d : *dims) e.push_back(d.value());
  return e;
}

std::string TensorType::to_string() const {
  std::string text(dtype_name(dtype));
  if (!dims) return text + "[...]";
  text += '[';
  for (size_t i = 0; i < dims->size(); ++i) {
    if (i > 0) text += ',';
    text += (*dims)[i].to_string();
  }
  return text + ']';
}

std::string extents_to_string(std::span<const int64_t> extents) {
  if (extents.empty()) return "scalar";
  std::string text;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (i > 0) text += 'x';
    text += std::to_string(extents[i]);
  }
  return text;
}

std::optional<int64_t> checked_element_count(std::span<const int64_t> extents) {
  int64_t n = 1;
  for (int64_t e : extents) {
    if (e < 0 || __builtin_mul_overflow(n, e, &n)) return std::nullopt;
  }
  return n;
}

int64_t element_count(std::span<const int64_t> extents) {
  auto n = checked_element_count(extents);
  LOWP_CHECK(n.has_value());
  return *n;
}

Result<Dims> broadcast_dims(const Dims& a, const Dims& b) {
  const size_t rank = std::max(a.size(), b.size());
  Dims out(rank);
  for (size_t i = 0; i < rank; ++i) {
    const Dim x = i + a.size() >= rank ? a[i + a.size() - rank] : Dim(1);
    const Dim y = i + b.size() >= rank ? b[i + b.size() - rank] : Dim(1);
    if (x == y && (x.known() || !x.symbol().empty())) {
      out[i] = x;
    } else if (x.known() && x.value() == 1) {
      out[i] = y;
    } else if (y.known() && y.value() == 1) {
      out[i] = x;
    } else if (x.known() && y.known()) {
      return fail(Code::kShapeMismatch, "shapes {} and {} do not broadcast: extents {} and {}",
                  TensorType(DType::kInvalid, a).to_string(), TensorType(DType::kInvalid, b).to_string(), x.value(),
                  y.value());
    } else if (x.known()) {
      out[i] = x;  // the other is 1 or equal at run time, and x > 1
    } else if (y.known()) {
      out[i] = y;
    }
  }
  return out;
}

Result<Extents> broadcast_extents(const Extents& a, const Extents& b) {
  LOWP_ASSIGN(Dims d, broadcast_dims(Dims(a.begin(), a.end()), Dims(b.begin(), b.end())));
  return TensorType(DType::kInvalid, std::move(d)).extents();
}

Extents row_major_strides(std::span<const int64_t> extents) {
  Extents s(extents.size());
  int64_t step = 1;
  for (size_t i = extents.size(); i-- > 0;) {
    s[i] = step;
    step *= std::max<int64_t>(extents[i], 1);
  }
  return s;
}

Extents physical_extents(const Extents& logical, Layout layout) {
  if (layout == Layout::kPlain || logical.size() < 3) return logical;
  Extents e = {logical[0]};
  e.insert(e.end(), logical.begin() + 2, logical.end());
  e.push_back(logical[1]);
  return e;
}

std::string_view layout_name(Layout layout) { return layout == Layout::kPlain ? "plain" : "channels-last"; }

}  // namespace lowp::ir
