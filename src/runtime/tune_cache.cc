#include "runtime/tune_cache.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/atomic_file.h"
#include "base/checksum.h"
#include "base/cpu.h"
#include "base/log.h"
#include "kernels/gemm/choice.h"

namespace lowp::runtime {
namespace {

// A first line with this and the checksum of the rest, then JSON.
constexpr std::string_view kSignature = "lowp-tune ";
constexpr size_t kDigits = 16;
// A few hundred bytes an entry: far more layers than anybody compiles. What is larger is not ours.
constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr size_t kMaxEntries = 20'000;

std::string first_line(std::string_view body) {
  return fmt::format("{}{:016x}\n", kSignature, checksum(body.data(), body.size()));
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char block[1 << 14];
  while (text.size() <= kMaxBytes && (file.read(block, sizeof(block)) || file.gcount() > 0))
    text.append(block, static_cast<size_t>(file.gcount()));
  return text.size() <= kMaxBytes ? text : std::string();
}

std::optional<ir::Tuning> entry_of(const nlohmann::json& j) {
  auto is_time = [&](const char* key) {
    return j.contains(key) && j[key].is_number() && std::isfinite(j[key].get<double>()) && j[key].get<double>() >= 0;
  };
  auto is_text = [&](const char* key) { return j.contains(key) && j[key].is_string(); };
  if (!j.is_object() || !is_text("shape") || !is_text("kernel") || !is_text("runner_up") || !is_time("kernel_us") ||
      !is_time("runner_up_us") || !j.contains("threads") || !j["threads"].is_number_integer())
    return std::nullopt;
  ir::Tuning t;
  t.threads = j["threads"].get<int>();
  t.shape = j["shape"].get<std::string>();
  t.kernel = j["kernel"].get<std::string>();
  t.runner_up = j["runner_up"].get<std::string>();
  t.kernel_us = j["kernel_us"].get<double>();
  t.runner_up_us = j["runner_up_us"].get<double>();
  return t;
}

}  // namespace

std::string tune_cache_folder() {
  if (const char* folder = std::getenv("LOWP_CACHE")) return folder;
  // The XDG base directory specification: relative paths do not count.
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && cache[0] == '/')
    return std::string(cache) + "/lowp";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.cache/lowp";
  return "";
}

TuneCache::TuneCache(const std::string& folder) : cpu_(cpu_name()), target_(target_name(active_target())) {
  identity_ = fmt::format("{}; {}; lowp {}; kernels {}", cpu_, target_, LOWP_VERSION, kernels::kKernelVersion);
  if (folder.empty()) return;
  path_ = fmt::format("{}/tune-{}-{:016x}.json", folder, target_, checksum(identity_.data(), identity_.size()));
  entries_ = read();
}

TuneCache::Entries TuneCache::read() const {
  const std::string text = read_file(path_);
  const size_t head = kSignature.size() + kDigits + 1;
  if (text.size() < head) return {};
  const std::string_view body = std::string_view(text).substr(head);
  if (text.substr(0, head) != first_line(body)) {
    log(LogLevel::kWarning, "'{}' is damaged and will be replaced", path_);
    return {};
  }
  const nlohmann::json j = nlohmann::json::parse(body, nullptr, false);
  if (!j.is_object() || j.value("identity", nlohmann::json()) != identity_ || !j.contains("entries") ||
      !j["entries"].is_array() || j["entries"].size() > kMaxEntries)
    return {};
  Entries entries;
  for (const nlohmann::json& item : j["entries"]) {
    std::optional<ir::Tuning> t = entry_of(item);
    if (!t) return {};
    t->cpu = cpu_;
    t->target = target_;
    entries.insert_or_assign({t->threads, t->shape}, std::move(*t));
  }
  return entries;
}

const ir::Tuning* TuneCache::find(int threads, const std::string& shape) const {
  auto it = entries_.find({threads, shape});
  return it == entries_.end() ? nullptr : &it->second;
}

void TuneCache::put(ir::Tuning tuning) {
  entries_.insert_or_assign({tuning.threads, tuning.shape}, std::move(tuning));
  changed_ = true;
}

void TuneCache::save() {
  if (path_.empty() || !changed_) return;
  Entries all = read();
  all.insert(entries_.begin(), entries_.end());
  if (all.size() > kMaxEntries) all = entries_;
  nlohmann::json j = {{"identity", identity_}, {"entries", nlohmann::json::array()}};
  for (const auto& [key, t] : all) {
    j["entries"].push_back({{"threads", t.threads},
                            {"shape", t.shape},
                            {"kernel", t.kernel},
                            {"kernel_us", t.kernel_us},
                            {"runner_up", t.runner_up},
                            {"runner_up_us", t.runner_up_us}});
  }
  const std::string body = j.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string text = first_line(body) + body;
  std::error_code ec;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ec);
  Status written = write_file_atomically(path_, std::as_bytes(std::span(text)));
  if (!written.is_ok()) log(LogLevel::kWarning, "measurements are not kept: {}", written.to_string());
  changed_ = false;
}

}  // namespace lowp::runtime
