#include "base/log.h"

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace lowp {
namespace {

struct Sink {
  std::shared_mutex mutex;
  LogCallback callback = nullptr;
  void* user = nullptr;
  std::atomic<int> level{static_cast<int>(LogLevel::kOff)};
};

// Never destroyed: threads may log while the process exits.
Sink& sink() {
  static Sink* instance = new Sink;
  return *instance;
}

}  // namespace

void set_log_callback(LogCallback callback, void* user, LogLevel level) {
  Sink& s = sink();
  std::unique_lock lock(s.mutex);
  s.callback = callback;
  s.user = user;
  s.level.store(static_cast<int>(callback != nullptr ? level : LogLevel::kOff), std::memory_order_relaxed);
}

bool log_enabled(LogLevel level) {
  return static_cast<int>(level) >= sink().level.load(std::memory_order_relaxed) && level != LogLevel::kOff;
}

void log_message(LogLevel level, std::string_view message) {
  if (!log_enabled(level)) return;
  Sink& s = sink();
  std::shared_lock lock(s.mutex);
  if (s.callback != nullptr) s.callback(level, message, s.user);
}

}  // namespace lowp
