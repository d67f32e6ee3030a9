// lowp run M.lowp --input in.npz --output out.npz
#include "commands.h"
#include "common.h"

namespace lowp::tool {
namespace {

struct Options {
  std::string model;
  std::string input;
  std::string output;
  int threads = 0;
};

Status run(const Options& o) {
  LOWP_ASSIGN(Opened opened, open_any(o.model, o.threads));
  LOWP_ASSIGN(NamedTensors tensors, read_npz(o.input));
  const ir::Graph& graph = opened.engine->graph();
  LOWP_ASSIGN(std::vector<Tensor> inputs, match_inputs(graph, tensors));
  runtime::SessionOptions options;
  options.threads = o.threads;
  LOWP_ASSIGN(auto session, runtime::Session::create(opened.engine, options));
  LOWP_ASSIGN(std::vector<Tensor> outputs, session->run(inputs));
  NamedTensors named;
  for (size_t i = 0; i < outputs.size(); ++i) named[graph.outputs()[i].name] = outputs[i];
  return write_npz(o.output, named);
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a model on the arrays of an .npz file");
  sub->add_option("model", o->model, "M.lowp, or MODEL.onnx to run in FP32")->required();
  sub->add_option("--input", o->input, "in.npz, an array for each input")->required();
  sub->add_option("--output", o->output, "out.npz to write")->required();
  sub->add_option("--threads", o->threads, "0: all");
  sub->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace lowp::tool
