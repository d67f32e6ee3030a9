// lowp compare A B --input in.npz: error of B against A, tensor by tensor.
#include "commands.h"
#include "common.h"
#include "runtime/verify.h"

namespace lowp::tool {
namespace {

struct Options {
  std::string a;
  std::string b;
  std::string input;
  int threads = 0;
  bool json = false;
};

Status compare(const Options& o) {
  LOWP_ASSIGN(Opened a, open_any(o.a, o.threads));
  LOWP_ASSIGN(Opened b, open_any(o.b, o.threads));
  LOWP_ASSIGN(NamedTensors tensors, read_npz(o.input));
  LOWP_ASSIGN(std::vector<Tensor> inputs, match_inputs(a.engine->graph(), tensors));
  LOWP_ASSIGN(auto rows, runtime::compare(*a.engine, *b.engine, inputs, o.threads));
  if (o.json) {
    nlohmann::json j = nlohmann::json::array();
    for (const auto& r : rows) {
      j.push_back({{"tensor", r.name},
                   {"op", r.op_b},
                   {"precision_a", r.precision_a},
                   {"precision_b", r.precision_b},
                   {"max_abs_error", r.max_abs_error},
                   {"max_abs", r.max_abs},
                   {"snr_db", r.snr_db}});
    }
    fmt::print("{}\n", j.dump(2));
    return {};
  }
  fmt::print("{:>8}  {:>12}  {:>12}  {:<6} {:<6} {:<20} {}\n", "SNR dB", "max error", "max |A|", "A", "B", "op",
             "tensor");
  for (const auto& r : rows)
    fmt::print("{:>8.1f}  {:>12.5g}  {:>12.5g}  {:<6} {:<6} {:<20} {}\n", r.snr_db, r.max_abs_error, r.max_abs,
               r.precision_a, r.precision_b, r.op_b, r.name);
  return {};
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("compare", "Error of B against A, layer by layer");
  sub->add_option("a", o->a, "M.lowp or MODEL.onnx")->required();
  sub->add_option("b", o->b, "M.lowp or MODEL.onnx")->required();
  sub->add_option("--input", o->input, "in.npz, an array for each input")->required();
  sub->add_option("--threads", o->threads, "0: all");
  sub->add_flag("--json", o->json, "machine-readable");
  sub->callback([o, &action] { action = [o] { return compare(*o); }; });
}

}  // namespace lowp::tool
