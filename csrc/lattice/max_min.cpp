#include "lattice/max_min.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "common/bits.h"

namespace lsh {

namespace {

// Which elements reach which, both ways, while steps are added.
template <class T>
class Growing {
 public:
  Growing(T* closure, int64_t n) : closure_(closure), n_(n), from_(n, n), to_(n, n), gaining_(from_.words()) {}

  bool complete() const { return connected_ == n_ * n_; }

  void add(int64_t source, int64_t target, T weight) {
    if (from_.test(source, target)) return;
    for (int64_t w = 0; w < from_.words(); ++w) gaining_[w] = to_.row(source)[w] & ~to_.row(target)[w];
    gaining_[source >> 6] |= uint64_t{1} << (source & 63);
    for_each_bit(gaining_.data(), from_.words(), [&](int64_t x) {
      connect(x, target, weight);
      for (int64_t w = 0; w < from_.words(); ++w) {
        for (uint64_t gained = from_.row(target)[w] & ~from_.row(x)[w]; gained != 0; gained &= gained - 1) {
          connect(x, w * 64 + std::countr_zero(gained), weight);
        }
      }
    });
  }

 private:
  void connect(int64_t x, int64_t y, T weight) {
    from_.set(x, y);
    to_.set(y, x);
    closure_[x * n_ + y] = weight;
    ++connected_;
  }

  T* closure_;
  int64_t n_, connected_ = 0;
  BitMatrix from_, to_;
  std::vector<uint64_t> gaining_;
};

}  // namespace

template <class T>
void max_min_closure(const T* weights, T* closure, int64_t n) {
  const int64_t size = n * n;
  std::vector<T> left;
  std::copy_if(weights, weights + size, std::back_inserter(left), [](T weight) { return weight > 0; });
  Growing<T> growing(closure, n);
  std::vector<int64_t> steps;
  T upper = std::numeric_limits<T>::infinity();
  // All is often connected long before the weakest steps: the strongest are sorted piece by piece.
  for (int64_t piece = 8 * n; !left.empty() && !growing.complete(); piece *= 4) {
    const int64_t count = std::min<int64_t>(piece, left.size());
    std::nth_element(left.begin(), left.begin() + (count - 1), left.end(), std::greater<T>());
    const T lower = left[count - 1];
    left.erase(left.begin(), std::partition(left.begin(), left.end(), [&](T weight) { return weight >= lower; }));
    steps.clear();
    for (int64_t step = 0; step < size; ++step) {
      if (weights[step] >= lower && weights[step] < upper) steps.push_back(step);
    }
    std::sort(steps.begin(), steps.end(), [&](int64_t a, int64_t b) { return weights[a] > weights[b]; });
    for (const int64_t step : steps) {
      growing.add(step / n, step % n, weights[step]);
      if (growing.complete()) return;
    }
    upper = lower;
  }
}

template void max_min_closure(const float*, float*, int64_t);
template void max_min_closure(const double*, double*, int64_t);

}  // namespace lsh
