/// What fuzz targets check with.
#pragma once

#include <cstdio>
#include <cstdlib>

/// Ends the program if the condition does not hold; whoever drives the target then keeps the input.
#define REQUIRE(condition) \
  do { \
    if (!(condition)) { \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort(); \
    } \
  } while (false)
