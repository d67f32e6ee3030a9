// Sums over ranks, with threads as ranks.
#include "base/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/exchange_queue.h"
#include "base/float16.h"
#include "support/fake_communicator.h"
#include "support/kernel_test.h"

namespace lowp {
namespace {

using test::FakeNetwork;
using test::Random;

using Values = std::vector<std::vector<float>>;  // of each rank

Values random_values(Random& random, int ranks, size_t count) {
  Values values(static_cast<size_t>(ranks), std::vector<float>(count));
  for (auto& of_rank : values) {
    for (float& v : of_rank) v = random.uniform(-1, 1) * std::exp2(random.uniform(-20, 20));
  }
  return values;
}

Values means(const Values& values, Wire wire) {
  const int ranks = static_cast<int>(values.size());
  FakeNetwork network(ranks);
  Values result = values;
  network.on_every_rank([&](Communicator& c) {
    std::vector<std::byte> scratch;
    return all_reduce_mean(c, result[static_cast<size_t>(c.rank())], wire, scratch);
  });
  return result;
}

TEST(AllReduce, AddsInTheOrderOfRanksWhateverTheCount) {
  Random random;
  for (int ranks : {1, 2, 3, 5}) {
    const Values values = random_values(random, ranks, 1000);
    for (size_t count : {0, 1, 2, 7, 1000}) {
      SCOPED_TRACE(fmt::format("{} ranks, {} values, LOWP_SEED={}", ranks, count, Random::seed()));
      Values some = values;
      for (auto& v : some) v.resize(count);
      const Values got = means(some, Wire::kF32);
      for (size_t i = 0; i < count; ++i) {
        float sum = some[0][i];
        for (size_t r = 1; r < some.size(); ++r) sum += some[r][i];
        for (const auto& of_rank : got) EXPECT_EQ(of_rank[i], sum * (1.0F / static_cast<float>(ranks))) << i;
      }
    }
  }
}

TEST(AllReduce, DoesNotDependOnHowItIsCut) {
  Random random;
  const size_t count = (size_t{1} << 20) + 333;  // a whole piece and some
  for (Wire wire : {Wire::kF32, Wire::kBF16}) {
    const Values values = random_values(random, 2, count);
    Values end = values;
    for (auto& v : end) v.erase(v.begin(), v.begin() + 1000);
    const Values all = means(values, wire), of_end = means(end, wire);
    for (size_t r = 0; r < 2; ++r) {
      EXPECT_EQ(all[r], all[0]);
      EXPECT_TRUE(std::equal(of_end[r].begin(), of_end[r].end(), all[r].begin() + 1000)) << "rank " << r;
    }
  }
}

TEST(AllReduce, RoundsOncePerRankAndTheMeanInBf16) {
  Random random;
  auto rounded = [](float v) { return static_cast<float>(BFloat16(v)); };
  for (int ranks : {2, 3}) {
    const Values values = random_values(random, ranks, 77);
    const Values got = means(values, Wire::kBF16);
    for (size_t i = 0; i < 77; ++i) {
      float sum = rounded(values[0][i]);
      for (size_t r = 1; r < values.size(); ++r) sum += rounded(values[r][i]);
      for (const auto& of_rank : got) EXPECT_EQ(of_rank[i], rounded(sum * (1.0F / static_cast<float>(ranks)))) << i;
    }
  }
}

TEST(AllReduce, OneRanksInfinityIsEverybodys) {
  for (Wire wire : {Wire::kF32, Wire::kBF16}) {
    const Values got = means({{1, 2}, {std::numeric_limits<float>::infinity(), 2}}, wire);
    for (const auto& of_rank : got) {
      EXPECT_TRUE(std::isinf(of_rank[0]));
      EXPECT_EQ(of_rank[1], 2);
    }
  }
}

TEST(AllGather, GivesAllWhatEachHas) {
  for (int ranks : {1, 2, 3}) {
    FakeNetwork network(ranks);
    constexpr size_t kSlot = 64;
    std::vector<std::vector<std::byte>> slots(static_cast<size_t>(ranks),
                                              std::vector<std::byte>(kSlot * static_cast<size_t>(ranks)));
    network.on_every_rank([&](Communicator& c) {
      const auto self = static_cast<size_t>(c.rank());
      const uint64_t used = 8 + 20 * self;  // the first has nothing
      std::byte* own = slots[self].data() + self * kSlot;
      std::memcpy(own, &used, sizeof(used));
      std::fill(own + 8, own + used, static_cast<std::byte>(self + 1));
      return all_gather(c, slots[self], kSlot);
    });
    for (const auto& of_rank : slots) {
      EXPECT_EQ(of_rank, slots[0]);
      for (size_t r = 0; r < slots.size(); ++r) {
        for (size_t i = 8; i < kSlot; ++i)
          EXPECT_EQ(of_rank[r * kSlot + i], static_cast<std::byte>(i < 8 + 20 * r ? r + 1 : 0)) << r << " " << i;
      }
    }
  }
}

TEST(AllGather, RefusesWhatDoesNotFit) {
  for (const uint64_t claimed : {uint64_t{7}, uint64_t{65}, ~uint64_t{0}}) {
    FakeNetwork network(2);
    network.on_every_rank([&](Communicator& c) -> Status {
      // Rank 1 has larger slots; both must see that rank 0's are too small.
      const size_t slot = c.rank() == 1 ? 128 : 64;
      std::vector<std::byte> slots(2 * slot);
      const uint64_t used = c.rank() == 1 ? claimed : 8;
      std::memcpy(slots.data() + slot * static_cast<size_t>(c.rank()), &used, sizeof(used));
      const Status status = all_gather(c, slots, slot);
      EXPECT_EQ(status.code(), Code::kInvalidArgument);
      EXPECT_NE(status.to_string().find("rank 1"), std::string::npos);
      return {};
    });
  }
}

TEST(Broadcast, GivesAllWhatTheRootHas) {
  for (int root : {0, 2}) {
    FakeNetwork network(3);
    std::vector<std::array<std::byte, 3>> data(3, {std::byte{1}, std::byte{1}, std::byte{1}});
    data[static_cast<size_t>(root)] = {std::byte{7}, std::byte{8}, std::byte{9}};
    network.on_every_rank([&](Communicator& c) { return broadcast(c, data[static_cast<size_t>(c.rank())], root); });
    for (const auto& d : data) EXPECT_EQ(d, data[static_cast<size_t>(root)]);
  }
}

TEST(ExchangeQueue, KeepsTheOrderOfWhatWasStarted) {
  FakeNetwork network(2);
  std::vector<std::unique_ptr<ExchangeQueue>> queues;
  for (int r = 0; r < 2; ++r) queues.push_back(std::make_unique<ExchangeQueue>(network.communicator(r)));
  std::vector<std::vector<std::vector<float>>> values(2);
  std::vector<int64_t> tickets(2);
  for (int i = 0; i < 20; ++i) {
    for (size_t r = 0; r < 2; ++r) values[r].push_back({static_cast<float>(i), static_cast<float>(r)});
  }
  for (size_t i = 0; i < 20; ++i) {
    for (size_t r = 0; r < 2; ++r) tickets[r] = queues[r]->start_mean(values[r][i], Wire::kF32);
  }
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_TRUE(queues[r]->wait(tickets[r]).is_ok());
    for (size_t i = 0; i < 20; ++i)
      EXPECT_EQ(values[r][i], (std::vector<float>{static_cast<float>(i), 0.5F})) << "rank " << r;
  }
}

TEST(ExchangeQueue, FailsForGoodOnceAnExchangeFailed) {
  FakeNetwork network(2);
  ExchangeQueue queue(network.communicator(0));
  network.disconnect();
  std::vector<float> values{1, 2};
  EXPECT_EQ(queue.wait(queue.start_mean(values, Wire::kF32)).code(), Code::kIo);
  EXPECT_EQ(queue.wait(queue.start_mean(values, Wire::kF32)).code(), Code::kIo);
  queue.close();
  EXPECT_EQ(queue.wait(queue.start_mean(values, Wire::kF32)).code(), Code::kCancelled);
}

}  // namespace
}  // namespace lowp
