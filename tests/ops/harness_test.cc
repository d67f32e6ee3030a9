// What every op's samples() promise, checked for every op: inference, kernels on every target, gradients, attributes.
#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "kernels/gemm/gemm.h"
#include "support/graphs.h"

namespace lowp {
namespace {

using test::Random;

// A sample as a graph of one node and the tensors to run it on.
struct Case {
  std::unique_ptr<ir::Graph> graph = std::make_unique<ir::Graph>();
  ir::Node* node = nullptr;
  std::vector<Tensor> tensors;       // one for each operand, invalid where absent
  std::vector<Tensor> graph_inputs;  // those that are not constants
  std::vector<size_t> operand_of;    // operand number of each graph input
};

Tensor content(const SampleInput& in, Random& random, bool in_double) {
  Tensor t = in.value.valid() ? in.value : test::random_tensor(random, in.dtype, in.extents, in.low, in.high);
  if (!in_double || t.dtype() != DType::kF32) return t;
  Tensor d = Tensor::zeros(DType::kF64, t.extents());
  for (int64_t i = 0; i < t.size(); ++i) d.mutable_data<double>()[i] = static_cast<double>(t.data<float>()[i]);
  return d;
}

Case make_case(const OpDef& op, const Sample& sample, Random& random, bool in_double = false) {
  Case c;
  auto attrs = op.attrs.read(sample.attrs);
  EXPECT_TRUE(attrs) << (attrs ? "" : attrs.error().to_string());
  std::vector<ir::Value*> operands;
  for (size_t i = 0; i < sample.inputs.size(); ++i) {
    const SampleInput& in = sample.inputs[i];
    c.tensors.push_back(in.absent ? Tensor() : content(in, random, in_double));
    if (in.absent) {
      operands.push_back(nullptr);
    } else if (in.constant) {
      operands.push_back(c.graph->add_constant("c" + std::to_string(i), c.tensors.back()));
    } else {
      operands.push_back(c.graph->add_input("x" + std::to_string(i), c.tensors.back().type()));
      c.graph_inputs.push_back(c.tensors.back());
      c.operand_of.push_back(i);
    }
  }
  c.node = c.graph->add_node(&op, *attrs, operands, sample.outputs, "node");
  Status s = infer_types(*c.graph);
  if (in_double && s.code() == Code::kTypeMismatch) {
    c.node = nullptr;  // a form without a double, such as packed weights
    return c;
  }
  EXPECT_TRUE(s.is_ok()) << s.to_string();
  for (size_t i = 0; i < sample.outputs; ++i)
    c.graph->outputs().push_back({"y" + std::to_string(i), c.node->outputs[i]});
  return c;
}

struct Name {
  std::string operator()(const testing::TestParamInfo<const OpDef*>& info) const {
    std::string n = op_display_name(*info.param);
    for (char& c : n) c = c == '.' ? '_' : c;
    return n;
  }
};

class OpHarness : public testing::TestWithParam<const OpDef*> {
 protected:
  // body(sample, random), with the sample's number and the seed in failure messages.
  template <typename F>
  void for_each_sample(F&& body) {
    const OpDef& op = *GetParam();
    int number = 0;
    for (const Sample& sample : op.samples()) {
      SCOPED_TRACE(op_display_name(op) + " sample " + std::to_string(number++) +
                   ", LOWP_SEED=" + std::to_string(Random::seed()));
      Random random;
      body(op, sample, random);
    }
  }
};

class OpGradient : public OpHarness {};

std::vector<const OpDef*> ops_with_samples(bool gradient) {
  std::vector<const OpDef*> list;
  for (const OpDef* op : all_ops()) {
    if (op->samples != nullptr && (!gradient || op->gradient != nullptr)) list.push_back(op);
  }
  return list;
}

TEST_P(OpHarness, InferenceGivesWhatTheReferenceProduces) {
  for_each_sample([](const OpDef& op, const Sample& sample, Random& random) {
    Case c = make_case(op, sample, random);
    auto out = test::evaluate(*c.graph, c.graph_inputs);
    ASSERT_TRUE(out) << out.error().to_string();
    for (size_t i = 0; i < out->size(); ++i) {
      const TensorType& t = c.node->outputs[i]->type;
      EXPECT_EQ(t.dtype, (*out)[i].dtype());
      if (t.concrete()) {
        EXPECT_EQ(t.extents(), (*out)[i].extents());
      } else if (t.has_rank()) {
        EXPECT_EQ(t.rank(), (*out)[i].rank());
      }
    }
  });
}

double epsilon_of(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 0x1p-52;
    case DType::kF16: return 0x1p-10;
    case DType::kBF16: return 0x1p-7;
    default: return 0x1p-23;
  }
}

bool has_bf16(const Case& c) {
  for (const Tensor& t : c.tensors) {
    if (t.valid() && t.dtype() == DType::kBF16) return true;
  }
  return false;
}

TEST_P(OpHarness, KernelsMatchTheReferenceAndEachOther) {
  for_each_sample([](const OpDef& op, const Sample& sample, Random& random) {
    Case c = make_case(op, sample, random);
    auto want = test::evaluate(*c.graph, c.graph_inputs);
    ASSERT_TRUE(want) << want.error().to_string();
    // Native BF16 is exempt from the rule of equal bits (docs/numerics.md).
    std::vector<Tensor> first[kernels::kBF16Products];
    test::for_each_target([&](int threads) {
      auto session = test::session_for(*c.graph, threads);
      ASSERT_NE(session, nullptr);
      std::vector<Tensor> have = test::run_ok(*session, c.graph_inputs);
      ASSERT_EQ(have.size(), want->size());
      for (size_t i = 0; i < have.size(); ++i) {
        const Tensor& w = (*want)[i];
        ASSERT_EQ(have[i].dtype(), w.dtype());
        ASSERT_EQ(have[i].extents(), w.extents());
        if (!is_floating(w.dtype()) || w.dtype() == DType::kF64) {
          // Fused requantization may land on the other side of a tie.
          const double steps =
              op.domain == kLowpDomain && sample.tolerance_ulps > 0 && w.dtype() != DType::kF64 ? 1 : 0;
          EXPECT_LE(test::max_difference(have[i], w), steps);
          continue;
        }
        const double magnitude = test::largest(ops::to_doubles(w));
        const double limit = sample.tolerance_ulps * epsilon_of(w.dtype()) * magnitude;
        EXPECT_LE(test::max_difference(have[i], w), limit)
            << "output " << i << ", " << test::max_difference(have[i], w) / (epsilon_of(w.dtype()) * magnitude)
            << " ulps";
      }
      auto& reference = first[has_bf16(c) ? static_cast<size_t>(kernels::bf16_products(active_target())) : 0];
      if (reference.empty()) reference = have;
      for (size_t i = 0; i < have.size(); ++i) {
        if (is_floating(have[i].dtype())) {
          EXPECT_EQ(test::max_difference(have[i], reference[i]), 0) << "bits differ, output " << i;
        } else {
          EXPECT_TRUE(have[i].same_bits(reference[i])) << "bits differ, output " << i;
        }
      }
    });
  });
}

// Extents become symbols named after their number, or unknown.
void expect_agrees(const Case& c, const std::vector<TensorType>& types, const std::string& what) {
  std::vector<const TensorType*> pointers;
  std::vector<const Tensor*> known;
  for (size_t i = 0; i < types.size(); ++i) {
    const ir::Value* v = c.node->inputs[i];
    pointers.push_back(v == nullptr ? nullptr : &types[i]);
    known.push_back(v != nullptr && v->is_constant() ? &v->constant : nullptr);
  }
  auto inferred = infer_node(*c.node, pointers, known, kShapeElements);
  ASSERT_TRUE(inferred) << what << ": " << inferred.error().to_string();
  for (size_t i = 0; i < inferred->types.size(); ++i) {
    const TensorType& have = inferred->types[i];
    const TensorType& want = c.node->outputs[i]->type;
    EXPECT_EQ(have.dtype, want.dtype) << what;
    if (!have.has_rank() || !want.has_rank()) continue;
    ASSERT_EQ(have.rank(), want.rank()) << what << " output " << i;
    for (size_t d = 0; d < want.dims->size(); ++d) {
      const ir::Dim& h = (*have.dims)[d];
      const ir::Dim& w = (*want.dims)[d];
      if (!w.known()) continue;
      if (h.known()) {
        EXPECT_EQ(h.value(), w.value()) << what << ": " << have.to_string() << " against " << want.to_string();
      } else if (h.symbol().starts_with("d")) {
        EXPECT_EQ(h.symbol(), "d" + std::to_string(w.value()))
            << what << ": " << have.to_string() << " against " << want.to_string();
      }
    }
  }
}

TEST_P(OpHarness, SymbolsNeverContradict) {
  for_each_sample([](const OpDef& op, const Sample& sample, Random& random) {
    Case c = make_case(op, sample, random);
    for (int round = 0; round < 12; ++round) {
      std::vector<TensorType> types(c.tensors.size());
      std::string what;
      for (size_t i = 0; i < types.size(); ++i) {
        if (!c.tensors[i].valid()) continue;
        types[i] = c.tensors[i].type();
        if (c.node->inputs[i]->is_constant()) continue;
        for (ir::Dim& d : *types[i].dims) {
          // Round 0: all symbols; 1: all unknown; else a mixture.
          const int64_t how = round < 2 ? round : random.integer(0, 2);
          if (how == 0) d = ir::Dim::symbol("d" + std::to_string(d.value()));
          if (how == 1) d = ir::Dim();
        }
        if (round > 8 && random.integer(0, 3) == 0) types[i].dims.reset();
        what += " " + types[i].to_string();
      }
      expect_agrees(c, types, what);
    }
  });
}

TEST_P(OpHarness, AttributesSurviveTheirMap) {
  for_each_sample([](const OpDef& op, const Sample& sample, Random&) {
    auto attrs = op.attrs.read(sample.attrs);
    ASSERT_TRUE(attrs) << attrs.error().to_string();
    auto again = op.attrs.read(op.attrs.write(*attrs));
    ASSERT_TRUE(again) << again.error().to_string();
    EXPECT_TRUE(*attrs == *again);
    ir::AttrMap unknown = sample.attrs;
    unknown["no_such_attribute"] = int64_t{1};
    EXPECT_FALSE(op.attrs.read(unknown));
  });
}

// loss = sum over float outputs of sum(output * weights); its gradients against central differences.
TEST_P(OpGradient, MatchesFiniteDifferences) {
  int checked = 0;
  for_each_sample([&](const OpDef& op, const Sample& sample, Random& random) {
    Case c = make_case(op, sample, random, true);
    if (HasFailure() || c.node == nullptr) return;
    GraphBuilder b(*c.graph);
    ir::Value* loss = nullptr;
    for (ir::Value* y : c.node->outputs) {
      if (y->type.dtype != DType::kF64 || !y->type.concrete()) continue;
      Tensor weights = test::random_tensor(random, DType::kF64, y->type.extents(), -1, 1);
      ir::Value* term = b.op("ReduceSum", {b.op("Mul", {y, b.constant(weights)})}, {{"keepdims", int64_t{0}}});
      loss = loss == nullptr ? term : b.op("Add", {loss, term});
    }
    if (loss == nullptr) return;
    std::vector<ir::Value*> wanted;
    for (size_t i = 0; i < c.graph->inputs().size(); ++i) {
      if (c.graph_inputs[i].dtype() == DType::kF64 && sample.inputs[c.operand_of[i]].differentiable)
        wanted.push_back(c.graph->inputs()[i]);
    }
    if (wanted.empty()) return;
    auto gradients = autograd::build_gradients(*c.graph, loss, wanted);
    if (!gradients && gradients.error().code() == Code::kUnsupported) return;  // this form of the op has none
    ASSERT_TRUE(gradients) << gradients.error().to_string();
    ir::Value* y = c.node->outputs[0];
    c.graph->outputs() = {{"loss", loss}};
    std::vector<ir::Value*> present;
    for (ir::Value* v : wanted) {
      if (!gradients->contains(v)) continue;
      c.graph->outputs().push_back({v->name + "_gradient", gradients->at(v)});
      present.push_back(v);
    }
    c.graph->outputs().push_back({"y", y});
    auto out = test::evaluate(*c.graph, c.graph_inputs);
    ASSERT_TRUE(out) << out.error().to_string();
    // Differences lose what the rounding of the largest terms costs.
    const double magnitude = test::largest(ops::to_doubles(out->back()));
    auto loss_at = [&](size_t input, int64_t element, double delta) {
      std::vector<Tensor> inputs = c.graph_inputs;
      inputs[input] = inputs[input].clone();
      inputs[input].mutable_data<double>()[element] += delta;
      auto moved = test::evaluate(*c.graph, inputs);
      EXPECT_TRUE(moved);
      return (*moved)[0].data<double>()[0];
    };
    for (size_t input = 0; input < c.graph_inputs.size(); ++input) {
      ir::Value* v = c.graph->inputs()[input];
      auto at = std::find(present.begin(), present.end(), v);
      if (std::find(wanted.begin(), wanted.end(), v) == wanted.end()) continue;
      const Tensor* gradient = at == present.end() ? nullptr : &(*out)[static_cast<size_t>(at - present.begin()) + 1];
      if (gradient != nullptr) {
        ASSERT_EQ(gradient->extents(), c.graph_inputs[input].extents());
      }
      for (int probe = 0; probe < 8 && c.graph_inputs[input].size() > 0; ++probe) {
        const int64_t e = random.integer(0, c.graph_inputs[input].size() - 1);
        const double h = 1e-5;
        const double numeric = (loss_at(input, e, h) - loss_at(input, e, -h)) / (2 * h);
        const double analytic = gradient == nullptr ? 0 : gradient->data<double>()[e];
        EXPECT_NEAR(analytic, numeric, 2e-6 * std::max(1.0, std::abs(numeric)) + 64 * 0x1p-52 * magnitude / h)
            << "operand " << c.operand_of[input] << " element " << e << " of "
            << c.graph_inputs[input].type().to_string();
        ++checked;
      }
    }
  });
  EXPECT_GT(checked, 0) << "no sample exercises the gradient";
}

INSTANTIATE_TEST_SUITE_P(All, OpHarness, testing::ValuesIn(ops_with_samples(false)), Name());
INSTANTIATE_TEST_SUITE_P(All, OpGradient, testing::ValuesIn(ops_with_samples(true)), Name());

}  // namespace
}  // namespace lowp
