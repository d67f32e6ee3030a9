// The ranks of data parallel training, for lowp.train.parallel.
#include "train/communicator.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include "base/exchange_queue.h"
#include "bindings.h"
#include "errors.h"

namespace lowp::python {
namespace {

using Bytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::shared_ptr<ExchangeQueue> queue() {
  std::shared_ptr<ExchangeQueue> q = process_exchanges();
  if (q == nullptr) throw_status(error(Code::kUnsupported, "this process has no communicator"));
  return q;
}

void wait(ExchangeQueue& q, int64_t ticket) {
  Status status;
  {
    const nb::gil_scoped_release release;
    status = q.wait(ticket);
  }
  check(std::move(status));
}

}  // namespace

void bind_communicator(nb::module_& module) {
  module.def(
      "start_mpi",
      [](const std::string& library) {
        set_process_exchanges(std::make_shared<ExchangeQueue>(value_or_throw(train::mpi_communicator(library))));
        return nb::make_tuple(queue()->rank(), queue()->ranks());
      },
      nb::arg("library"), "Makes this process a rank; gives rank and ranks.");
  module.def(
      "broadcast",
      [](const Bytes& data, int root) {
        const auto q = queue();
        wait(*q, q->start_broadcast({reinterpret_cast<std::byte*>(data.data()), data.size()}, root));
      },
      nb::arg("data"), nb::arg("root"), "All ranks get root's bytes.");
  module.def(
      "mean_of_ranks",
      [](const Floats& values) {
        const auto q = queue();
        wait(*q, q->start_mean({values.data(), values.size()}, Wire::kF32));
      },
      nb::arg("values"), "Replaces the values by their means.");
  module.def(
      "close_communicator",
      [] {
        const auto q = queue();
        const nb::gil_scoped_release release;
        q->close();
      },
      "Waits for all ranks and ends MPI.");
  module.def(
      "abort_ranks", [](int status) { queue()->abort(status); }, nb::arg("status"), "Ends the processes of all ranks.");
}

}  // namespace lowp::python
