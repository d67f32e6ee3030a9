// One pool of worker threads a process. Sessions share it; a region runs on the caller and up to threads-1 workers.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace lowp {

// Threads this process may use: the CPU affinity mask, bounded by the cgroup's CPU quota (v1 and v2), at least 1.
int available_threads();

class ThreadPool {
 public:
  // Created at first use; notices fork (the child starts its own workers at its first region).
  static ThreadPool& global();

  using Task = void (*)(void* context, int64_t index);
  // Calls task(context, i) once for each i in [0, count), in any order, on at most `threads` threads, the caller being
  // one of them; returns when all are done. Which thread runs which index never influences results. Tasks do not throw.
  // A region started inside a task runs serially. Callers on several threads may use the pool at once: a caller that
  // finds the workers taken does its work alone. Every thread runs with FpMode's floating-point mode. A task must not
  // fork.
  void run(int threads, int64_t count, Task task, void* context);

 private:
  ThreadPool();
  ~ThreadPool() =
      delete;  // lives as long as the process: other static objects may still use it while they are destroyed
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  struct Impl;
  Impl* impl_;
};

// parallel_for(threads, n, [&](int64_t i) { ... });
template <typename F>
void parallel_for(int threads, int64_t count, F&& body) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  ThreadPool::global().run(
      threads, count, [](void* context, int64_t i) { (*static_cast<std::remove_reference_t<F>*>(context))(i); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Calls body(worker, i) once for each i in [0, count). Workers, of which there are at most min(threads, kMaxWorkers)
// and whose numbers may index scratch, each own an equal share of neighbouring items, the same in each call, so that a
// core finds in its caches what it wrote before; who is done takes what is left of the others' shares, so that a core
// that is slower for a while (a neighbour on its other hyperthread, an interrupt) does not keep everybody waiting.
inline constexpr int kMaxWorkers = 256;
template <typename F>
void parallel_shares(int threads, int64_t count, F&& body) {
  const int64_t workers = std::min<int64_t>({threads, count, kMaxWorkers});
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) body(int64_t{0}, i);
    return;
  }
  std::atomic<int64_t> taken[kMaxWorkers];  // items of each share
  for (int64_t w = 0; w < workers; ++w) taken[w].store(0, std::memory_order_relaxed);
  parallel_for(threads, workers, [&](int64_t worker) {
    for (int64_t k = 0; k < workers; ++k) {
      const int64_t share = (worker + k) % workers, first = count * share / workers;
      const int64_t items = count * (share + 1) / workers - first;
      for (int64_t i; (i = taken[share].fetch_add(1, std::memory_order_relaxed)) < items;) body(worker, first + i);
    }
  });
}

}  // namespace lowp
