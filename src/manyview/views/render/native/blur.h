/* Blur: a symmetric kernel along both axes, weights in 1/256 with sum 256, edges repeated, rounded once. */
#pragma once
#include "common.h"

FOR_EACH_CPU
static void blur_anywhere(const uint8_t *restrict plane, ptrdiff_t stride, int size, const uint16_t *weights, int reach,
                 uint16_t *restrict row, uint32_t *restrict sums, uint8_t *restrict target) {
    uint16_t *inner = row + reach;
    for (int y = 0; y < size; y++) {
        const uint8_t *center = plane + y * stride;
        for (int x = 0; x < size; x++) inner[x] = (uint16_t)(weights[0] * center[x]);
        for (int k = 1; k <= reach; k++) {
            const uint8_t *above = plane + (y > k ? y - k : 0) * stride;
            const uint8_t *below = plane + (y + k < size ? y + k : size - 1) * stride;
            uint16_t weight = weights[k];
            for (int x = 0; x < size; x++) inner[x] = (uint16_t)(inner[x] + weight * (above[x] + below[x]));
        }
        for (int k = 1; k <= reach; k++) {
            inner[-k] = inner[0];
            inner[size - 1 + k] = inner[size - 1];
        }
        for (int x = 0; x < size; x++) sums[x] = (uint32_t)weights[0] * inner[x] + (1 << 15);
        for (int k = 1; k <= reach; k++) {
            uint32_t weight = weights[k];
            for (int x = 0; x < size; x++) sums[x] += weight * ((uint32_t)inner[x - k] + inner[x + k]);
        }
        for (int x = 0; x < size; x++) target[y * stride + x] = (uint8_t)(sums[x] >> 16);
    }
}

#ifdef HAS_AVX2
/* The sums of a row of columns less 2 ** 15, so that 16 bits with a sign hold them; sixteen at a time, as below. */
HAS_AVX2 static void blur_down(const uint8_t *plane, ptrdiff_t stride, int size, int y, const uint16_t *weights,
                               int reach, int16_t *inner) {
    const __m256i shifted = _mm256_set1_epi16(INT16_MIN);
    for (int x = 0; x < size; x += 16) {
        __m256i sum = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(plane + y * stride + x)));
        sum = _mm256_mullo_epi16(sum, _mm256_set1_epi16((int16_t)weights[0]));
        for (int k = 1; k <= reach; k++) {
            const uint8_t *above = plane + (y > k ? y - k : 0) * stride + x;
            const uint8_t *below = plane + (y + k < size ? y + k : size - 1) * stride + x;
            __m256i both = _mm256_add_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)above)),
                                            _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)below)));
            sum = _mm256_add_epi16(sum, _mm256_mullo_epi16(both, _mm256_set1_epi16((int16_t)weights[k])));
        }
        _mm256_storeu_si256((__m256i *)(inner + x), _mm256_xor_si256(sum, shifted));
    }
    for (int k = 1; k <= reach; k++) {
        inner[-k] = inner[0];
        inner[size - 1 + k] = inner[size - 1];
    }
}

HAS_AVX2 static void blur_avx2(const uint8_t *restrict plane, ptrdiff_t stride, int size, const uint16_t *weights,
                               int reach, uint16_t *restrict row, uint32_t *restrict sums, uint8_t *restrict target) {
    (void)sums;
    const int16_t *inner = (int16_t *)row + reach;
    const __m256i zero = _mm256_setzero_si256(), added = _mm256_set1_epi32((256 << 15) + (1 << 15));
    for (int y = 0; y < size; y++, target += stride) {
        blur_down(plane, stride, size, y, weights, reach, (int16_t *)row + reach);
        for (int x = 0; x < size; x += 16) {
            __m256i center = _mm256_loadu_si256((const __m256i *)(inner + x)), pair = _mm256_set1_epi32(weights[0]);
            __m256i low = _mm256_add_epi32(added, _mm256_madd_epi16(_mm256_unpacklo_epi16(center, zero), pair));
            __m256i high = _mm256_add_epi32(added, _mm256_madd_epi16(_mm256_unpackhi_epi16(center, zero), pair));
            for (int k = 1; k <= reach; k++) {
                __m256i left = _mm256_loadu_si256((const __m256i *)(inner + x - k));
                __m256i right = _mm256_loadu_si256((const __m256i *)(inner + x + k));
                pair = _mm256_set1_epi16((int16_t)weights[k]);
                low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(left, right), pair));
                high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(left, right), pair));
            }
            __m256i levels = _mm256_packus_epi32(_mm256_srli_epi32(low, 16), _mm256_srli_epi32(high, 16));
            levels = _mm256_permute4x64_epi64(_mm256_packus_epi16(levels, levels), 0x08);
            _mm_storeu_si128((__m128i *)(target + x), _mm256_castsi256_si128(levels));
        }
    }
}
#endif

static void (*blur)(const uint8_t *restrict, ptrdiff_t, int, const uint16_t *, int, uint16_t *restrict,
                    uint32_t *restrict, uint8_t *restrict) = blur_anywhere;
