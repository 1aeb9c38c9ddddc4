// lsh::sparse_rows: rows of a sparse table, as an embedding looks them up; and the gradient of the table's values.
//
// Bound by writing the rows out. The gradient of an entry is summed in the order of the ids by one worker.
#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "common/team.h"
#include "sparsity/cpu_patterns.h"

namespace lsh {
namespace {

struct Table {
  PatternView pattern;
  const int64_t* ids;
  int64_t count;
};

// Throws unless ids (N) are rows of the table, and `values` (connections) its values.
Table check_table(const Tensor& ids, const Tensor& values, const Tensor& pattern, int64_t rows, int64_t columns) {
  check_floating(values, "values");
  STD_TORCH_CHECK(values.is_contiguous() && values.is_cpu(), "values must be contiguous and on the CPU");
  check_dimensions(ids, 1, "ids");
  STD_TORCH_CHECK(ids.scalar_type() == ScalarType::Long && ids.is_contiguous() && ids.is_cpu(),
                  "ids must be int64, contiguous and on the CPU, got ", dtype_name(ids.scalar_type()));
  const Table table{CpuPatterns::view(pattern, rows, columns, "pattern"), ids.const_data_ptr<int64_t>(), ids.size(0)};
  check_shape(values, {table.pattern.non_zeros}, "values");
  for (int64_t i = 0; i < table.count; ++i) {
    STD_TORCH_CHECK(table.ids[i] >= 0 && table.ids[i] < rows, "ids must be in [0, ", rows, "), got ", table.ids[i]);
  }
  return table;
}

template <class T>
void look_up(const Table& table, const Tensor& values, Tensor& output) {
  const PatternView& p = table.pattern;
  const T* from = static_cast<const T*>(values.const_data_ptr());
  T* out = static_cast<T*>(output.mutable_data_ptr());
  run_team(1 + table.count * p.columns / 262144, [&](const Worker& worker) {
    const Range own = share(worker, table.count);
    for (int64_t i = own.begin; i < own.end; ++i) {
      T* row = out + i * p.columns;
      std::fill_n(row, p.columns, T(0));
      const int64_t id = table.ids[i];
      for (int64_t k = p.row_offsets[id]; k < p.row_offsets[id + 1]; ++k) row[p.column_of[k]] = from[k];
    }
  });
}

Tensor sparse_rows(Tensor ids, Tensor values, Tensor pattern, int64_t rows, int64_t columns) {
  const Table table = check_table(ids, values, pattern, rows, columns);
  Tensor output = torch::stable::new_empty(values, {table.count, columns});
  (values.scalar_type() == ScalarType::Float ? &look_up<float> : &look_up<double>)(table, values, output);
  return output;
}

template <class T>
void add_up(const Table& table, const Tensor& grad_output, Tensor& gradient) {
  const PatternView& p = table.pattern;
  const T* grads = static_cast<const T*>(grad_output.const_data_ptr());
  T* out = static_cast<T*>(gradient.mutable_data_ptr());
  run_team(1 + p.non_zeros / 262144, [&](const Worker& worker) {
    const Range own = share(worker, p.rows);
    std::fill(out + p.row_offsets[own.begin], out + p.row_offsets[own.end], T(0));
    for (int64_t i = 0; i < table.count; ++i) {
      const int64_t id = table.ids[i];
      if (id < own.begin || id >= own.end) continue;
      const T* row = grads + i * p.columns;
      for (int64_t k = p.row_offsets[id]; k < p.row_offsets[id + 1]; ++k) out[k] += row[p.column_of[k]];
    }
  });
}

Tensor sparse_rows_backward(Tensor grad_output, Tensor ids, Tensor values, Tensor pattern, int64_t rows) {
  check_dimensions(grad_output, 2, "grad_output");
  const Table table = check_table(ids, values, pattern, rows, grad_output.size(1));
  check_operand(grad_output, values, "grad_output", "values");
  check_shape(grad_output, {table.count, table.pattern.columns}, "grad_output");
  Tensor gradient = torch::stable::new_empty(values, {table.pattern.non_zeros});
  (values.scalar_type() == ScalarType::Float ? &add_up<float> : &add_up<double>)(table, grad_output, gradient);
  return gradient;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("sparse_rows(Tensor ids, Tensor values, Tensor pattern, int rows, int columns) -> Tensor");
  m.def("sparse_rows_backward(Tensor grad_output, Tensor ids, Tensor values, Tensor pattern, int rows) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("sparse_rows", TORCH_BOX(&sparse_rows));
  m.impl("sparse_rows_backward", TORCH_BOX(&sparse_rows_backward));
}

}  // namespace lsh
