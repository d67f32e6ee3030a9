// Processes that work on one thing together: ranks 0 to ranks() - 1, each with data of its own.
//
// A communicator moves bytes; what is added up is added here, so that sums do not depend on a library's choice: MPI's
// MPI_Allreduce picks its algorithm, and with it the order of additions, by message size, number of ranks and network.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace lowp {

class Communicator {
 public:
  // Bytes to or from another rank.
  struct Message {
    int rank = 0;
    void* data = nullptr;
    size_t bytes = 0;
  };

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  // Sends and receives all of them, and returns when it is done. What one rank sends to another arrives in the order of
  // calls; the receiver names the same size. From one thread at a time. kIo where the connection fails.
  virtual Status exchange(std::span<const Message> send, std::span<const Message> receive) = 0;
  // Ends the processes of all ranks, this one included, with this exit status.
  [[noreturn]] virtual void abort(int status) = 0;

  // Whether a thread does nothing but wait for the exchange: then it may poll without a pause.
  void set_urgent(bool urgent) { urgent_.store(urgent, std::memory_order_relaxed); }

 protected:
  bool urgent() const { return urgent_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> urgent_{true};
};

// The form in which floats travel.
enum class Wire : uint8_t { kF32, kBF16 };

// values[i] = (sum of all ranks' values[i], added in f32 in the order of ranks) * (1 / ranks). Every rank gets the same
// bits, whatever the count. Rank r adds up the r-th of `ranks` parts, which all others send it, and sends the result:
// each rank sends and receives 2 (ranks - 1) / ranks of the bytes, the least there is (Patarasuk and Yuan 2009).
// kBF16 halves the bytes: every rank's values are rounded once before they are added, and the mean once. `scratch` is
// grown as needed.
Status all_reduce_mean(Communicator& communicator, std::span<float> values, Wire wire, std::vector<std::byte>& scratch);

// All ranks get what every rank has, of sizes that differ: `slots` is ranks() slots of slot_bytes each, and rank r's
// begins with the number of its bytes that count, itself included, as uint64_t. This rank has filled its own; the
// others' are filled as far as they count. slot_bytes may differ between ranks; kInvalidArgument, on all of them, where
// a rank says less than 8 bytes or more than the smallest slot has.
Status all_gather(Communicator& communicator, std::span<std::byte> slots, size_t slot_bytes);

// All ranks get what `root` has.
Status broadcast(Communicator& communicator, std::span<std::byte> data, int root);

}  // namespace lowp
