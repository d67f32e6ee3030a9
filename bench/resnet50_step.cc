// Time of a training step of ResNet-50: forward, backward and SGD with momentum.
//   resnet50_step [batch] [threads] [f32|bf16|f16] [steps]
// Prints the median and the best step in milliseconds, then what each kernel takes of a step.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>

#include "support/resnet.h"
#include "train/training.h"

using namespace lowp;

int main(int argc, char** argv) {
  test::ResNet net;
  net.batch = argc > 1 ? std::atoll(argv[1]) : 8;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  const std::string type = argc > 3 ? argv[3] : "f32";
  const int steps = argc > 4 ? std::atoi(argv[4]) : 5;
  net.image = 224, net.classes = 1000, net.width = 64;
  net.depths = {3, 4, 6, 3};
  net.dtype = type == "bf16" ? DType::kBF16 : type == "f16" ? DType::kF16 : DType::kF32;
  ir::Graph graph;
  net.build(graph);
  train::TrainingOptions options;
  options.optimizer.momentum = 0.9F;
  if (auto trained = train::add_training(graph, "loss", options); !trained) {
    fmt::print("{}\n", trained.error().to_string());
    return 1;
  }
  auto session = test::session_for(graph, threads, true, true);
  if (session == nullptr) return 1;
  test::Random random;
  Tensor x = test::random_floats(random, {net.batch, 3, net.image, net.image});
  Tensor labels = Tensor::zeros(DType::kI64, {net.batch});
  const std::vector<Tensor> inputs = {x, labels, Tensor::scalar(0.01F)};
  std::vector<double> times;
  for (int i = 0; i <= steps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    auto out = session->run(inputs);
    if (!out) {
      fmt::print("{}\n", out.error().to_string());
      return 1;
    }
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) times.push_back(ms);  // the first binds shapes
  }
  std::sort(times.begin(), times.end());
  fmt::print("batch {} threads {} {}: median {:.0f} ms, best {:.0f} ms\n", net.batch, threads, type,
             times[times.size() / 2], times.front());
  std::map<std::string, double> kernels;
  for (const auto& entry : session->profile()) kernels[entry.kernel] += static_cast<double>(entry.nanoseconds) * 1e-6;
  for (const auto& [kernel, ms] : kernels) fmt::print("  {:40} {:8.1f} ms\n", kernel, ms / (steps + 1));
  return 0;
}
