// lowp.GatherRowsStart and lowp.GatherRowsWait: the mean over all ranks of a table's gradient of which each has some
// rows (lowp.SparseRows).
//
// GatherRowsStart operands: 0 rows i64 [N], 1 values f32 [N, row...], 2 count i64 scalar, as lowp.SparseRows gives
// them; 3 the table [V, row...], of which only the type counts. Outputs: 0 slots u8, one for each rank, which the
// exchange fills; 1 ticket i64 scalar, of the exchange (base/exchange_queue.h). Attributes: `ranks`; `wire`, "f32" or
// "bf16": the form in which values travel, to which every rank's are rounded once.
//
// GatherRowsWait operands: 0 slots, 1 ticket, 2 the table. Outputs: 0 rows, 1 values, 2 count as operands above: rows
// that any rank has, ascending; of each the sum of the ranks' values, in f32 in the order of ranks, times 1 / ranks.
//
// A slot: u64 bytes that count, then `count` rows i64, then their values. It has room for twice the rows of this rank's
// batch (or all of the table's): parts of a batch that ranks take differ by one sample, and by what padding adds.
// kInvalidArgument on all ranks where one's rows do not fit into the smallest slot. With ranks 1, and to the
// references, which exchange nothing, the mean is the gradient itself.
#include <map>

#include "base/exchange_queue.h"
#include "base/float16.h"
#include "ops/exchange.h"
#include "ops/reference.h"
#include "ops/sparse_rows.h"

namespace lowp::ops {
namespace {

constexpr size_t kRows = 0, kValues = 1, kCount = 2, kStartTable = 3;
constexpr size_t kSlots = 0, kTicket = 1, kTable = 2;

// A file may name sizes that nobody has the memory for; their products here stay in 64 bits.
constexpr int64_t kMostElements = int64_t{1} << 38;
constexpr int64_t kMostRanks = 1 << 16;

constexpr size_t kSizeBytes = sizeof(uint64_t);  // of a slot's head

// Sizes of an exchange.
struct SlotLayout {
  int64_t ranks = 1, table_rows = 0, row = 0;  // row: elements
  size_t element = sizeof(float);              // bytes of a value on the wire
  int64_t capacity = 0;                        // rows of a slot
  size_t slot_bytes = 0;

  static SlotLayout for_batch_of(int64_t rows, const ExchangeAttrs& a, const Extents& table) {
    SlotLayout s(a, table);
    s.capacity = std::min(2 * rows, s.table_rows);
    s.slot_bytes = (kSizeBytes + static_cast<size_t>(s.capacity) * s.entry_bytes() + 7) / 8 * 8;
    return s;
  }
  // Of slots that are there, kSizeBytes each at least.
  static SlotLayout for_slots_of(int64_t bytes, const ExchangeAttrs& a, const Extents& table) {
    SlotLayout s(a, table);
    s.slot_bytes = static_cast<size_t>(bytes / a.ranks);
    s.capacity = static_cast<int64_t>((s.slot_bytes - kSizeBytes) / s.entry_bytes());
    return s;
  }
  size_t entry_bytes() const { return sizeof(int64_t) + static_cast<size_t>(row) * element; }
  int64_t merged_rows() const { return std::min(ranks * capacity, table_rows); }

