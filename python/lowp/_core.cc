#include <nanobind/nanobind.h>

NB_MODULE(_core, module) {
  module.def(
      "version", [] { return LOWP_VERSION; }, "The version of lowp.");
}
