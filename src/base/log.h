// Messages for the host program. The library never prints: without a callback they go nowhere.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace lowp {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kOff = 4 };

// Called from any thread, several at once; must not throw.
using LogCallback = void (*)(LogLevel level, std::string_view message, void* user);

// Messages of `level` and above go to `callback`; nullptr turns logging off. Returns when no other thread is inside the
// previous callback, so that its user data may be freed. Must not be called from a callback.
void set_log_callback(LogCallback callback, void* user, LogLevel level = LogLevel::kInfo);

bool log_enabled(LogLevel level);
void log_message(LogLevel level, std::string_view message);

// Formats only when someone listens.
template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_message(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lowp
