// The communicator over MPI, where lowp was built with it.
#pragma once

#include <memory>
#include <string>

#include "base/communicator.h"

namespace lowp::train {

// Loads `library` (liblowp_mpi.so), and MPI with it, and starts MPI; once a process, which mpirun or its like started.
// kUnsupported: there is no such library: lowp was built without MPI. Its destructor ends MPI, which waits for all
// ranks.
Result<std::unique_ptr<Communicator>> mpi_communicator(const std::string& library);

}  // namespace lowp::train
