// The max-min closure of a weighted relation: the weakest step of the strongest path between any two elements.
#pragma once

#include <cstdint>

namespace lsh {

// `closure` (n, n), zeros beforehand, receives the closure of `weights` (n, n), which are finite and not negative; zero
// is no path. Steps are taken in from the strongest on, each pair is settled when it is first connected: n^3 / 64 words
// at most, and far fewer where few steps connect everything.
template <class T>
void max_min_closure(const T* weights, T* closure, int64_t n);

}  // namespace lsh
