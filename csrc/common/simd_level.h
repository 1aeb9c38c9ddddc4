// Which of the three builds of a kernel file runs: baseline x86-64, x86-64-v3 (AVX2) or x86-64-v4 (AVX-512).
//
// A kernel file `name.simd.cpp` is compiled once per level, each time inside its own namespace
// lsh::baseline, lsh::v3 or lsh::v4 (the macro LSH_LEVEL), and exports one table of function pointers.
// Nothing in such a file may have a name outside that namespace: an inline function of a shared header,
// compiled for AVX-512 and kept by the linker for everybody, would crash older machines.
#pragma once

#include <cstdint>

namespace lsh {

enum class SimdLevel { baseline = 0, v3 = 1, v4 = 2 };

// The level in use: the best one this processor has, or the one that LSH_SIMD=baseline|v3|v4 names.
// Throws std::runtime_error when LSH_SIMD names no level or one that the processor lacks.
SimdLevel simd_level();

const char* simd_level_name(SimdLevel level);

// Bytes of the widest vector of the level in use.
int64_t simd_vector_bytes();

// The best level of this processor.
SimdLevel detected_simd_level();

}  // namespace lsh

// Declares the three builds of the table `name` of type `Table`, and `name_table()`, which gives the one to use. With
// LSH_ONLY_LEVEL there is one.
#if defined(LSH_ONLY_LEVEL)
#define LSH_DISPATCH(Table, name) \
  namespace LSH_ONLY_LEVEL {      \
  extern const Table name;        \
  }                               \
  inline const Table& name##_table() { return ::lsh::LSH_ONLY_LEVEL::name; }
#else
#define LSH_DISPATCH(Table, name)      \
  namespace baseline {                 \
  extern const Table name;             \
  }                                    \
  namespace v3 {                       \
  extern const Table name;             \
  }                                    \
  namespace v4 {                       \
  extern const Table name;             \
  }                                    \
  inline const Table& name##_table() { \
    switch (simd_level()) {            \
      case SimdLevel::v4:              \
        return v4::name;               \
      case SimdLevel::v3:              \
        return v3::name;               \
      default:                         \
        return baseline::name;         \
    }                                  \
  }
#endif
