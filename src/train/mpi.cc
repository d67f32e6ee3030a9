// The communicator over MPI, a library of its own: only processes that mpirun started load it and MPI with it, and
// lowp is built and used without MPI.
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/communicator.h"

namespace lowp::train {
namespace {

// MPI counts in int. (In parts of 1 MiB or less gradients took longer: each part is a handshake of its own.)
constexpr size_t kMaxMessage = size_t{1} << 30;
constexpr int kTag = 1;
// Between looks at exchanges that nobody waits for yet, in multiples of what the looks took: MPI's own waiting takes a
// whole core, which here belongs to backward. (With pauses of 100 us, whatever the looks took, backward took 1.15x as
// long where each rank has one core.)
constexpr int kPause = 15;
constexpr std::chrono::nanoseconds kLeastPause{100'000}, kLongestPause{1'000'000};
// Before a pause: a message of 4 bytes takes 15 us with 64 looks and 100 us with one, where other processes want the
// core too; 1000 are no quicker.
constexpr int kLooks = 64;

Status failed(const char* what, int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return error(Code::kIo, "{}: {}", what, text.data());
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() {
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(world_, &rank_);
    MPI_Comm_size(world_, &ranks_);
  }
  ~MpiCommunicator() override {
    MPI_Comm_free(&world_);
    MPI_Finalize();
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  Status exchange(std::span<const Message> send, std::span<const Message> receive) override {
    requests_.clear();
    LOWP_TRY(post(receive, true));
    LOWP_TRY(post(send, false));
    completed_.resize(requests_.size());
    for (size_t left = requests_.size(); left > 0;) {
      const auto begin = std::chrono::steady_clock::now();
      const size_t before = left;
      // A message that comes in fragments goes on with every look.
      for (int looks = 0; looks < kLooks && left > 0; ++looks) {
        int done = 0;
        const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &done, completed_.data(),
                                      MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS) return failed("an exchange with other ranks failed", code);
        left -= static_cast<size_t>(done);
      }
      if (left == 0 || left < before) continue;
      if (urgent()) {
        sched_yield();
      } else {
        const std::chrono::nanoseconds pause = kPause * (std::chrono::steady_clock::now() - begin);
        std::this_thread::sleep_for(std::clamp(pause, kLeastPause, kLongestPause));
      }
    }
    return {};
  }

  [[noreturn]] void abort(int status) override {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::_Exit(status);
  }

 private:
  Status post(std::span<const Message> messages, bool incoming) {
    for (const Message& m : messages) {
      for (size_t begin = 0; begin < m.bytes; begin += kMaxMessage) {
        char* data = static_cast<char*>(m.data) + begin;
        const int bytes = static_cast<int>(std::min(kMaxMessage, m.bytes - begin));
        requests_.emplace_back();
        const int code = incoming ? MPI_Irecv(data, bytes, MPI_BYTE, m.rank, kTag, world_, &requests_.back())
                                  : MPI_Isend(data, bytes, MPI_BYTE, m.rank, kTag, world_, &requests_.back());
        if (code != MPI_SUCCESS) return failed("an exchange with other ranks cannot be started", code);
      }
    }
    return {};
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0, ranks_ = 1;
  std::vector<MPI_Request> requests_;
  std::vector<int> completed_;
};

}  // namespace
}  // namespace lowp::train

// See train/communicator.h. Null where MPI refuses, `status` then says why.
extern "C" __attribute__((visibility("default"))) lowp::Communicator* lowp_mpi_communicator(lowp::Status* status) {
  using lowp::Code;
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) {
    *status = lowp::error(Code::kUnsupported, "this process has started MPI already");
    return nullptr;
  }
  int provided = 0;
  // Serialized: the thread of the exchange queue makes the calls, another one the first and the last.
  const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (code != MPI_SUCCESS) {
    *status = lowp::train::failed("MPI cannot be started", code);
    return nullptr;
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    *status = lowp::error(Code::kUnsupported, "this MPI has thread level {}, {} (serialized) is wanted", provided,
                          MPI_THREAD_SERIALIZED);
    return nullptr;
  }
  return new lowp::train::MpiCommunicator();
}
