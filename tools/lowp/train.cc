// lowp train: runs a recipe. Data, models and recipes are Python's (lowp.train), so this becomes the Python that has
// lowp.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "commands.h"

namespace lowp::tool {
namespace {

namespace fs = std::filesystem;

// sys.argv[1:] are the command's own.
constexpr const char* kProgram = R"python(
import sys
try:
    from lowp.train.__main__ import main
except ModuleNotFoundError as e:
    sys.exit(f"lowp: not-found: training needs lowp's Python package, and {sys.executable} lacks the module '{e.name}'"
             " (pip install lowp[train], or set LOWP_PYTHON to a Python that has it)")
sys.exit(main())
)python";

// Where this program lies in a build folder of the source tree: the tree; else empty.
fs::path source_tree() {
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path tree = self.parent_path().parent_path().parent_path();
  return fs::exists(tree / "python" / "lowp" / "__init__.py", ignored) ? tree : fs::path();
}

std::string find_python(const fs::path& tree) {
  std::error_code ignored;
  if (const char* chosen = std::getenv("LOWP_PYTHON"); chosen != nullptr && *chosen != 0) return chosen;
  if (const char* active = std::getenv("VIRTUAL_ENV"); active != nullptr && *active != 0)
    return (fs::path(active) / "bin" / "python").string();
  if (!tree.empty() && fs::exists(tree / ".venv" / "bin" / "python", ignored))
    return (tree / ".venv" / "bin" / "python").string();
  return "python3";
}

Status train(const std::vector<std::string>& arguments) {
  const fs::path tree = source_tree();
  if (!tree.empty()) {
    const char* before = std::getenv("PYTHONPATH");
    const std::string path =
        (tree / "python").string() + (before != nullptr && *before != 0 ? ":" : "") + (before != nullptr ? before : "");
    setenv("PYTHONPATH", path.c_str(), 1);
  }
  const std::string python = find_python(tree);
  std::vector<std::string> words = {python, "-c", kProgram};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  execvp(python.c_str(), argv.data());
  return error(Code::kNotFound, "'{}' cannot be started: {}", python, std::strerror(errno))
      .with_hint("set LOWP_PYTHON to a Python 3.11 or newer that has lowp");
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  struct Options {
    std::string recipe;
    std::vector<std::string> set;
    int threads = -1;
    bool json = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("train", "Train a model by a recipe; the same command goes on where it stopped");
  sub->add_option("recipe", o->recipe, "TOML file")->required();
  sub->add_option("--set", o->set, "SECTION.KEY=VALUE instead of the recipe's; may be repeated")
      ->allow_extra_args(false);
  sub->add_option("--threads", o->threads, "0: all")->check(CLI::Range(0, 1024));
  sub->add_flag("--json", o->json, "print the result as JSON");
  sub->callback([o, &action] {
    action = [o] {
      std::vector<std::string> arguments = {o->recipe};
      for (const std::string& s : o->set) arguments.insert(arguments.end(), {"--set", s});
      if (o->threads >= 0) arguments.insert(arguments.end(), {"--threads", std::to_string(o->threads)});
      if (o->json) arguments.emplace_back("--json");
      return train(arguments);
    };
  });
}

}  // namespace lowp::tool
