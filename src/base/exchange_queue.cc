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
  return start({true, reinterpret_cast<std::byte*>(values.data()), values.size_bytes(), wire, 0});
}

int64_t ExchangeQueue::start_broadcast(std::span<std::byte> data, int root) {
  return start({false, data.data(), data.size(), Wire::kF32, root});
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
      Status status =
          job.mean ? all_reduce_mean(*communicator_, {reinterpret_cast<float*>(job.data), job.bytes / sizeof(float)},
                                     job.wire, scratch_)
                   : broadcast(*communicator_, {job.data, job.bytes}, job.root);
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

}  // namespace lowp
