// Ranks within one process, for tests: what they send goes through queues in memory.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/communicator.h"

namespace lowp::test {

class FakeNetwork {
 public:
  explicit FakeNetwork(int ranks) : state_(std::make_shared<State>()) { state_->ranks = ranks; }

  std::unique_ptr<Communicator> communicator(int rank) { return std::make_unique<Rank>(state_, rank); }

  // From now on exchanges fail, those under way included.
  void disconnect() {
    const std::lock_guard lock(state_->mutex);
    state_->connected = false;
    state_->arrived.notify_all();
  }

  // body(communicator) in a thread for each rank.
  void on_every_rank(const std::function<Status(Communicator&)>& body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < state_->ranks; ++r) {
      threads.emplace_back([&, r] {
        const Status status = body(*communicator(r));
        EXPECT_TRUE(status.is_ok()) << status.to_string();
      });
    }
    for (std::thread& t : threads) t.join();
  }

 private:
  using Bytes = std::vector<std::byte>;
  struct State {
    int ranks = 1;
    bool connected = true;
    std::mutex mutex;
    std::condition_variable arrived;
    std::map<std::pair<int, int>, std::deque<Bytes>> sent;  // from, to
  };
  class Rank final : public Communicator {
   public:
    Rank(std::shared_ptr<State> state, int rank) : state_(std::move(state)), rank_(rank) {}
    int rank() const override { return rank_; }
    int ranks() const override { return state_->ranks; }
    Status exchange(std::span<const Message> send, std::span<const Message> receive) override {
      std::unique_lock lock(state_->mutex);
      for (const Message& m : send) {
        const auto* data = static_cast<const std::byte*>(m.data);
        state_->sent[{rank_, m.rank}].emplace_back(data, data + m.bytes);
      }
      state_->arrived.notify_all();
      for (const Message& m : receive) {
        auto& queue = state_->sent[{m.rank, rank_}];
        state_->arrived.wait(lock, [&] { return !state_->connected || !queue.empty(); });
        if (!state_->connected) return error(Code::kIo, "rank {} is gone", m.rank);
        EXPECT_EQ(queue.front().size(), m.bytes);
        if (m.bytes > 0) std::memcpy(m.data, queue.front().data(), m.bytes);
        queue.pop_front();
      }
      return {};
    }
    [[noreturn]] void abort(int status) override { std::exit(status); }

   private:
    std::shared_ptr<State> state_;
    int rank_;
  };

  std::shared_ptr<State> state_;
};

}  // namespace lowp::test
