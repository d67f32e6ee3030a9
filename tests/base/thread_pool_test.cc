#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "base/fp_mode.h"

namespace lowp {
namespace {

// Sanitizers slow everything down by an order of magnitude.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kScale = 10;
#else
constexpr int kScale = 1;
#endif

TEST(ThreadPool, EveryIndexOnce) {
  for (int threads : {1, 2, 3, 8, 64}) {
    for (int64_t count : {0, 1, 2, 7, 100, 10'000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      parallel_for(threads, count,
                   [&](int64_t i) { seen[static_cast<size_t>(i)].fetch_add(1, std::memory_order_relaxed); });
      for (auto& s : seen) ASSERT_EQ(s.load(), 1);
    }
  }
}

// Plain writes by the workers are visible to the caller afterwards, and the other way round: tsan watches.
TEST(ThreadPool, RegionsSynchronise) {
  std::vector<int64_t> data(257, 0);
  for (int round = 1; round <= 5'000 / kScale; ++round) {
    parallel_for(4, 257, [&](int64_t i) { data[static_cast<size_t>(i)] += i; });
    ASSERT_EQ(data[256], 256 * round);
  }
}

TEST(ThreadPool, SharesAreTakenOnceByNumberedWorkers) {
  for (int threads : {1, 2, 3, 8}) {
    for (int64_t count : {0, 1, 2, 7, 64, 1001}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      std::vector<std::atomic<int>> busy(static_cast<size_t>(threads));  // a worker's scratch has one user at a time
      std::atomic<bool> alone{true};
      parallel_shares(threads, count, [&](int64_t worker, int64_t i) {
        if (busy[static_cast<size_t>(worker)].fetch_add(1) != 0) alone = false;
        runs[static_cast<size_t>(i)].fetch_add(1);
        busy[static_cast<size_t>(worker)].fetch_sub(1);
      });
      EXPECT_TRUE(alone.load());
      for (auto& n : runs) EXPECT_EQ(n.load(), 1);
    }
  }
}

TEST(ThreadPool, WhoIsDoneTakesFromTheOthersShares) {
  std::atomic<int64_t> done{0};
  bool all_others = false;
  // One worker's first item waits for all the others, those of its own share among them.
  parallel_shares(2, 100, [&](int64_t, int64_t i) {
    if (i == 0) {
      const auto start = std::chrono::steady_clock::now();
      while (done.load() < 99 && std::chrono::steady_clock::now() - start < std::chrono::seconds(20))
        std::this_thread::yield();
      all_others = done.load() == 99;
    }
    done.fetch_add(1);
  });
  EXPECT_TRUE(all_others);
  EXPECT_EQ(done.load(), 100);
}

TEST(ThreadPool, ConcurrentCallers) {
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 2'000 / kScale; ++round) {
        parallel_for(3, 10, [&](int64_t i) { total.fetch_add(i, std::memory_order_relaxed); });
        if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));  // lets the workers park
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total.load(), int64_t{6} * (2'000 / kScale) * 45);
}

TEST(ThreadPool, NestedRegionsRunSerially) {
  std::atomic<int> total{0};
  parallel_for(4, 8, [&](int64_t) {
    auto outer = std::this_thread::get_id();
    parallel_for(4, 8, [&](int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      total.fetch_add(1, std::memory_order_relaxed);
    });
  });
  EXPECT_EQ(total.load(), 64);
}

TEST(ThreadPool, UsesSeveralThreads) {
  // Two tasks that wait for each other need two threads.
  std::atomic<int> arrived{0};
  parallel_for(2, 2, [&](int64_t) {
    arrived.fetch_add(1);
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived.load() < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
}

TEST(ThreadPool, UnevenTasks) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> done{0};
    parallel_for(2, 2, [&](int64_t i) {
      // Longer than the spin, so that the caller or the worker sleeps until the other is done.
      if (i == round % 2) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      done.fetch_add(1);
    });
    ASSERT_EQ(done.load(), 2);
  }
}

#if !defined(__SANITIZE_THREAD__)  // tsan does not support threads started after a fork from a threaded process
TEST(ThreadPool, WorksInAForkedChild) {
  std::atomic<int> before{0};
  parallel_for(4, 100, [&](int64_t) { before.fetch_add(1); });
  for (int round = 0; round < 5; ++round) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(60);  // a hang fails
      std::atomic<int> sum{0};
      for (int i = 0; i < 50; ++i) parallel_for(4, 100, [&](int64_t) { sum.fetch_add(1); });
      _exit(sum.load() == 5'000 ? 0 : 1);
    }
    parallel_for(4, 100, [&](int64_t) { before.fetch_add(1); });
    int status = 0;
    waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(before.load(), 600);
}

// A fork from one thread while another is inside a region: the child must not wait for threads that it does not have.
TEST(ThreadPool, ForkWhileAnotherThreadIsInARegion) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop.load()) parallel_for(3, 64, [](int64_t) { std::this_thread::yield(); });
  });
  for (int round = 0; round < 20; ++round) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      std::atomic<int> sum{0};
      parallel_for(4, 100, [&](int64_t) { sum.fetch_add(1); });
      _exit(sum.load() == 100 ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  busy.join();
}
#endif

TEST(ThreadPool, WorkersSleepWhenIdle) {
  parallel_for(4, 100, [](int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used, 0.03);
}

#if defined(__SSE2__)
TEST(FpMode, SetsAndRestores) {
  uint32_t original = _mm_getcsr();
  _mm_setcsr(original | 0x8040);  // flush to zero, denormals are zero
  {
    FpMode mode;
    volatile float tiny = 0x1p-130f;
    EXPECT_GT(tiny * 0.5f, 0.0f);
  }
  EXPECT_EQ(_mm_getcsr() & 0xffc0u, (original | 0x8040u) & 0xffc0u);
  _mm_setcsr(original);
}

TEST(ThreadPool, WorkersKeepDenormals) {
  uint32_t original = _mm_getcsr();
  _mm_setcsr(original | 0x8040);
  std::atomic<int> kept{0};
  ThreadPool::global().run(
      4, 64,
      [](void* context, int64_t) {
        volatile float tiny = 0x1p-130f;
        if (tiny * 0.5f > 0.0f) static_cast<std::atomic<int>*>(context)->fetch_add(1);
      },
      &kept);
  EXPECT_NE(_mm_getcsr() & 0x8040u, 0u);
  _mm_setcsr(original);
  EXPECT_EQ(kept.load(), 64);
}
#endif

}  // namespace
}  // namespace lowp
