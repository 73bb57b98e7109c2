/* Resize: bilinear with antialiasing, weights of 16 bits, as PyTorch does on bytes (UpSampleKernel.cpp). */
#pragma once
#include "common.h"

typedef uint8_t Bytes __attribute__((vector_size(TILE)));
#ifdef __clang__
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define HIGH(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

typedef struct {
    int precision;     /* weights are in units of 2 ** -precision */
    int most;          /* taps of an output at most */
    int *first, *taps; /* of each output */
    int16_t *weights;  /* (outputs, most) */
} Filter;

static int most_taps(int input, int output) {
    double scale = (double)input / output;
    return 2 * (int)(scale > 1 ? scale + 1 : 1) + 3;
}

static double tent(double x) {
    x = x < 0 ? -x : x;
    return x < 1 ? 1 - x : 0;
}

/* The weights of an output, with sum 1; returns the largest. */
static double output_weights(Filter *filter, int output, double scale, int input, double *weights) {
    double support = scale >= 1 ? scale : 1, inverse = scale >= 1 ? 1 / scale : 1;
    double center = scale * (output + 0.5), total = 0, largest = 0;
    int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
    first = first > 0 ? first : 0;
    end = end < input ? end : input;
    int taps = (int)(end - first), most = 2 * ((int)support + ((int)support < support)) + 1;
    taps = taps < most ? taps : most;
    for (int tap = 0; tap < taps; tap++) {
        weights[tap] = tent((tap + first - center + 0.5) * inverse);
        total += weights[tap];
    }
    for (int tap = 0; tap < taps; tap++) {
        weights[tap] /= total;
        largest = weights[tap] > largest ? weights[tap] : largest;
    }
    filter->first[output] = (int)first;
    filter->taps[output] = taps;
    return largest;
}

static void make_filter(Filter *filter, int input, int outputs, double *scratch) {
    double scale = (double)input / outputs, largest = 0;
    filter->most = most_taps(input, outputs);
    for (int output = 0; output < outputs; output++) {
        double its = output_weights(filter, output, scale, input, scratch + (ptrdiff_t)output * filter->most);
        largest = its > largest ? its : largest;
    }
    filter->precision = 0;
    while (filter->precision < 22 && (int)(0.5 + largest * (1 << (filter->precision + 1))) < 1 << 15) {
        filter->precision++;
    }
    for (ptrdiff_t index = 0; index < (ptrdiff_t)outputs * filter->most; index++) {
        filter->weights[index] = (int16_t)(0.5 + scratch[index] * (1 << filter->precision));
    }
}

/* A weighted sum of rows, rounded; reads and writes whole blocks, so both sides are padded. */
FOR_EACH_CPU
static void combine_anywhere(const uint8_t *restrict rows, ptrdiff_t stride, const Filter *filter, int output,
                    ptrdiff_t length, uint8_t *restrict target) {
    const int16_t *weights = filter->weights + (ptrdiff_t)output * filter->most;
    int taps = filter->taps[output], shift = filter->precision;
    for (ptrdiff_t start = 0; start < length; start += BLOCK) {
        int32_t sums[BLOCK];
        for (int i = 0; i < BLOCK; i++) sums[i] = 1 << (shift - 1);
        int tap = 0;
        for (; tap + 1 < taps; tap += 2) {
            const uint8_t *one = rows + tap * stride + start, *two = one + stride;
            int32_t its = weights[tap], next = weights[tap + 1];
            for (int i = 0; i < BLOCK; i++) sums[i] += its * one[i] + next * two[i];
        }
        if (tap < taps) {
            const uint8_t *one = rows + tap * stride + start;
            int32_t its = weights[tap];
            for (int i = 0; i < BLOCK; i++) sums[i] += its * one[i];
        }
        for (int i = 0; i < BLOCK; i++) {
            int32_t level = sums[i] >> shift;
            target[start + i] = (uint8_t)(level < 255 ? level : 255);
        }
    }
}

#ifdef HAS_AVX2
HAS_AVX2 static void combine_avx2(const uint8_t *restrict rows, ptrdiff_t stride, const Filter *filter, int output,
                                  ptrdiff_t length, uint8_t *restrict target) {
    const int16_t *weights = filter->weights + (ptrdiff_t)output * filter->most;
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (filter->precision - 1));
    const __m128i shift = _mm_cvtsi32_si128(filter->precision);
    int taps = filter->taps[output];
    for (ptrdiff_t start = 0; start < length; start += BLOCK) {
        __m256i sums[4] = {half, half, half, half};
        for (int tap = 0; tap < taps; tap += 2) {
            const uint8_t *one = rows + tap * stride + start;
            int paired = tap + 1 < taps;
            __m256i pair = _mm256_set1_epi32((paired ? weights[tap + 1] << 16 : 0) | (uint16_t)weights[tap]);
            __m256i a = _mm256_loadu_si256((const __m256i *)one);
            __m256i b = _mm256_loadu_si256((const __m256i *)(paired ? one + stride : one));
            __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), pair));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), pair));
            sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), pair));
            sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), pair));
        }
        for (int part = 0; part < 4; part++) sums[part] = _mm256_sra_epi32(sums[part], shift);
        __m256i low = _mm256_packs_epi32(sums[0], sums[1]), high = _mm256_packs_epi32(sums[2], sums[3]);
        _mm256_storeu_si256((__m256i *)(target + start), _mm256_packus_epi16(low, high));
    }
}
#endif

