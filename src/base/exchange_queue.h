// Exchanges between ranks, one after another in a thread of their own, so that they go on beside the computing that
// does not wait for them.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/communicator.h"

namespace lowp {

// Every rank must start the same exchanges in the same order. Thread-safe. After one that failed all others fail with
// its status.
class ExchangeQueue {
 public:
  explicit ExchangeQueue(std::unique_ptr<Communicator> communicator);
  ~ExchangeQueue();
  ExchangeQueue(const ExchangeQueue&) = delete;
  ExchangeQueue& operator=(const ExchangeQueue&) = delete;

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  // all_reduce_mean(), all_gather() and broadcast(). The data belong to the exchange until wait() has returned for its
  // ticket.
  int64_t start_mean(std::span<float> values, Wire wire);
  int64_t start_gather(std::span<std::byte> slots, size_t slot_bytes);
  int64_t start_broadcast(std::span<std::byte> data, int root);
  // Returns when the exchange, and with it all that were started before, is done.
  Status wait(int64_t ticket);

  // Ends what was started, the thread and the communicator; what is started later fails. Every rank must call it.
  void close();
  // Ends the processes of all ranks.
  void abort(int status) { communicator_->abort(status); }

 private:
  enum class Kind : uint8_t { kMean, kGather, kBroadcast };
  struct Job {
    Kind kind = Kind::kMean;
    std::byte* data = nullptr;
    size_t bytes = 0;
    Wire wire = Wire::kF32;
    int root = 0;
    size_t slot_bytes = 0;
  };
  int64_t start(const Job& job);
  Status run(const Job& job);
  void work();

  std::unique_ptr<Communicator> communicator_;
  int rank_, ranks_;
  std::mutex mutex_;
  std::condition_variable started_, finished_;
  // Jobs that wait, [next_, size); emptied when all are taken, so that it stops growing.
  std::vector<Job> jobs_;
  size_t next_ = 0;
  int64_t tickets_ = 0, done_ = 0;
  int waiting_ = 0;
  bool closing_ = false;
  Status status_;
  std::vector<std::byte> scratch_;  // the thread's
  std::thread thread_;
};

// The process's queue, which lowp.AllReduceStart, lowp.GatherRowsStart and their Waits use; null where it is alone.
std::shared_ptr<ExchangeQueue> process_exchanges();
void set_process_exchanges(std::shared_ptr<ExchangeQueue> queue);

// While one lives, what this thread binds exchanges nothing: a rank that looks at its own values (a search for what is
// not finite) cannot count on the others to take part.
class WithoutExchanges {
 public:
  WithoutExchanges();
  ~WithoutExchanges();
  WithoutExchanges(const WithoutExchanges&) = delete;
  WithoutExchanges& operator=(const WithoutExchanges&) = delete;
  static bool active();
};

// What a graph for so many ranks exchanges with: null where nothing is to be exchanged. kUnsupported where the process
// has no communicator, or one of another size.
Result<std::shared_ptr<ExchangeQueue>> exchanges_of(int64_t ranks);

}  // namespace lowp
