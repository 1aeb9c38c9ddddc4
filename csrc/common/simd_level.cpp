#include "common/simd_level.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace lsh {

SimdLevel detected_simd_level() {
  if (__builtin_cpu_supports("x86-64-v4")) return SimdLevel::v4;
  if (__builtin_cpu_supports("x86-64-v3")) return SimdLevel::v3;
  return SimdLevel::baseline;
}

const char* simd_level_name(SimdLevel level) {
  switch (level) {
    case SimdLevel::v4:
      return "v4";
    case SimdLevel::v3:
      return "v3";
    default:
      return "baseline";
  }
}

namespace {

SimdLevel wished_level() {
  const SimdLevel best = detected_simd_level();
  const char* wish = std::getenv("LSH_SIMD");
  if (wish == nullptr || *wish == '\0') return best;
  for (const SimdLevel level : {SimdLevel::baseline, SimdLevel::v3, SimdLevel::v4}) {
    if (std::string(wish) != simd_level_name(level)) continue;
    if (level > best) {
      throw std::runtime_error(std::string("LSH_SIMD must name a level this processor has (up to ") +
                               simd_level_name(best) + "), got " + wish);
    }
    return level;
  }
  throw std::runtime_error(std::string("LSH_SIMD must be baseline, v3 or v4, got ") + wish);
}

SimdLevel chosen_level() {
  const SimdLevel level = wished_level();
#if defined(LSH_ONLY_LEVEL)
  if (level != SimdLevel::LSH_ONLY_LEVEL) {
    throw std::runtime_error(std::string("the SIMD level must be the only one of this build, ") +
                             simd_level_name(SimdLevel::LSH_ONLY_LEVEL) + ", got " + simd_level_name(level));
  }
#endif
  return level;
}

}  // namespace

SimdLevel simd_level() {
  static const SimdLevel level = chosen_level();
  return level;
}

int64_t simd_vector_bytes() { return 16 << int(simd_level()); }

}  // namespace lsh
