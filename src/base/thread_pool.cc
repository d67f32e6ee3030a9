#include "base/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>

#include "base/fp_mode.h"

namespace lowp {
namespace {

// How long a thread polls before it sleeps. Within one network the next region follows within a few microseconds, while
// waking a sleeper through the kernel costs 5 to 50; polling for about that long at most doubles the wait in the worst
// case and leaves the CPU to the caller's other threads soon after.
constexpr std::chrono::microseconds kSpin{30};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// True as soon as done() is, false after kSpin.
template <typename Done>
bool spin_until(Done done) {
  auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() - start < kSpin);
  return false;
}

// std::atomic::wait of gcc 12 goes through a table of mutexes that a fork could leave locked.
void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// The gate of the current region, one word so that joining and closing are single atomic steps:
// epoch in the top 32 bits, wanted workers in 16, closed in 1, workers inside in the low 15.
constexpr uint64_t kClosed = uint64_t{1} << 15;
constexpr uint64_t kInsideMask = kClosed - 1;
uint64_t epoch_of(uint64_t gate) { return gate >> 32; }
int wanted_of(uint64_t gate) { return static_cast<int>((gate >> 16) & 0xffffu); }
bool closed(uint64_t gate) { return (gate & kClosed) != 0; }

thread_local bool in_region = false;

}  // namespace

struct ThreadPool::Impl {
  struct alignas(64) Worker {
    std::atomic<uint32_t> parked{0};  // 1: asleep or about to be
    Impl* pool = nullptr;
    int id = 0;
    pthread_t thread{};
    int kept_off = -1;  // the CPU that it may not use
  };

  // One caller owns the workers at a time. It alone writes the region's fields, before it opens the gate.
  std::atomic<bool> taken{false};
  int started = 0;
  cpu_set_t allowed{};  // CPUs of whoever started the workers, and so theirs
  Task task = nullptr;
  void* context = nullptr;
  int64_t count = 0;
  int64_t chunk = 1;

  alignas(64) std::atomic<uint64_t> gate{kClosed};
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint32_t> caller_parked{0};
  Worker workers[kMaxWorkers - 1];

  void work() {
    while (true) {
      int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) return;
      int64_t end = std::min(begin + chunk, count);
      for (int64_t i = begin; i < end; ++i) task(context, i);
    }
  }

  bool joinable(uint64_t gate_now, uint64_t last_epoch, int id) const {
    return !closed(gate_now) && epoch_of(gate_now) != last_epoch && id < wanted_of(gate_now);
  }

  [[noreturn]] void worker_loop(Worker& self) {
    in_region = true;
    uint64_t last_epoch = 0;
    while (true) {
      auto called = [&] { return joinable(gate.load(), last_epoch, self.id); };
      if (!spin_until(called)) {
        // Either this thread sees the gate that is about to open, or the caller sees it parked: both are seq_cst.
        self.parked.store(1);
        while (!called() && self.parked.load() == 1) futex_wait(self.parked, 1);
        self.parked.store(0);
      }
      uint64_t now = gate.load();
      while (joinable(now, last_epoch, self.id)) {
        if (!gate.compare_exchange_weak(now, now + 1)) continue;
        last_epoch = epoch_of(now);
        {
          FpMode mode;
          work();
        }
        uint64_t before = gate.fetch_sub(1);
        if (closed(before) && (before & kInsideMask) == 1 && caller_parked.exchange(0) == 1) futex_wake(caller_parked);
        break;
      }
    }
  }

  static void* worker_main(void* argument) {
    auto* self = static_cast<Worker*>(argument);
    self->pool->worker_loop(*self);
  }

  // Called by the owner. Fewer workers than wanted, where the system gives no more, is no error.
  void start_workers(int wanted) {
    if (started >= wanted) return;
    if (pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed) != 0) CPU_ZERO(&allowed);
    // Signals are the host program's business and stay on its threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (started < wanted) {
      Worker& worker = workers[started];
      worker.parked.store(0);
      worker.pool = this;
      worker.id = started;
      worker.kept_off = -1;
      if (pthread_create(&worker.thread, &attributes, worker_main, &worker) != 0) break;
      pthread_setname_np(worker.thread, "lowp-worker");
      ++started;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  // Keeps workers off the CPU that the caller is on. Linux often wakes a thread on its waker's CPU, and as neither runs
  // for long between two sleeps it does not move it for tens of milliseconds: EfficientNet-lite0 on two threads took
  // 7.5 ms instead of 3.5 for up to ten runs after each pause. Costs a look at the CPU's number where the caller has
  // not moved.
  void spread(int wanted) {
    const int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || CPU_COUNT(&allowed) <= wanted) return;
    for (int i = 0; i < wanted; ++i) {
      Worker& worker = workers[i];
      if (worker.kept_off == cpu) continue;
      cpu_set_t others = allowed;
      CPU_CLR(cpu, &others);
      if (pthread_setaffinity_np(worker.thread, sizeof(others), &others) != 0) return;
      worker.kept_off = cpu;
    }
  }

  void run_region(int wanted) {
    spread(wanted);
    uint64_t epoch = epoch_of(gate.load()) + 1;
    if ((epoch & 0xffffffffu) == 0) epoch = 1;  // workers start with "last epoch 0"
    next.store(0, std::memory_order_relaxed);
    gate.store((epoch << 32) | (static_cast<uint64_t>(wanted) << 16));
    for (int i = 0; i < wanted; ++i) {
      if (workers[i].parked.load() == 1 && workers[i].parked.exchange(0) == 1) futex_wake(workers[i].parked);
    }
    work();
    // A worker that has not joined by now has nothing to do any more and need not be waited for.
    gate.fetch_or(kClosed);
    auto alone = [&] { return (gate.load() & kInsideMask) == 0; };
    while (!spin_until(alone)) {
      caller_parked.store(1);
      if (!alone()) futex_wait(caller_parked, 1);
      caller_parked.store(0);
    }
  }
};

ThreadPool::ThreadPool() : impl_(new Impl) {}

ThreadPool& ThreadPool::global() {
  static ThreadPool* pool = [] {
    auto* created = new ThreadPool;
    static Impl* impl = created->impl_;
    // The child has none of the workers, and the thread that owned them may be gone.
    pthread_atfork(nullptr, nullptr, [] {
      impl->started = 0;
      impl->gate.store(kClosed);
      impl->caller_parked.store(0);
      impl->taken.store(false);
    });
    return created;
  }();
  return *pool;
}

void ThreadPool::run(int threads, int64_t count, Task task, void* context) {
  if (count <= 0) return;
  FpMode mode;
  auto wanted = static_cast<int>(std::min<int64_t>({threads, count, kMaxWorkers})) - 1;
  if (wanted <= 0 || in_region || impl_->taken.exchange(true, std::memory_order_acquire)) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  in_region = true;
  impl_->start_workers(wanted);
  impl_->task = task;
  impl_->context = context;
  impl_->count = count;
  // Small indices are claimed in runs, so that the shared counter is no bottleneck; 16 runs a thread keep the load
  // even.
  impl_->chunk = std::max<int64_t>(1, count / (int64_t{16} * (wanted + 1)));
  impl_->run_region(std::min(wanted, impl_->started));
  impl_->taken.store(false, std::memory_order_release);
  in_region = false;
}

}  // namespace lowp
