// lowp: compiles, runs and examines models. Errors go to standard error with their stable code; the exit status is 1
// for them, 2 for a wrong command line, 130 after Ctrl-C.
#include <csignal>
#include <cstdio>

#include "commands.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Low-precision neural networks on CPUs: compile, verify and run models"};
  app.set_version_flag("--version", LOWP_VERSION);
  app.require_subcommand(1);
  lowp::tool::Action action;
  lowp::tool::add_compile(app, action);
  lowp::tool::add_run(app, action);
  lowp::tool::add_bench(app, action);
  lowp::tool::add_compare(app, action);
  lowp::tool::add_inspect(app, action);
  lowp::tool::add_doctor(app, action);
  lowp::tool::add_train(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const lowp::Status status = action();
  if (status.is_ok()) return 0;
  fmt::print(stderr, "lowp: {}\n", status.to_string());
  return status.code() == lowp::Code::kCancelled ? 130 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // writing beyond `ulimit -f` is then an error like a full disk
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "lowp: internal: {}\nThis is a bug in lowp; please report it with the command that caused it.\n",
               e.what());
    return 1;
  }
}
