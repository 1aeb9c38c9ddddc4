// Between a dense weight and the values of its connections, in the order of its pattern's rows:
//
//   lsh::read_live       the values
//   lsh::write_live_     back into the weight, which stays as it is elsewhere
//   lsh::average_live_   age += 1, mean += (value - mean) / age, at the connections of two tensors of the weight's
//                        shape
//   lsh::adam_live_      a step of Adam, whose two means are such tensors
//
// Bound by main memory: of a weight that is 90 % sparse, four of five cache lines hold a connection.
#include <torch/csrc/stable/library.h>

#include <cmath>

#include "common/team.h"
#include "sparsity/cpu_patterns.h"

namespace lsh {
namespace {

// A weight, its shape taken from itself, with its pattern.
PatternView pattern_of(const Tensor& weight, const Tensor& pattern, const char* name) {
  check_dimensions(weight, 2, name);
  check_floating(weight, name);
  STD_TORCH_CHECK(weight.is_contiguous() && weight.is_cpu(), name, " must be contiguous and on the CPU");
  return CpuPatterns::view(pattern, weight.size(0), weight.size(1), "pattern");
}

void check_values(const Tensor& values, const PatternView& pattern, const Tensor& weight) {
  check_operand(values, weight, "values", "weight");
  check_shape(values, {pattern.non_zeros}, "values");
}

// body(place in the weight, place among the values) for every connection; a worker has whole rows.
template <class Body>
void for_each_live(const PatternView& pattern, const Body& body) {
  run_team(1 + pattern.non_zeros / 262144, [&](const Worker& worker) {
    const Range rows = share_by_cost(worker, pattern.rows, pattern.row_offsets, 1);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t k = pattern.row_offsets[row]; k < pattern.row_offsets[row + 1]; ++k) {
        body(row * pattern.columns + pattern.column_of[k], k);
      }
    }
  });
}

template <class T>
void read(const Tensor& weight, const PatternView& pattern, Tensor& values) {
  const T* from = static_cast<const T*>(weight.const_data_ptr());
  T* to = static_cast<T*>(values.mutable_data_ptr());
  for_each_live(pattern, [=](int64_t place, int64_t k) { to[k] = from[place]; });
}

Tensor read_live(Tensor weight, Tensor pattern) {
  const PatternView view = pattern_of(weight, pattern, "weight");
  Tensor values = torch::stable::new_empty(weight, {view.non_zeros});
  (weight.scalar_type() == ScalarType::Float ? &read<float> : &read<double>)(weight, view, values);
  return values;
}

template <class T>
void write(Tensor& weight, const PatternView& pattern, const Tensor& values) {
  T* to = static_cast<T*>(weight.mutable_data_ptr());
  const T* from = static_cast<const T*>(values.const_data_ptr());
  for_each_live(pattern, [=](int64_t place, int64_t k) { to[place] = from[k]; });
}

void write_live_(Tensor weight, Tensor values, Tensor pattern) {
  const PatternView view = pattern_of(weight, pattern, "weight");
  check_values(values, view, weight);
  (weight.scalar_type() == ScalarType::Float ? &write<float> : &write<double>)(weight, view, values);
}

template <class T>
void average(Tensor& age, Tensor& mean, const PatternView& pattern, const Tensor& values) {
  T* ages = static_cast<T*>(age.mutable_data_ptr());
  T* means = static_cast<T*>(mean.mutable_data_ptr());
  const T* from = static_cast<const T*>(values.const_data_ptr());
  for_each_live(pattern, [=](int64_t place, int64_t k) {
    ages[place] += 1;
    // at age 1 the value itself, whatever stood there before
    means[place] = ages[place] == 1 ? from[k] : means[place] + (from[k] - means[place]) / ages[place];
  });
}

// Two tensors of a weight's shape that hold something of its connections.
PatternView pattern_of_pair(const Tensor& one, const Tensor& other, const Tensor& pattern, const char* one_name,
                            const char* other_name) {
  const PatternView view = pattern_of(one, pattern, one_name);
  check_operand(other, one, other_name, one_name);
  check_shape(other, {view.rows, view.columns}, other_name);
  return view;
}

void average_live_(Tensor age, Tensor mean, Tensor values, Tensor pattern) {
  const PatternView view = pattern_of_pair(age, mean, pattern, "age", "mean");
  check_values(values, view, age);
  (age.scalar_type() == ScalarType::Float ? &average<float> : &average<double>)(age, mean, view, values);
}

struct AdamStep {
  double beta1, beta2, rate, root, epsilon;
};

template <class T>
void adam(Tensor& mean, Tensor& square, Tensor& values, const Tensor& gradient, const PatternView& pattern,
          const AdamStep& step) {
  T* means = static_cast<T*>(mean.mutable_data_ptr());
  T* squares = static_cast<T*>(square.mutable_data_ptr());
  T* to = static_cast<T*>(values.mutable_data_ptr());
  const T* from = static_cast<const T*>(gradient.const_data_ptr());
  const T new1 = T(1 - step.beta1), old2 = T(step.beta2), new2 = T(1 - step.beta2);
  const T rate = T(step.rate), root = T(step.root), epsilon = T(step.epsilon);
  for_each_live(pattern, [=](int64_t place, int64_t k) {
    const T g = from[k];
    const T m = means[place] + (g - means[place]) * new1, s = squares[place] * old2 + g * g * new2;
    means[place] = m;
    squares[place] = s;
    to[k] -= rate * m / (std::sqrt(s) / root + epsilon);
  });
}

void adam_live_(Tensor mean, Tensor square, Tensor values, Tensor gradient, Tensor pattern, double beta1, double beta2,
                double rate, double root, double epsilon) {
  const PatternView view = pattern_of_pair(mean, square, pattern, "mean", "square");
  check_values(values, view, mean);
  check_operand(gradient, mean, "gradient", "mean");
  check_shape(gradient, {view.non_zeros}, "gradient");
  (mean.scalar_type() == ScalarType::Float ? &adam<float> : &adam<double>)(mean, square, values, gradient, view,
                                                                           {beta1, beta2, rate, root, epsilon});
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("read_live(Tensor weight, Tensor pattern) -> Tensor");
  m.def("write_live_(Tensor(a!) weight, Tensor values, Tensor pattern) -> ()");
  m.def("average_live_(Tensor(a!) age, Tensor(b!) mean, Tensor values, Tensor pattern) -> ()");
  m.def(
      "adam_live_(Tensor(a!) mean, Tensor(b!) square, Tensor(c!) values, Tensor gradient, Tensor pattern, float beta1, "
      "float beta2, float rate, float root, float epsilon) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("read_live", TORCH_BOX(&read_live));
  m.impl("write_live_", TORCH_BOX(&write_live_));
  m.impl("average_live_", TORCH_BOX(&average_live_));
  m.impl("adam_live_", TORCH_BOX(&adam_live_));
}

}  // namespace lsh
