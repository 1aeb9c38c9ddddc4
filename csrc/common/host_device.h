// Marks what host and device both compute: index maps, layouts and schedules, which tests run on the host.
#pragma once

#if defined(__CUDACC__)
#define LSH_ON_BOTH __host__ __device__
#else
#define LSH_ON_BOTH
#endif
