// The subcommands: each adds itself to the command line and runs when chosen. One file each.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/status.h"

namespace lowp::tool {

// What the chosen subcommand does; set while the command line is parsed.
using Action = std::function<Status()>;

void add_compile(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_train(CLI::App& app, Action& action);

}  // namespace lowp::tool
