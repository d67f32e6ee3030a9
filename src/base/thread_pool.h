// One pool of worker threads a process. Sessions share it; a region runs on the caller and up to threads-1 workers.
#pragma once

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

}  // namespace lowp
