#include "base/communicator.h"

#include <algorithm>
#include <cstring>

#include "base/float16.h"

namespace lowp {
namespace {

using Message = Communicator::Message;

// Values that are exchanged at a time: what is received is added while it is in the caches, and scratch stays small.
// Two ranks on one machine average 256 KiB at 2.3, 1 MiB at 2.8 and 4 MiB at 3.3 GB/s, and no more beyond.
constexpr size_t kPiece = size_t{1} << 20;

template <typename T>
T to_wire(float value) {
  return T(value);
}

// The part [begin, end) of `count` elements that a rank adds up.
struct Part {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
};
Part part_of(size_t count, int rank, int ranks) {
  const auto r = static_cast<size_t>(rank), n = static_cast<size_t>(ranks);
  return {count * r / n, count * (r + 1) / n};
}

// all_reduce_mean() with elements of T on the wire, of which `wire` has this rank's; the means replace them there.
template <typename T>
Status reduce(Communicator& c, T* wire, size_t count, std::byte* scratch) {
  const int ranks = c.ranks(), self = c.rank();
  const Part own = part_of(count, self, ranks);
  auto* sums = reinterpret_cast<float*>(scratch);
  T* received = reinterpret_cast<T*>(sums + own.size());
  std::vector<Message> send, receive;
  for (int r = 0; r < ranks; ++r) {
    if (r == self) continue;
    const Part p = part_of(count, r, ranks);
    send.push_back({r, wire + p.begin, p.size() * sizeof(T)});
    receive.push_back({r, received + static_cast<size_t>(r) * own.size(), own.size() * sizeof(T)});
  }
  LOWP_TRY(c.exchange(send, receive));
  for (int r = 0; r < ranks; ++r) {
    const T* from = r == self ? wire + own.begin : received + static_cast<size_t>(r) * own.size();
    if (r == 0) {
      for (size_t i = 0; i < own.size(); ++i) sums[i] = static_cast<float>(from[i]);
    } else {
      for (size_t i = 0; i < own.size(); ++i) sums[i] += static_cast<float>(from[i]);
    }
  }
  const float share = 1.0F / static_cast<float>(ranks);
  for (size_t i = 0; i < own.size(); ++i) wire[own.begin + i] = to_wire<T>(sums[i] * share);
  for (size_t k = 0; k < send.size(); ++k) {
    const Part p = part_of(count, send[k].rank, ranks);
    send[k] = {send[k].rank, wire + own.begin, own.size() * sizeof(T)};
    receive[k] = {send[k].rank, wire + p.begin, p.size() * sizeof(T)};
  }
  return c.exchange(send, receive);
}

}  // namespace

Status all_reduce_mean(Communicator& c, std::span<float> values, Wire wire, std::vector<std::byte>& scratch) {
  if (c.ranks() == 1) return {};
  const size_t most = std::min(values.size(), kPiece);
  const size_t part = most / static_cast<size_t>(c.ranks()) + 1;
  const size_t element = wire == Wire::kF32 ? sizeof(float) : sizeof(BFloat16);
  const size_t rounded = wire == Wire::kF32 ? 0 : (most * sizeof(BFloat16) + 63) / 64 * 64;
  const size_t bytes = rounded + part * (sizeof(float) + static_cast<size_t>(c.ranks()) * element);
  if (scratch.size() < bytes) scratch.resize(bytes);
  for (size_t begin = 0; begin < values.size(); begin += kPiece) {
    const std::span<float> piece = values.subspan(begin, std::min(kPiece, values.size() - begin));
    if (wire == Wire::kF32) {
      LOWP_TRY(reduce(c, piece.data(), piece.size(), scratch.data()));
      continue;
    }
    auto* halves = reinterpret_cast<BFloat16*>(scratch.data());
    for (size_t i = 0; i < piece.size(); ++i) halves[i] = BFloat16(piece[i]);
    LOWP_TRY(reduce(c, halves, piece.size(), scratch.data() + rounded));
    for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<float>(halves[i]);
  }
  return {};
}

Status all_gather(Communicator& c, std::span<std::byte> slots, size_t slot_bytes) {
  const int self = c.rank();
  auto slot = [&](int rank) { return slots.data() + static_cast<size_t>(rank) * slot_bytes; };
  // Of each rank the bytes that count and those of its slots: all ranks see the same and judge alike, so that none
  // waits for another that has given up.
  struct Head {
    uint64_t used = 0, slot = 0;
  };
  std::vector<Head> heads(static_cast<size_t>(c.ranks()));
  Head& own = heads[static_cast<size_t>(self)];
  std::memcpy(&own.used, slot(self), sizeof(own.used));
  own.slot = slot_bytes;
  std::vector<Message> send, receive;
  for (int r = 0; r < c.ranks(); ++r) {
    if (r == self) continue;
    send.push_back({r, &own, sizeof(Head)});
    receive.push_back({r, &heads[static_cast<size_t>(r)], sizeof(Head)});
  }
  LOWP_TRY(c.exchange(send, receive));
  constexpr size_t kSize = sizeof(own.used);
  const auto smallest = std::min_element(heads.begin(), heads.end(), [](auto& x, auto& y) { return x.slot < y.slot; });
  for (int r = 0; r < c.ranks(); ++r) {
    const uint64_t used = heads[static_cast<size_t>(r)].used;
    if (used < kSize || used > smallest->slot)
      return error(Code::kInvalidArgument, "rank {} has {} bytes for the others, rank {} takes {} at most", r, used,
                   smallest - heads.begin(), smallest->slot)
          .with_hint("give all ranks batches of about the same size");
    std::memcpy(slot(r), &used, kSize);
  }
  for (size_t k = 0; k < send.size(); ++k) {
    const int r = send[k].rank;
    send[k] = {r, slot(self) + kSize, own.used - kSize};
    receive[k] = {r, slot(r) + kSize, heads[static_cast<size_t>(r)].used - kSize};
  }
  return c.exchange(send, receive);
}

Status broadcast(Communicator& c, std::span<std::byte> data, int root) {
  std::vector<Message> messages;
  if (c.rank() != root) {
    messages.push_back({root, data.data(), data.size()});
    return c.exchange({}, messages);
  }
  for (int r = 0; r < c.ranks(); ++r) {
    if (r != root) messages.push_back({r, data.data(), data.size()});
  }
  return c.exchange(messages, {});
}

}  // namespace lowp
