/* What the parts of the kernel share: how they are compiled, and how rows are padded. */
#pragma once
#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "floats must be rounded after each operation"
#endif

/* With PORTABLE, nothing but C99: what other processors run. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(PORTABLE)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif
#if defined(__x86_64__) && defined(__GNUC__) && !defined(PORTABLE)
#include <immintrin.h>
#define HAS_AVX2 __attribute__((target("avx2")))
#endif
#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 32, TILE = 16, SLACK = 64 }; /* values that are worked on together; side of a transposed tile */

static ptrdiff_t padded(ptrdiff_t length) { return (length + BLOCK - 1) / BLOCK * BLOCK; }
