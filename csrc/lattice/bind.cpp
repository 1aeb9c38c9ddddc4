#include "lattice/bind.h"

#include <pybind11/numpy.h>

#include <cmath>
#include <stdexcept>
#include <string>

#include "lattice/condense.h"
#include "lattice/irreducible.h"
#include "lattice/max_min.h"

namespace py = pybind11;

namespace lsh {

namespace {

using Bools = py::array_t<bool, py::array::c_style>;

struct CyclicError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// What `compute` returns, computed while other threads may run Python.
template <class Compute>
auto aside(const Compute& compute) {
  py::gil_scoped_release release;
  return compute();
}

std::string shape_text(const py::array& array) { return py::str(array.attr("shape")); }

void check_matrix(const py::array& array, const char* name, bool square) {
  if (array.ndim() != 2) {
    throw py::value_error(std::string(name) + " must have two dimensions, got shape " + shape_text(array));
  }
  if (square && array.shape(0) != array.shape(1)) {
    throw py::value_error(std::string(name) + " must be square, got shape " + shape_text(array));
  }
}

BitMatrix bits_of(const py::array& array, const char* name, bool square) {
  if (array.dtype().kind() != 'b') {
    throw py::type_error(std::string(name) + " must be bool, got " + std::string(py::str(array.dtype())) +
                         "; compare it with a threshold first");
  }
  check_matrix(array, name, square);
  const Bools bools(array);
  const auto* bytes = static_cast<const unsigned char*>(bools.request().ptr);
  const int64_t rows = bools.shape(0), columns = bools.shape(1);
  return aside([&] { return pack(bytes, rows, columns); });
}

Bools array_of(const std::vector<bool>& values) {
  Bools result(int64_t(values.size()));
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

py::array_t<int64_t> array_of(const std::vector<int64_t>& values) {
  return py::array_t<int64_t>(int64_t(values.size()), values.data());
}

void check_acyclic(const Condensed& condensed, const char* name) {
  const auto [a, b] = cycle(condensed);
  if (a < 0) return;
  throw CyclicError(std::string(name) + " must have no cycle, but elements " + std::to_string(a) + " and " +
                    std::to_string(b) + " reach each other; condensation() makes one element of them");
}

// An (n, n) array that relates elements as `between` relates their components, and those of one where `inside` says so.
Bools spread(const Condensed& condensed, const BitMatrix& between, const std::vector<bool>& inside) {
  const int64_t n = int64_t(condensed.component.size());
  Bools result({n, n});
  bool* entries = result.mutable_data();
  const auto mark = [&](bool* row, int64_t c) {
    for (int64_t k = condensed.begin[c]; k < condensed.begin[c + 1]; ++k) row[condensed.elements[k]] = true;
  };
  py::gil_scoped_release release;
  for (int64_t c = 0; c < condensed.count(); ++c) {
    bool* row = entries + condensed.first(c) * n;
    std::fill_n(row, n, false);
    if (inside[c]) mark(row, c);
    for_each_bit(between.row(c), between.words(), [&](int64_t target) { mark(row, target); });
    for (int64_t k = condensed.begin[c] + 1; k < condensed.begin[c + 1]; ++k) {
      std::copy_n(row, n, entries + condensed.elements[k] * n);
    }
  }
  return result;
}

Bools transitive_closure(const py::array& relation, bool reflexive) {
  const BitMatrix bits = bits_of(relation, "relation", true);
  const Condensed condensed = aside([&] { return condense(bits); });
  const BitMatrix above = aside([&] { return reach(condensed.edges).above; });
  return spread(condensed, above, reflexive ? std::vector<bool>(condensed.count(), true) : condensed.cyclic);
}

Bools transitive_reduction(const py::array& relation) {
  const BitMatrix bits = bits_of(relation, "relation", true);
  const Condensed condensed = aside([&] { return condense(bits); });
  check_acyclic(condensed, "relation");
  const BitMatrix covers = aside([&] { return reach(condensed.edges).covers; });
  return spread(condensed, covers, std::vector<bool>(condensed.count(), false));
}

py::tuple condensation(const py::array& relation) {
  const BitMatrix bits = bits_of(relation, "relation", true);
  Condensed condensed = aside([&] { return condense(bits); });
  const BitMatrix above = aside([&] { return reach(condensed.edges).above; });
  // Topological numbers depend on how the search went; here components are numbered by their first elements.
  std::vector<int64_t> number(condensed.count()), topological;
  for (int64_t element = 0; element < int64_t(condensed.component.size()); ++element) {
    const int64_t c = condensed.component[element];
    if (condensed.first(c) != element) continue;
    number[c] = int64_t(topological.size());
    topological.push_back(c);
  }
  for (int64_t& component : condensed.component) component = number[component];
  Bools order({condensed.count(), condensed.count()});
  bool* row = order.mutable_data();
  for (const int64_t a : topological) {
    std::fill_n(row, condensed.count(), false);
    row[number[a]] = true;
    for_each_bit(above.row(a), above.words(), [&](int64_t b) { row[number[b]] = true; });
    row += condensed.count();
  }
  return py::make_tuple(array_of(condensed.component), order);
}

// Says why a relation is no order.
void refuse_order(const BitMatrix& relation) {
  check_acyclic(aside([&] { return condense(relation); }), "order");
  throw py::value_error("order must be transitive, got a relation that is not; transitive_closure() makes it so");
}

Bools meet_irreducible(const py::array& order) {
  const BitMatrix bits = bits_of(order, "order", true);
  Sorted sorted = aside([&] { return sort_by_height(bits); });
  if (!aside([&] { return is_order(sorted); })) refuse_order(bits);
  std::vector<bool> result(bits.rows());
  aside([&] {
    for (int64_t m = 0; m < bits.rows(); ++m) sorted.below.set(m, m);
    const std::vector<bool> of_sorted = irreducible(sorted.below, sorted.above);
    for (int64_t m = 0; m < bits.rows(); ++m) result[sorted.elements[m]] = of_sorted[m];
  });
  return array_of(result);
}

Bools irreducible_columns(const py::array& context, bool shared) {
  const BitMatrix bits = bits_of(context, "context", false);
  return array_of(aside([&] { return irreducible(transposed(bits), shared); }));
}

py::array_t<int64_t> equal_columns(const py::array& context) {
  const BitMatrix bits = bits_of(context, "context", false);
  return array_of(aside([&] { return first_equal(transposed(bits)); }));
}

template <class T>
py::array max_min_of(const py::array& array) {
  const py::array_t<T, py::array::c_style> weights(array);
  const int64_t n = weights.shape(0);
  py::array_t<T, py::array::c_style> closure({n, n});
  const T *source = weights.data(), *end = source + n * n;
  T* target = closure.mutable_data();
  for (const T* weight = source; weight != end; ++weight) {
    if (!(std::isfinite(*weight) && *weight >= 0)) {
      throw py::value_error("weights must be finite and not negative, got " + std::to_string(*weight));
    }
  }
  std::fill_n(target, n * n, T{0});
  py::gil_scoped_release release;
  max_min_closure(source, target, n);
  return closure;
}

py::array max_min(const py::array& weights) {
  const bool single = py::isinstance<py::array_t<float>>(weights);
  if (!single && !py::isinstance<py::array_t<double>>(weights)) {
    throw py::type_error("weights must be float32 or float64, got " + std::string(py::str(weights.dtype())));
  }
  check_matrix(weights, "weights", true);
  return single ? max_min_of<float>(weights) : max_min_of<double>(weights);
}

}  // namespace

void bind_lattice(py::module_& module) {
  py::register_exception<CyclicError>(module, "CyclicError", PyExc_ValueError);
  module.def("transitive_closure", &transitive_closure, py::arg("relation"), py::arg("reflexive"));
  module.def("transitive_reduction", &transitive_reduction, py::arg("relation"));
  module.def("condensation", &condensation, py::arg("relation"));
  module.def("meet_irreducible", &meet_irreducible, py::arg("order"));
  module.def("irreducible_columns", &irreducible_columns, py::arg("context"), py::arg("shared"));
  module.def("equal_columns", &equal_columns, py::arg("context"));
  module.def("max_min_closure", &max_min, py::arg("weights"));
}

}  // namespace lsh
