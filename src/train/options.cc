#include <nlohmann/json.hpp>

#include "train/training.h"

namespace lowp::train {
namespace {

using Json = nlohmann::json;

// Reads an object's members and refuses those that nobody asked for.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) status_ = error(Code::kInvalidArgument, "{} is not an object", where_);
  }
  template <typename T>
  Reader& read(const char* key, T& out) {
    if (const Json* member = find(key)) convert(key, *member, out);
    return *this;
  }
  // choices: names and what they stand for.
  template <typename T>
  Reader& choose(const char* key, T& out, std::initializer_list<std::pair<const char*, T>> choices) {
    std::string name;
    read(key, name);
    if (name.empty()) return *this;
    std::string known;
    for (const auto& [text, value] : choices) {
      if (name == text) {
        out = value;
        return *this;
      }
      known += (known.empty() ? "" : ", ") + std::string(text);
    }
    return fail_with(error(Code::kInvalidArgument, "{}.{} is '{}', one of {} is wanted", where_, key, name, known));
  }
  const Json* find(const char* key) {
    known_.emplace_back(key);
    if (!status_.is_ok()) return nullptr;
    auto it = json_.find(key);
    return it == json_.end() ? nullptr : &*it;
  }
  Status finish() {
    if (!status_.is_ok()) return std::move(status_);
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end())
        return error(Code::kInvalidArgument, "{} has no option '{}'", where_, key);
    }
    return {};
  }

 private:
  Reader& fail_with(Status s) {
    if (status_.is_ok()) status_ = std::move(s);
    return *this;
  }
  void wrong(const char* key, const Json& member, const char* wanted) {
    fail_with(error(Code::kInvalidArgument, "{}.{} is {}, {} is wanted", where_, key, member.dump(), wanted));
  }
  void convert(const char* key, const Json& m, float& out) {
    if (!m.is_number()) return wrong(key, m, "a number");
    out = m.get<float>();
  }
  void convert(const char* key, const Json& m, std::optional<float>& out) {
    if (m.is_null()) return;
    float value = 0;
    convert(key, m, value);
    out = value;
  }
  void convert(const char* key, const Json& m, int64_t& out) {
    if (!m.is_number_integer()) return wrong(key, m, "an integer");
    out = m.get<int64_t>();
  }
  void convert(const char* key, const Json& m, bool& out) {
    if (!m.is_boolean()) return wrong(key, m, "true or false");
    out = m.get<bool>();
  }
  void convert(const char* key, const Json& m, std::string& out) {
    if (!m.is_string()) return wrong(key, m, "a string");
    out = m.get<std::string>();
  }
  void convert(const char* key, const Json& m, std::vector<std::string>& out) {
    if (!m.is_array()) return wrong(key, m, "a list of strings");
    for (const Json& item : m) {
      if (!item.is_string()) return wrong(key, m, "a list of strings");
      out.push_back(item.get<std::string>());
    }
  }

  const Json& json_;
  std::string where_;
  Status status_;
  std::vector<std::string> known_;
};

Status read_optimizer(const Json& json, OptimizerOptions& o) {
  return Reader(json, "optimizer")
      .choose("name", o.kind,
              {{"sgd", Optimizer::kSgd},
               {"adam", Optimizer::kAdam},
               {"adamw", Optimizer::kAdamW},
               {"lamb", Optimizer::kLamb}})
      .read("momentum", o.momentum)
      .read("nesterov", o.nesterov)
      .read("beta1", o.beta1)
      .read("beta2", o.beta2)
      .read("epsilon", o.epsilon)
      .read("weight_decay", o.weight_decay)
      .finish();
}

Status read_scaling(const Json& json, LossScaling& o) {
  return Reader(json, "loss_scaling")
      .choose("mode", o.mode,
              {{"none", ScaleMode::kNone}, {"static", ScaleMode::kStatic}, {"dynamic", ScaleMode::kDynamic}})
      .read("initial", o.initial)
      .read("growth", o.growth)
      .read("backoff", o.backoff)
      .read("interval", o.interval)
      .read("floor", o.floor)
      .read("ceiling", o.ceiling)
      .finish();
}

Status read_parallel(const Json& json, DataParallel& o) {
  return Reader(json, "data_parallel")
      .read("ranks", o.ranks)
      .read("bucket_bytes", o.bucket_bytes)
      .choose("compress", o.compress, {{"none", Wire::kF32}, {"bf16", Wire::kBF16}})
      .finish();
}

}  // namespace

Result<TrainingOptions> options_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(Code::kInvalidArgument, "the training options are no JSON");
  TrainingOptions o;
  Reader reader(json, "training");
  reader.read("clip_norm", o.clip_norm)
      .read("recompute", o.recompute)
      .choose("recurrences_kept", o.recurrences_kept,
              {{"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16}});
  if (const Json* member = reader.find("optimizer")) LOWP_TRY(read_optimizer(*member, o.optimizer));
  if (const Json* member = reader.find("loss_scaling")) LOWP_TRY(read_scaling(*member, o.loss_scaling));
  if (const Json* member = reader.find("data_parallel")) LOWP_TRY(read_parallel(*member, o.data_parallel));
  if (const Json* member = reader.find("parameters")) {
    if (!member->is_object()) return fail(Code::kInvalidArgument, "training.parameters is not an object");
    for (const auto& [name, options] : member->items()) {
      ParameterOptions& p = o.parameters[name];
      LOWP_TRY(Reader(options, "parameters." + name)
                   .read("rate_factor", p.rate_factor)
                   .read("weight_decay", p.weight_decay)
                   .read("trained", p.trained)
                   .read("sparse", p.sparse)
                   .finish());
    }
  }
  LOWP_TRY(reader.finish());
  return o;
}

}  // namespace lowp::train