 private:
  SlotLayout(const ExchangeAttrs& a, const Extents& table)
      : ranks(a.ranks),
        table_rows(table[0]),
        row(ir::element_count(Extents(table.begin() + 1, table.end()))),
        element(a.wire == "bf16" ? sizeof(BFloat16) : sizeof(float)) {}
};

Status check_attrs(const InferContext& ctx, size_t table) {
  const auto& a = ctx.attrs<ExchangeAttrs>();
  LOWP_TRY(a.check());
  if (a.ranks > kMostRanks) return error(Code::kInvalidModel, "ranks is {}, {} at most", a.ranks, kMostRanks);
  if (ctx.has_rank(table) && ctx.dims(table).empty())
    return error(Code::kShapeMismatch, "the table is a scalar, rows are wanted");
  if (ctx.type(table).concrete()) {
    const Extents& e = ctx.type(table).extents();
    // Apart, as a product with 0 says nothing of the other.
    const int64_t row = ir::element_count(Extents(e.begin() + 1, e.end()));
    if (e[0] > kMostElements || row > kMostElements / std::max<int64_t>(e[0], 1))
      return error(Code::kUnsupported, "a table of {}", ctx.type(table).to_string());
  }
  return want_dtype(ctx, table, DType::kF32);
}

Status infer_start(InferContext& ctx) {
  LOWP_TRY(check_attrs(ctx, kStartTable));
  LOWP_TRY(want_dtype(ctx, kRows, DType::kI64));
  LOWP_TRY(want_dtype(ctx, kValues, DType::kF32));
  LOWP_TRY(want_scalar(ctx, kCount, DType::kI64));
  ir::Dim bytes;
  if (ctx.type(kRows).concrete() && ctx.type(kValues).concrete() && ctx.type(kStartTable).concrete()) {
    const Extents& rows = ctx.type(kRows).extents();
    const Extents& table = ctx.type(kStartTable).extents();
    Extents want = table;
    want[0] = rows.size() == 1 ? rows[0] : -1;
    if (ctx.type(kValues).extents() != want)
      return error(Code::kShapeMismatch, "rows are {} and their values {}, of a table {}", ctx.type(kRows).to_string(),
                   ctx.type(kValues).to_string(), ctx.type(kStartTable).to_string());
    const auto& a = ctx.attrs<ExchangeAttrs>();
    if (rows[0] > kMostElements) return error(Code::kUnsupported, "{} rows", rows[0]);
    bytes = ir::Dim(a.ranks * static_cast<int64_t>(SlotLayout::for_batch_of(rows[0], a, table).slot_bytes));
  }
  ctx.set(0, DType::kU8, ir::Dims{bytes});
  ctx.set(1, TensorType(DType::kI64, Extents{}));
  return {};
}

Status infer_wait(InferContext& ctx) {
  LOWP_TRY(check_attrs(ctx, kTable));
  LOWP_TRY(want_dtype(ctx, kSlots, DType::kU8));
  LOWP_TRY(want_scalar(ctx, kTicket, DType::kI64));
  ir::Dim rows;
  if (ctx.type(kSlots).concrete() && ctx.type(kTable).concrete()) {
    const auto& a = ctx.attrs<ExchangeAttrs>();
    const int64_t bytes = ir::element_count(ctx.type(kSlots).extents());
    if (bytes % (8 * a.ranks) != 0 || bytes == 0)
      return error(Code::kShapeMismatch, "{} bytes are no {} slots", bytes, a.ranks);
    rows = ir::Dim(SlotLayout::for_slots_of(bytes, a, ctx.type(kTable).extents()).merged_rows());
  }
  ctx.set(0, DType::kI64, ir::Dims{rows});
  if (ctx.has_rank(kTable)) {
    ir::Dims values(ctx.dims(kTable).begin(), ctx.dims(kTable).end());
    values[0] = rows;
    ctx.set(1, DType::kF32, std::move(values));
  } else {
    ctx.set_unranked(1, DType::kF32);
  }
  ctx.set(2, TensorType(DType::kI64, Extents{}));
  return {};
}

// This rank's slot; the others are empty until the exchange has filled them.
Status fill_slots(const SlotLayout& s, int64_t rank, const int64_t* rows, const float* values, int64_t count,
                  int64_t most, std::byte* slots) {
  LOWP_TRY(check_rows(rows, count, std::min(most, s.capacity), s.table_rows));
  for (int64_t r = 0; r < s.ranks; ++r) {
    const uint64_t used = kSizeBytes + (r == rank ? static_cast<size_t>(count) * s.entry_bytes() : 0);
    std::memcpy(slots + static_cast<size_t>(r) * s.slot_bytes, &used, sizeof(used));
  }
  std::byte* to = slots + static_cast<size_t>(rank) * s.slot_bytes + kSizeBytes;
  if (count == 0) return {};
  std::memcpy(to, rows, static_cast<size_t>(count) * sizeof(int64_t));
  to += static_cast<size_t>(count) * sizeof(int64_t);
  if (s.element == sizeof(float)) {
    std::memcpy(to, values, static_cast<size_t>(count * s.row) * sizeof(float));
  } else {
    auto* halves = reinterpret_cast<BFloat16*>(to);
    for (int64_t i = 0; i < count * s.row; ++i) halves[i] = BFloat16(values[i]);
  }
  return {};
}

// What one rank sent, and how far the merge has come.
struct Incoming {
  const int64_t* rows = nullptr;
  const std::byte* values = nullptr;
  int64_t count = 0, at = 0;
};

// What another process sent is checked before it is followed.
Status read_slot(const SlotLayout& s, const std::byte* slot, int64_t rank, Incoming& in) {
  uint64_t used = 0;
  std::memcpy(&used, slot, kSizeBytes);
  if (used < kSizeBytes || used > s.slot_bytes || (used - kSizeBytes) % s.entry_bytes() != 0)
    return error(Code::kInvalidArgument, "rank {} sent {} bytes, which are no rows", rank, used);
  in = {};
  in.count = static_cast<int64_t>((used - kSizeBytes) / s.entry_bytes());
  in.rows = reinterpret_cast<const int64_t*>(slot + kSizeBytes);
  in.values = slot + kSizeBytes + static_cast<size_t>(in.count) * sizeof(int64_t);
  Status checked = check_rows(in.rows, in.count, s.capacity, s.table_rows);
  return checked.is_ok() ? checked : std::move(checked).with_context(fmt::format("from rank {}", rank));
}

template <typename T>
void add_row(const std::byte* from, int64_t n, bool first, float* sums) {
  const T* values = reinterpret_cast<const T*>(from);
  if (first) {
    for (int64_t i = 0; i < n; ++i) sums[i] = static_cast<float>(values[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) sums[i] += static_cast<float>(values[i]);
  }
}

// `parts` has room for one of each rank.
Status merge(const SlotLayout& s, const std::byte* slots, float share, Incoming* parts, int64_t* rows, float* values,
             int64_t* count) {
  for (int64_t r = 0; r < s.ranks; ++r) {
    LOWP_TRY(read_slot(s, slots + static_cast<size_t>(r) * s.slot_bytes, r, parts[r]));
  }
  int64_t n = 0;
  for (;; ++n) {
    int64_t row = s.table_rows;
    for (int64_t r = 0; r < s.ranks; ++r) {
      if (parts[r].at < parts[r].count) row = std::min(row, parts[r].rows[parts[r].at]);
    }
    if (row == s.table_rows) break;
    float* sums = values + n * s.row;
    bool first = true;
    for (int64_t r = 0; r < s.ranks; ++r) {
      Incoming& p = parts[r];
      if (p.at == p.count || p.rows[p.at] != row) continue;
      const std::byte* from = p.values + static_cast<size_t>(p.at++ * s.row) * s.element;
      s.element == sizeof(float) ? add_row<float>(from, s.row, first, sums)
                                 : add_row<BFloat16>(from, s.row, first, sums);
      first = false;
    }
    for (int64_t i = 0; i < s.row; ++i) sums[i] *= share;
    rows[n] = row;
  }
  const int64_t rest = s.merged_rows() - n;
  std::fill_n(rows + n, rest, int64_t{-1});
  std::fill_n(values + n * s.row, rest * s.row, 0.0F);
  *count = n;
  return {};
}

Status start(EvalContext& ctx) {
  const int64_t most = ctx.in(kRows).size();
  const auto s = SlotLayout::for_batch_of(most, ctx.attrs<ExchangeAttrs>(), ctx.in(kStartTable).extents());
  if (ctx.wants(1)) ctx.out(1).mutable_data<int64_t>()[0] = 0;
  return fill_slots(s, 0, ctx.in(kRows).data<int64_t>(), ctx.in(kValues).data<float>(),
                    ctx.in(kCount).data<int64_t>()[0], most, static_cast<std::byte*>(ctx.out(0).mutable_raw()));
}

// Naively: sums for all of the table in double, then the rows that any rank has.
Status wait(EvalContext& ctx) {
  const auto s = SlotLayout::for_slots_of(ctx.in(kSlots).size(), ctx.attrs<ExchangeAttrs>(), ctx.in(kTable).extents());
  std::map<int64_t, std::vector<double>> sums;
  for (int64_t r = 0; r < s.ranks; ++r) {
    const std::byte* slot = static_cast<const std::byte*>(ctx.in(kSlots).raw()) + static_cast<size_t>(r) * s.slot_bytes;
    Incoming in;
    LOWP_TRY(read_slot(s, slot, r, in));
    for (int64_t i = 0; i < in.count * s.row; ++i) {
      const int64_t row = in.rows[i / s.row];
      auto& sum = sums.try_emplace(row, static_cast<size_t>(s.row), 0.0).first->second;
      const bool f32 = s.element == sizeof(float);
      sum[static_cast<size_t>(i % s.row)] +=
          static_cast<double>(f32 ? reinterpret_cast<const float*>(in.values)[i]
                                  : static_cast<float>(reinterpret_cast<const BFloat16*>(in.values)[i]));
    }
  }
  std::fill_n(ctx.out(0).mutable_data<int64_t>(), ctx.out(0).size(), int64_t{-1});
  std::fill_n(ctx.out(1).mutable_data<float>(), ctx.out(1).size(), 0.0F);
  int64_t n = 0;
  for (const auto& [row, sum] : sums) {
    ctx.out(0).mutable_data<int64_t>()[n] = row;
    for (int64_t i = 0; i < s.row; ++i)
      ctx.out(1).mutable_data<float>()[n * s.row + i] = static_cast<float>(sum[static_cast<size_t>(i)]);
    ++n;
  }
  ctx.out(2).mutable_data<int64_t>()[0] = n;
  return {};
}

Status lower_start(LowerContext& ctx) {
  const auto& a = ctx.attrs<ExchangeAttrs>();
  LOWP_ASSIGN(const std::shared_ptr<ExchangeQueue> queue, exchanges_of(a.ranks));
  const int64_t most = ctx.in_size(kRows);
  const auto layout = SlotLayout::for_batch_of(most, a, ctx.in(kStartTable));
  const bool wants_ticket = ctx.wants(1);
  ctx.emit("gather_rows_start." + a.wire, [=](const StepArgs& s) {
    auto* slots = s.out<std::byte>(0);
    *s.status = fill_slots(layout, queue != nullptr ? queue->rank() : 0, s.in<int64_t>(kRows), s.in<float>(kValues),
                           *s.in<int64_t>(kCount), most, slots);
    if (!s.status->is_ok()) return;
    const size_t bytes = layout.slot_bytes * static_cast<size_t>(layout.ranks);
    const int64_t ticket = queue != nullptr ? queue->start_gather({slots, bytes}, layout.slot_bytes) : 0;
    if (wants_ticket) *s.out<int64_t>(1) = ticket;
  });
  return {};
}

Status lower_wait(LowerContext& ctx) {
  const auto& a = ctx.attrs<ExchangeAttrs>();
  LOWP_ASSIGN(const std::shared_ptr<ExchangeQueue> queue, exchanges_of(a.ranks));
  const auto layout = SlotLayout::for_slots_of(ctx.in_size(kSlots), a, ctx.in(kTable));
  ctx.set_scratch(static_cast<size_t>(layout.ranks) * sizeof(Incoming));
  ctx.emit("gather_rows_wait." + a.wire, [=](const StepArgs& s) {
    if (queue != nullptr) {
      *s.status = queue->wait(*s.in<int64_t>(kTicket));
      if (!s.status->is_ok()) return;
    }
    const float share = queue != nullptr ? 1.0F / static_cast<float>(layout.ranks) : 1.0F;
    *s.status = merge(layout, s.in<std::byte>(kSlots), share, static_cast<Incoming*>(s.scratch), s.out<int64_t>(0),
                      s.out<float>(1), s.out<int64_t>(2));
  });
  return {};
}

std::vector<Sample> start_samples() {
  // As many rows as a slot has room for: what lies behind them is not defined.
  const SampleInput rows = given(Tensor::from<int64_t>({2}, {0, 1})), count = given(Tensor::scalar(int64_t{2}));
  const SampleInput values{DType::kF32, {2, 3, 2}};
  return {{{}, {rows, values, count, values}, 2, 0},
          {{{"wire", std::string("bf16")}}, {rows, values, count, values}, 2, 0}};
}

// Rows 1 and 4 of a table of 5 in one slot.
Sample wait_sample(const ExchangeAttrs& a) {
  const Extents table = {5, 3};
  const auto layout = SlotLayout::for_batch_of(3, a, table);
  Tensor slots = Tensor::zeros(DType::kU8, {static_cast<int64_t>(layout.slot_bytes)});
  const int64_t rows[] = {1, 4};
  const float values[] = {1, 2, 3, 4, 5, 6};
  const Status filled = fill_slots(layout, 0, rows, values, 2, 3, static_cast<std::byte*>(slots.mutable_raw()));
  LOWP_CHECK(filled.is_ok());
  return {{{"wire", a.wire}}, {given(std::move(slots)), given(Tensor::scalar(int64_t{0})), {DType::kF32, table}}, 3, 0};
}
std::vector<Sample> wait_samples() { return {wait_sample({1, "f32"}), wait_sample({1, "bf16"})}; }

}  // namespace

std::vector<OpDef> gather_rows() {
  OpDef s;
  s.name = "GatherRowsStart";
  s.domain = kLowpDomain;
  s.min_inputs = s.max_inputs = 4;
  s.min_outputs = s.max_outputs = 2;
  s.attrs = ir::AttrCodec::of<ExchangeAttrs>();
  s.infer = infer_start;
  s.reference = start;
  s.lower = lower_start;
  s.pure = false;
  s.samples = start_samples;
  OpDef w;
  w.name = "GatherRowsWait";
  w.domain = kLowpDomain;
  w.min_inputs = w.max_inputs = 3;
  w.min_outputs = w.max_outputs = 3;
  w.attrs = ir::AttrCodec::of<ExchangeAttrs>();
  w.infer = infer_wait;
  w.reference = wait;
  w.lower = lower_wait;
  w.pure = false;
  w.samples = wait_samples;
  return {std::move(s), std::move(w)};
}

}  // namespace lowp::ops
