#include "base/exchange_queue.h"

#include "base/fp_mode.h"

namespace lowp {

ExchangeQueue::ExchangeQueue(std::unique_ptr<Communicator> communicator)
    : communicator_(std::move(communicator)),
      rank_(communicator_->rank()),
      ranks_(communicator_->ranks()),
      thread_([this] { work(); }) {}

ExchangeQueue::~ExchangeQueue() { close(); }

int64_t ExchangeQueue::start(const Job& job) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back(job);
  started_.notify_one();
  return ++tickets_;
}

int64_t ExchangeQueue::start_mean(std::span<float> values, Wire wire) {
  return start({.kind = Kind::kMean,
                .data = reinterpret_cast<std::byte*>(values.data()),
                .bytes = values.size_bytes(),
                .wire = wire});
}

int64_t ExchangeQueue::start_gather(std::span<std::byte> slots, size_t slot_bytes) {
  return start({.kind = Kind::kGather, .data = slots.data(), .bytes = slots.size(), .slot_bytes = slot_bytes});
}

int64_t ExchangeQueue::start_broadcast(std::span<std::byte> data, int root) {
  return start({.kind = Kind::kBroadcast, .data = data.data(), .bytes = data.size(), .root = root});
}

Status ExchangeQueue::wait(int64_t ticket) {
  std::unique_lock lock(mutex_);
  if (closing_ && done_ < ticket) return error(Code::kCancelled, "the connection to the other ranks is closed");
  if (done_ < ticket) {
    if (waiting_++ == 0) communicator_->set_urgent(true);
    finished_.wait(lock, [&] { return done_ >= ticket; });
    if (--waiting_ == 0 && communicator_ != nullptr) communicator_->set_urgent(false);
  }
  return status_;
}

Status ExchangeQueue::run(const Job& job) {
  switch (job.kind) {
    case Kind::kMean:
      return all_reduce_mean(*communicator_, {reinterpret_cast<float*>(job.data), job.bytes / sizeof(float)}, job.wire,
                             scratch_);
    case Kind::kGather: return all_gather(*communicator_, {job.data, job.bytes}, job.slot_bytes);
    case Kind::kBroadcast: return broadcast(*communicator_, {job.data, job.bytes}, job.root);
  }
  return {};
}

void ExchangeQueue::work() {
  FpMode fp_mode;
  std::unique_lock lock(mutex_);
  communicator_->set_urgent(false);
  while (true) {
    started_.wait(lock, [&] { return closing_ || next_ < jobs_.size(); });
    if (next_ == jobs_.size()) return;
    const Job job = jobs_[next_++];
    if (next_ == jobs_.size()) {
      jobs_.clear();
      next_ = 0;
    }
    if (status_.is_ok()) {
      lock.unlock();
      Status status = run(job);
      lock.lock();
      if (!status.is_ok()) status_ = std::move(status);
    }
    ++done_;
    finished_.notify_all();
  }
}

void ExchangeQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    started_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  communicator_.reset();
}

namespace {

std::mutex process_mutex;
std::shared_ptr<ExchangeQueue> process_queue;
thread_local int off = 0;

}  // namespace

std::shared_ptr<ExchangeQueue> process_exchanges() {
  const std::lock_guard lock(process_mutex);
  return process_queue;
}

void set_process_exchanges(std::shared_ptr<ExchangeQueue> queue) {
  const std::lock_guard lock(process_mutex);
  process_queue = std::move(queue);
}

WithoutExchanges::WithoutExchanges() { ++off; }
WithoutExchanges::~WithoutExchanges() { --off; }
bool WithoutExchanges::active() { return off > 0; }

Result<std::shared_ptr<ExchangeQueue>> exchanges_of(int64_t ranks) {
  if (ranks == 1 || WithoutExchanges::active()) return std::shared_ptr<ExchangeQueue>();
  std::shared_ptr<ExchangeQueue> queue = process_exchanges();
  if (queue == nullptr)
    return fail(Code::kUnsupported, "the graph is to be trained by {} ranks, this process has no communicator", ranks);
  if (queue->ranks() != ranks)
    return fail(Code::kUnsupported, "the graph is to be trained by {} ranks, the communicator has {}", ranks,
                queue->ranks());
  return queue;
}

}  // namespace lowp
