// make_engine_seeds FOLDER: small engine files, one for each feature of the format.
#include <cstdio>
#include <string>

#include "format/engine_file.h"
#include "ops/op_def.h"

namespace {

using namespace lowp;

ir::Graph states() {
  ir::Graph graph;
  auto* x = graph.add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), ir::Dim(3)}));
  auto* w = graph.add_constant("w", ir::Tensor::from<float>({3}, {1, 2, 3}));
  GraphBuilder builder(graph);
  auto* sum = builder.op("Add", {x, w});
  auto* state = graph.add_state("count", ir::Tensor::from<float>({3}, {0, 0, 0}));
  graph.states()[0].update = builder.op("Add", {state, w});
  graph.outputs().push_back({"y", builder.op("Softmax", {sum}, {{"axis", int64_t{1}}})});
  graph.metadata["key"] = "value";
  graph.nodes().back()->tuning = {{"CPU", "avx2", 2, "gemm 1x2x3", "tile=4", "formula", 1.5, 2.25}};
  return graph;
}

ir::Graph attributes() {
  ir::Graph graph;
  auto* x = graph.add_input("x", TensorType(DType::kF32, ir::Extents{1, 4, 6, 6}));
  auto* w = graph.add_constant("w", ir::Tensor::zeros(DType::kF32, {2, 4, 3, 3}));
  GraphBuilder builder(graph);
  auto* y =
      builder.op("Conv", {x, w}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"auto_pad", std::string("NOTSET")}});
  graph.outputs().push_back({"y", builder.op("Relu", {y})});
  return graph;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::string folder = argv[1];
  for (auto [name, make] : {std::pair("states", &states), std::pair("attributes", &attributes)}) {
    Status status = format::save_engine(make(), {{{"golden", "\"x\""}}}, folder + "/" + name + ".lowp");
    if (!status.is_ok()) {
      std::fprintf(stderr, "%s\n", status.to_string().c_str());
      return 1;
    }
  }
  return 0;
}
