// Values that a Concat alone reads are written where it would copy them (PlanBuilder::mark_parts).
#include <gtest/gtest.h>

#include "support/graphs.h"

namespace lowp {
namespace {

// Ids of [N] and x of [N, 6]; a concatenation of rows of a table, of products, of what no kernel can leave room in, of
// one value twice, and of a concatenation.
struct Net {
  test::Random random;
  ir::Graph graph;
  GraphBuilder b{graph};
  ir::Value* ids = graph.add_input("ids", TensorType(DType::kI64, ir::Dims{ir::Dim::symbol("N")}));
  ir::Value* x = graph.add_input("x", TensorType(DType::kF32, ir::Dims{ir::Dim::symbol("N"), 6}));
  ir::Value* floats(const Extents& e) { return b.constant(test::random_floats(random, e), "w"); }
  ir::Value* rows(int64_t n) { return b.op("Gather", {floats({9, n}), ids}); }
  ir::Value* product(int64_t n) { return b.op("MatMul", {x, floats({6, n})}); }
  ir::Value* concat(std::vector<ir::Value*> parts, int64_t axis = -1) {
    return b.op("Concat", std::move(parts), {{"axis", axis}});
  }
  void output(ir::Value* v) { graph.outputs().push_back({"y" + std::to_string(graph.outputs().size()), v}); }

  std::vector<Tensor> inputs(int64_t n) {
    return {test::random_tensor(random, DType::kI64, {n}, -9, 8), test::random_floats(random, {n, 6})};
  }
  // Results are the reference's, whatever the plan does, and Concat copies so many bytes of 40 rows.
  void check(int threads, size_t copied) {
    auto session = test::session_for(graph, threads, true, true);
    auto plain = test::session_for(graph, 1, false);
    for (int64_t n : {1, 7, 40}) {
      const std::vector<Tensor> in = inputs(n);
      const std::vector<Tensor> want = test::evaluate_ok(graph, in);
      const std::vector<Tensor> have = test::run_ok(*session, in);
      const std::vector<Tensor> again = test::run_ok(*plain, in);
      for (size_t i = 0; i < want.size() && i < have.size(); ++i) {
        const double ulps = 64 * 0x1p-23 * std::max(test::largest(ops::to_doubles(want[i])), 1e-3);
        EXPECT_LE(test::max_difference(have[i], want[i]), ulps) << "output " << i << ", " << n << " rows";
        EXPECT_LE(test::max_difference(again[i], want[i]), ulps) << "output " << i << ", " << n << " rows, plain";
      }
    }
    size_t bytes = 0;
    for (const runtime::ProfileEntry& e : session->profile()) {
      if (e.op == "Concat") bytes += e.bytes;
    }
    EXPECT_EQ(bytes, 2 * copied);  // read and written
  }
};

TEST(Parts, AreWrittenWhereConcatWouldCopyThem) {
  for (int threads : {1, 2}) {
    Net n;
    ir::Value* y = n.concat({n.rows(5), n.product(16), n.rows(3), n.product(33)});
    n.output(n.b.op("MatMul", {y, n.floats({57, 4})}));
    n.check(threads, 0);
  }
}

TEST(Parts, OfAnOutputOfTheModel) {
  Net n;
  n.output(n.concat({n.product(7), n.rows(4)}));
  n.check(2, 0);
}

TEST(Parts, BesideWhatHasToBeCopied) {
  Net n;
  ir::Value* twice = n.product(5);
  ir::Value* read = n.rows(3);
  ir::Value* shown = n.product(2);
  ir::Value* inner = n.concat({n.rows(2), n.product(3)});
  ir::Value* y = n.concat({n.x, twice, n.rows(4), read, n.b.op("Sin", {n.product(3)}), shown, twice, inner});
  n.output(n.b.op("Relu", {y}));
  n.output(n.b.op("Exp", {read}));
  n.output(shown);
  // x, twice twice, read, the sine, shown and inner.
  n.check(2, 40 * 4 * (6 + 2 * 5 + 3 + 3 + 2 + 5));
}

// Along another axis every part's rows follow each other.
TEST(Parts, AlongTheFirstAxis) {
  Net n;
  n.output(n.b.op("Relu", {n.concat({n.product(4), n.rows(4)}, 0)}));
  n.check(1, 40 * 4 * 8);
}

}  // namespace
}  // namespace lowp
