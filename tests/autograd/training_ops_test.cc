// What the gradients of products, losses and embeddings are made of, and what they say to wrong data.
#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

TEST(TrainingOps, AWeightGradientIsOneProduct) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), ir::Dim(3), ir::Dim(8)}));
  ir::Value* w = graph.add_input("w", TensorType(DType::kF32, Extents{8, 5}));
  ir::Value* y = b.op("MatMul", {x, w});
  ir::Value* loss = b.op("ReduceSum", {b.op("Mul", {y, y})}, {{"keepdims", int64_t{0}}});
  auto g = autograd::build_gradients(graph, loss, {x, w});
  ASSERT_TRUE(g) << g.error().to_string();
  EXPECT_EQ(test::count_ops(graph, "LinearWeightGradient", kLowpDomain), 1);
  EXPECT_EQ(test::count_ops(graph, "MatMul", kLowpDomain), 1);
  EXPECT_EQ(test::count_ops(graph, "Transpose"), 0);
  EXPECT_EQ(g->at(w)->producer->op->name, "LinearWeightGradient");  // and no sum over items
  EXPECT_EQ(g->at(w)->type, w->type);
  EXPECT_EQ(g->at(x)->type, x->type);
}

// A gradient has the dtype of the value that it is a gradient of.
TEST(TrainingOps, GradientsHaveTheDtypeOfTheirValue) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kBF16, Extents{4, 8}));
  ir::Value* master = graph.add_input("w", TensorType(DType::kF32, Extents{8, 5}));
  ir::Value* w = b.op("Cast", {master}, {{"to", ir::dtype_to_onnx(DType::kBF16)}});
  ir::Value* y = b.op("Cast", {b.op("MatMul", {x, w})}, {{"to", ir::dtype_to_onnx(DType::kF32)}});
  ir::Value* loss = b.op("ReduceSum", {y}, {{"keepdims", int64_t{0}}});
  auto g = autograd::build_gradients(graph, loss, {x, master, w});
  ASSERT_TRUE(g) << g.error().to_string();
  EXPECT_EQ(g->at(x)->type.dtype, DType::kBF16);
  EXPECT_EQ(g->at(w)->type.dtype, DType::kBF16);
  EXPECT_EQ(g->at(master)->type.dtype, DType::kF32);
}

TEST(TrainingOps, AWrongLabelIsAnErrorThatNamesIt) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, Extents{3, 4}));
  ir::Value* labels = graph.add_input("labels", TensorType(DType::kI64, Extents{3}));
  graph.outputs() = {
      {"loss", b.op("SoftmaxCrossEntropyLoss", {x, labels}, {{"ignore_index", int64_t{-1}}}, kOnnxDomain, "loss")}};
  auto session = test::session_for(graph);
  Random random;
  const Tensor scores = test::random_floats(random, {3, 4});
  EXPECT_TRUE(session->run(std::vector<Tensor>{scores, Tensor::from<int64_t>({3}, {0, -1, 3})}));
  auto out = session->run(std::vector<Tensor>{scores, Tensor::from<int64_t>({3}, {0, 4, 3})});
  ASSERT_FALSE(out);
  const std::string text = out.error().to_string();
  EXPECT_NE(text.find("label 4 at position 1"), std::string::npos) << text;
  EXPECT_NE(text.find("4 classes"), std::string::npos) << text;
  EXPECT_NE(text.find("'loss'"), std::string::npos) << text;
}

TEST(TrainingOps, AWrongIndexIsAnErrorInTheBackwardPassToo) {
  ir::Graph graph;
  GraphBuilder b(graph);
  ir::Value* indices = graph.add_input("indices", TensorType(DType::kI64, Extents{2}));
  ir::Value* dy = graph.add_input("dy", TensorType(DType::kF32, Extents{2, 3}));
  ir::Value* table = graph.add_input("table", TensorType(DType::kF32, Extents{5, 3}));
  graph.outputs() = {{"d", b.op("ScatterAdd", {indices, dy, table}, {}, kLowpDomain)}};
  auto session = test::session_for(graph);
  Random random;
  auto out = session->run(std::vector<Tensor>{Tensor::from<int64_t>({2}, {0, 5}), test::random_floats(random, {2, 3}),
                                              test::random_floats(random, {5, 3})});
  ASSERT_FALSE(out);
  EXPECT_NE(out.error().to_string().find("index 5 at position 1 is outside an axis of 5"), std::string::npos);
}

}  // namespace
}  // namespace lowp