static void (*combine)(const uint8_t *restrict, ptrdiff_t, const Filter *, int, ptrdiff_t, uint8_t *restrict)
    = combine_anywhere; /* or a faster one with the same sums, chosen when the module is loaded */

/* Columns become rows; the target is padded to whole tiles in both directions. */
FOR_EACH_CPU
static void transpose(const uint8_t *restrict source, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                      uint8_t *restrict target, ptrdiff_t target_stride) {
    for (ptrdiff_t top = 0; top < rows; top += TILE) {
        ptrdiff_t high = rows - top < TILE ? rows - top : TILE;
        for (ptrdiff_t left = 0; left < columns; left += TILE) {
            Bytes tile[TILE] = {{0}}, mixed[TILE];
            size_t wide = columns - left < TILE ? (size_t)(columns - left) : TILE;
            const uint8_t *from = source + top * stride + left;
            if (high == TILE && wide == TILE) {
                for (int row = 0; row < TILE; row++) memcpy(&tile[row], from + row * stride, TILE);
            } else {
                for (int row = 0; row < high; row++) memcpy(&tile[row], from + row * stride, wide);
            }
            for (int turn = 0; turn < 2; turn++) { /* each round is half of a perfect shuffle of all bytes */
                for (int row = 0; row < TILE / 2; row++) {
                    mixed[2 * row] = LOW(tile[row], tile[row + TILE / 2]);
                    mixed[2 * row + 1] = HIGH(tile[row], tile[row + TILE / 2]);
                }
                for (int row = 0; row < TILE / 2; row++) {
                    tile[2 * row] = LOW(mixed[row], mixed[row + TILE / 2]);
                    tile[2 * row + 1] = HIGH(mixed[row], mixed[row + TILE / 2]);
                }
            }
            for (int row = 0; row < TILE; row++) memcpy(target + (left + row) * target_stride + top, &tile[row], TILE);
        }
    }
}

/* Resize along rows: of an image in columns (3 of each pixel) to columns of one channel. */
static void resize_across(const uint8_t *columns, ptrdiff_t stride, const Filter *filter, int size, ptrdiff_t height,
                          int channel, uint8_t *target, ptrdiff_t target_stride) {
    for (int x = 0; x < size; x++) {
        combine(columns + (3 * filter->first[x] + channel) * stride, 3 * stride, filter, x, height,
                target + x * target_stride);
    }
}

static void resize_down(const uint8_t *rows, ptrdiff_t stride, const Filter *filter, int size, uint8_t *target) {
    for (int y = 0; y < size; y++) {
        combine(rows + filter->first[y] * stride, stride, filter, y, stride, target + y * stride);
    }
}
