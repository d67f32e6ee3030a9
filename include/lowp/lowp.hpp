// lowp for C++: a header over the C API (lowp.h), so that programs do not depend on the library's compiler or its C++
// types. Failures throw lowp::Error with the stable code.
//
//   lowp::Engine engine = lowp::Model::load("model.onnx").compile();
//   lowp::Session session(engine);
//   std::vector<lowp::Output> y = session.run({lowp::input("x", data, {1, 3, 224, 224})});
#ifndef LOWP_LOWP_HPP_
#define LOWP_LOWP_HPP_

#include <lowp/lowp.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace lowp {

class Error : public std::runtime_error {
 public:
  Error(lowp_code code, const char* message) : std::runtime_error(message), code_(code) {}
  lowp_code code() const noexcept { return code_; }

 private:
  lowp_code code_;
};

inline void check(lowp_code code) {
  if (code != LOWP_OK) throw Error(code, lowp_last_error());
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr lowp_dtype value = LOWP_F32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr lowp_dtype value = LOWP_I64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr lowp_dtype value = LOWP_I32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr lowp_dtype value = LOWP_U8;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr lowp_dtype value = LOWP_I8;
};

// A row-major tensor over the caller's data, for one run. `name` and `data` must outlive the run.
template <typename T>
lowp_tensor input(const char* name, const T* data, std::initializer_list<std::int64_t> shape) {
  lowp_tensor t{};
  if (shape.size() > LOWP_MAX_RANK) throw Error(LOWP_SHAPE_MISMATCH, "a tensor of too many dimensions");
  t.name = name;
  t.dtype = DTypeOf<T>::value;
  for (std::int64_t e : shape) t.shape[t.rank++] = e;
  t.data = const_cast<T*>(data);  // read only
  return t;
}

// What a run gave; valid until the session's next run or its end.
struct Output {
  lowp_tensor tensor;
  std::vector<std::int64_t> shape() const { return {tensor.shape, tensor.shape + tensor.rank}; }
  template <typename T>
  const T* data() const {
    if (tensor.dtype != DTypeOf<T>::value) throw Error(LOWP_TYPE_MISMATCH, "the output has another dtype");
    return static_cast<const T*>(tensor.data);
  }
};

class Engine {
 public:
  static Engine open(const std::string& path) {
    lowp_engine* e = nullptr;
    check(lowp_open(path.c_str(), &e));
    return Engine(e);
  }
  void save(const std::string& path) const { check(lowp_save(engine_.get(), path.c_str())); }
  std::vector<lowp_value_info> inputs() const {
    std::vector<lowp_value_info> list(static_cast<std::size_t>(lowp_engine_inputs(engine_.get())));
    for (std::size_t i = 0; i < list.size(); ++i)
      check(lowp_engine_input(engine_.get(), static_cast<std::int32_t>(i), &list[i]));
    return list;
  }
  std::vector<lowp_value_info> outputs() const {
    std::vector<lowp_value_info> list(static_cast<std::size_t>(lowp_engine_outputs(engine_.get())));
    for (std::size_t i = 0; i < list.size(); ++i)
      check(lowp_engine_output(engine_.get(), static_cast<std::int32_t>(i), &list[i]));
    return list;
  }
  const lowp_engine* handle() const { return engine_.get(); }

 private:
  friend class Model;
  explicit Engine(lowp_engine* e) : engine_(e, lowp_engine_close) {}
  std::unique_ptr<lowp_engine, void (*)(lowp_engine*)> engine_;
};

class Model {
 public:
  static Model load(const std::string& path) {
    lowp_model* m = nullptr;
    check(lowp_load(path.c_str(), &m));
    return Model(m);
  }
  // FP32 and all threads by default; see lowp_compile_options.
  Engine compile(lowp_compile_options options = {}) const {
    options.size = sizeof options;
    lowp_engine* e = nullptr;
    check(lowp_compile(model_.get(), &options, &e));
    return Engine(e);
  }

 private:
  explicit Model(lowp_model* m) : model_(m, lowp_model_close) {}
  std::unique_ptr<lowp_model, void (*)(lowp_model*)> model_;
};

// Belongs to one thread at a time. The engine may end before its sessions.
class Session {
 public:
  explicit Session(const Engine& engine, std::int32_t threads = 0)
      : session_(nullptr, lowp_session_close), outputs_(engine.outputs().size()) {
    lowp_session_options options{};
    options.size = sizeof options;
    options.threads = threads;
    lowp_session* s = nullptr;
    check(lowp_session_open(engine.handle(), &options, &s));
    session_.reset(s);
  }
  std::vector<Output> run(const std::vector<lowp_tensor>& inputs) {
    std::vector<lowp_tensor> raw(outputs_);
    check(lowp_run(session_.get(), inputs.data(), static_cast<std::int32_t>(inputs.size()), raw.data(),
                   static_cast<std::int32_t>(raw.size())));
    std::vector<Output> result;
    for (const lowp_tensor& t : raw) result.push_back({t});
    return result;
  }
  // From another thread: ends the run with LOWP_CANCELLED.
  void cancel() { lowp_cancel(session_.get()); }

 private:
  std::unique_ptr<lowp_session, void (*)(lowp_session*)> session_;
  std::size_t outputs_;
};

}  // namespace lowp

#endif  // LOWP_LOWP_HPP_
