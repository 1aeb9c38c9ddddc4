// Order theory for Python: arrays in, arrays out.
#pragma once

#include <pybind11/pybind11.h>

namespace lsh {

void bind_lattice(pybind11::module_& module);

}  // namespace lsh
