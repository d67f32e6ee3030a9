// Attributes of nodes. An op's attributes are a plain struct with defaulted comparison and a list of its fields:
//
//   struct SoftmaxAttrs {
//     int64_t axis = -1;
//     bool operator==(const SoftmaxAttrs&) const = default;
//     static constexpr auto fields() { return std::tuple(field("axis", &SoftmaxAttrs::axis)); }
//   };
//
// From the list, AttrCodec<SoftmaxAttrs> converts to and from AttrMap, the form in which ONNX, the engine file and the
// text form carry attributes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "ir/tensor.h"

namespace lowp::ir {

class Graph;
using GraphPtr = std::shared_ptr<Graph>;

using AttrValue = std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>, Tensor, GraphPtr>;
using AttrMap = std::map<std::string, AttrValue, std::less<>>;

// "int", "floats", ...: for messages.
std::string_view attr_kind_name(const AttrValue& value);

// ONNX's TensorProto.DataType numbers; attributes that hold a dtype (Cast's `to`) use them. kInvalid / 0 where unknown.
DType dtype_from_onnx(int64_t number);
int64_t dtype_to_onnx(DType dtype);

template <typename S, typename M>
struct Field {
  const char* name;
  M S::*member;
  bool required = false;
};
template <typename S, typename M>
constexpr Field<S, M> field(const char* name, M S::*member) {
  return {name, member, false};
}
template <typename S, typename M>
constexpr Field<S, M> required_field(const char* name, M S::*member) {
  return {name, member, true};
}

namespace detail {

template <typename T>
Status read_attr(const AttrValue& value, const char* name, T& out) {
  if (const T* v = std::get_if<T>(&value)) {
    out = *v;
    return {};
  }
  return error(Code::kInvalidModel, "attribute '{}' has kind {}, which it must not have", name, attr_kind_name(value));
}
inline Status read_attr(const AttrValue& value, const char* name, bool& out) {
  int64_t i = 0;
  LOWP_TRY(read_attr(value, name, i));
  out = i != 0;
  return {};
}
inline Status read_attr(const AttrValue& value, const char* name, DType& out) {
  int64_t i = 0;
  LOWP_TRY(read_attr(value, name, i));
  out = dtype_from_onnx(i);
  if (out == DType::kInvalid && i != 0)
    return error(Code::kUnsupported, "attribute '{}' names ONNX data type {}, which lowp does not have", name, i);
  return {};
}
template <typename T>
Status read_attr(const AttrValue& value, const char* name, std::optional<T>& out) {
  T v{};
  LOWP_TRY(read_attr(value, name, v));
  out = std::move(v);
  return {};
}

// Writes nothing for an absent optional.
template <typename T>
void write_attr(AttrMap& map, const char* name, const T& v) {
  map.emplace(name, AttrValue(v));
}
inline void write_attr(AttrMap& map, const char* name, const bool& v) { map.emplace(name, AttrValue(int64_t{v})); }
inline void write_attr(AttrMap& map, const char* name, const DType& v) {
  map.emplace(name, AttrValue(dtype_to_onnx(v)));
}
template <typename T>
void write_attr(AttrMap& map, const char* name, const std::optional<T>& v) {
  if (v) write_attr(map, name, *v);
}

}  // namespace detail

// An op's attribute struct, type-erased and shared; immutable.
class Attrs {
 public:
  Attrs() = default;
  template <typename T>
  static Attrs make(T value) {
    Attrs a;
    a.holder_ = std::make_shared<Model<T>>(std::move(value));
    return a;
  }
  template <typename T>
  const T& get() const {
    const auto* model = dynamic_cast<const Model<T>*>(holder_.get());
    LOWP_CHECK(model != nullptr);
    return model->value;
  }
  bool operator==(const Attrs& other) const {
    if (holder_ == other.holder_) return true;
    return holder_ && other.holder_ && holder_->equals(*other.holder_);
  }

 private:
  struct Holder {
    virtual ~Holder() = default;
    virtual bool equals(const Holder& other) const = 0;
  };
  template <typename T>
  struct Model final : Holder {
    explicit Model(T v) : value(std::move(v)) {}
    bool equals(const Holder& other) const override {
      const auto* o = dynamic_cast<const Model<T>*>(&other);
      return o != nullptr && o->value == value;
    }
    T value;
  };
  std::shared_ptr<const Holder> holder_;
};

// How an op reads and writes its attributes. Unknown names are an error.
struct AttrCodec {
  Result<Attrs> (*read)(const AttrMap& map) = nullptr;
  AttrMap (*write)(const Attrs& attrs) = nullptr;

  template <typename S>
  static AttrCodec of() {
    return {
        [](const AttrMap& map) -> Result<Attrs> {
          S s{};
          size_t known = 0;
          Status status;
          auto read_one = [&](const auto& f) {
            if (!status.is_ok()) return;
            auto it = map.find(f.name);
            if (it != map.end()) {
              ++known;
              status = detail::read_attr(it->second, f.name, s.*(f.member));
            } else if (f.required) {
              status = error(Code::kInvalidModel, "attribute '{}' is missing", f.name);
            }
          };
          std::apply([&](const auto&... f) { (read_one(f), ...); }, S::fields());
          LOWP_TRY(std::move(status));
          if (known != map.size()) {
            for (const auto& entry : map) {
              bool found = false;
              std::apply([&](const auto&... f) { ((found = found || entry.first == f.name), ...); }, S::fields());
              if (!found) return fail(Code::kInvalidModel, "attribute '{}' is not one this op has", entry.first);
            }
          }
          return Attrs::make(std::move(s));
        },
        [](const Attrs& attrs) {
          AttrMap map;
          const S& s = attrs.get<S>();
          std::apply([&](const auto&... f) { (detail::write_attr(map, f.name, s.*(f.member)), ...); }, S::fields());
          return map;
        },
    };
  }
};

// For ops without attributes.
struct NoAttrs {
  bool operator==(const NoAttrs&) const = default;
  static constexpr auto fields() { return std::tuple<>(); }
};

}  // namespace lowp::ir
