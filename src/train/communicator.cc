#include "train/communicator.h"

#include <dlfcn.h>

namespace lowp::train {

Result<std::unique_ptr<Communicator>> mpi_communicator(const std::string& library) {
  // Global: MPI's plug-ins look for its symbols among those of the process.
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    return fail(error(Code::kUnsupported, "MPI cannot be used: {}", why != nullptr ? why : library)
                    .with_hint("install libopenmpi-dev and build lowp again"));
  }
  using Make = Communicator*(Status*);
  auto* make = reinterpret_cast<Make*>(dlsym(handle, "lowp_mpi_communicator"));
  if (make == nullptr) return fail(Code::kUnsupported, "'{}' is not lowp's", library);
  Status status;
  std::unique_ptr<Communicator> made(make(&status));
  if (made == nullptr) return fail(std::move(status));
  return made;
}

}  // namespace lowp::train
