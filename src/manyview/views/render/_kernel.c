/* Views of an 8-bit RGB image, each from its crop to its last operation; the formulas are those of opencv.py.
 *
 * Every number is an integer, or a float32 that one operation of IEEE 754 has rounded: so any compiler gives the bytes
 * that NumPy gives (contraction to fused operations is switched off). Images are worked on in columns first: a resize
 * along a row is then a sum of whole columns, which vectorizes as the one along a column does.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "floats must be rounded after each operation"
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 32, TILE = 16, SLACK = 64 }; /* values that are worked on together; side of a transposed tile */
enum { LEFT, TOP, RIGHT, BOTTOM, GRAYSCALE, SOLARIZE, FLIP, REACH, OPERATIONS, NUMBERS = OPERATIONS + 4 };
enum { NONE, BRIGHTNESS, CONTRAST, SATURATION, HUE, STRENGTHS = 4 };

typedef uint8_t Bytes __attribute__((vector_size(TILE)));
#ifdef __clang__
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOW(a, b) __builtin_shuffle(a, b, (Bytes){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define HIGH(a, b) __builtin_shuffle(a, b, (Bytes){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#endif

static ptrdiff_t padded(ptrdiff_t length) { return (length + BLOCK - 1) / BLOCK * BLOCK; }

/* ---- Resize: bilinear with antialiasing, weights of 16 bits, as PyTorch does on bytes (UpSampleKernel.cpp) ---- */

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

/* A weighted sum of rows, rounded; writes whole blocks, so both sides are padded. */
INLINE void combine(const uint8_t *restrict rows, ptrdiff_t stride, const Filter *filter, int output,
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
FOR_EACH_CPU
static void resize_across(const uint8_t *columns, ptrdiff_t stride, const Filter *filter, int size, ptrdiff_t height,
                          int channel, uint8_t *target, ptrdiff_t target_stride) {
    for (int x = 0; x < size; x++) {
        combine(columns + (3 * filter->first[x] + channel) * stride, 3 * stride, filter, x, height,
                target + x * target_stride);
    }
}

FOR_EACH_CPU
static void resize_down(const uint8_t *rows, ptrdiff_t stride, const Filter *filter, int size, uint8_t *target) {
    for (int y = 0; y < size; y++) {
        combine(rows + filter->first[y] * stride, stride, filter, y, stride, target + y * stride);
    }
}

/* ---- Colors: floats that hold whole numbers from 0 to 255, truncated after each operation as in Pillow ---- */

INLINE float whole(float value) {
    value = value > 0 ? value : 0;
    value = value < 255 ? value : 255;
    return (float)(int32_t)value;
}

INLINE float gray(float red, float green, float blue) { /* exact: below 2 ** 24 */
    return (float)(int32_t)((19595 * red + 38470 * green + 7471 * blue + 32768) * (1 / 65536.0f));
}

INLINE void blend(float *restrict values, ptrdiff_t length, float base, float factor) {
    for (ptrdiff_t i = 0; i < length; i++) values[i] = whole(base + factor * (values[i] - base));
}

INLINE void saturate(float *restrict red, float *restrict green, float *restrict blue, ptrdiff_t length, float factor) {
    for (ptrdiff_t i = 0; i < length; i++) {
        float level = gray(red[i], green[i], blue[i]);
        red[i] = whole(level + factor * (red[i] - level));
        green[i] = whole(level + factor * (green[i] - level));
        blue[i] = whole(level + factor * (blue[i] - level));
    }
}

INLINE float channel_of(float sixths, float offset, float value, float chroma) {
    float position = sixths + offset;
    position = position >= 6 ? position - 6 : position;
    float share = position < 4 - position ? position : 4 - position;
    share = share > 0 ? share : 0;
    share = share < 1 ? share : 1;
    return (float)(int32_t)(value - share * chroma + 0.5f);
}

/* Hue, saturation and value in Pillow's whole steps; the hue turns by steps of a circle of 256. */
INLINE void turn_hue(float *restrict red, float *restrict green, float *restrict blue, ptrdiff_t length, float step) {
    for (ptrdiff_t i = 0; i < length; i++) {
        float r = red[i], g = green[i], b = blue[i];
        float value = r > g ? r : g, least = r < g ? r : g;
        value = value > b ? value : b;
        least = least < b ? least : b;
        float chroma = value - least;
        float sixths = g == value ? b - r + 2 * chroma : r - g + 4 * chroma;
        sixths = r == value ? g - b : sixths;
        sixths = sixths < 0 ? sixths + 6 * chroma : sixths;
        float hue = (float)(int32_t)(85 * sixths / (chroma > 0 ? 2 * chroma : 1));
        hue += step;
        hue = hue >= 256 ? hue - 256 : hue;
        float saturation = (float)(int32_t)(255 * chroma / (value > 1 ? value : 1));
        chroma = saturation * value * (1 / 255.0f);
        sixths = hue * (6 / 255.0f);
        red[i] = channel_of(sixths, 5, value, chroma);
        green[i] = channel_of(sixths, 3, value, chroma);
        blue[i] = channel_of(sixths, 1, value, chroma);
    }
}

typedef struct {
    uint8_t *planes[3];
    ptrdiff_t stride;
    int size;
} View;

/* Some operations on all rows, then perhaps to gray in the first plane; returns the sum of the gray levels. */
FOR_EACH_CPU
static int64_t change_colors(const View *view, const int32_t *operations, int count, const float *strengths,
                             float mean, int to_gray, int to_sum, float *scratch) {
    ptrdiff_t length = view->stride;
    float *red = scratch, *green = red + length, *blue = green + length, *levels = blue + length;
    int64_t total = 0;
    for (int y = 0; y < view->size; y++) {
        ptrdiff_t start = y * length;
        uint8_t *reds = view->planes[0] + start, *greens = view->planes[1] + start, *blues = view->planes[2] + start;
        for (ptrdiff_t i = 0; i < length; i++) red[i] = reds[i];
        for (ptrdiff_t i = 0; i < length; i++) green[i] = greens[i];
        for (ptrdiff_t i = 0; i < length; i++) blue[i] = blues[i];
        for (int k = 0; k < count; k++) {
            float strength = strengths[operations[k] - 1];
            switch (operations[k]) {
            case SATURATION: saturate(red, green, blue, length, strength); break;
            case HUE: turn_hue(red, green, blue, length, strength); break;
            default: blend(red, 3 * length, operations[k] == CONTRAST ? mean : 0, strength);
            }
        }
        if (to_gray || to_sum) {
            int32_t sum = 0;
            for (ptrdiff_t i = 0; i < length; i++) levels[i] = gray(red[i], green[i], blue[i]);
            for (int i = 0; i < view->size; i++) sum += (int32_t)levels[i];
            total += sum;
        }
        if (to_gray) {
            for (ptrdiff_t i = 0; i < length; i++) reds[i] = (uint8_t)(int32_t)levels[i];
        } else if (count) {
            for (ptrdiff_t i = 0; i < length; i++) reds[i] = (uint8_t)(int32_t)red[i];
            for (ptrdiff_t i = 0; i < length; i++) greens[i] = (uint8_t)(int32_t)green[i];
            for (ptrdiff_t i = 0; i < length; i++) blues[i] = (uint8_t)(int32_t)blue[i];
        }
    }
    return total;
}

static void jitter(const View *view, const int32_t *numbers, const float *strengths, float *scratch) {
    const int32_t *operations = numbers + OPERATIONS;
    int count = 0, contrast = -1, to_gray = numbers[GRAYSCALE];
    for (; count < 4 && operations[count] != NONE; count++) contrast = operations[count] == CONTRAST ? count : contrast;
    if (contrast < 0) {
        if (count || to_gray) change_colors(view, operations, count, strengths, 0, to_gray, 0, scratch);
        return;
    }
    /* Contrast takes the mean over the view as it then is. */
    int64_t pixels = (int64_t)view->size * view->size;
    int64_t sum = change_colors(view, operations, contrast, strengths, 0, 0, 1, scratch);
    float mean = (float)((2 * sum + pixels) / (2 * pixels));
    change_colors(view, operations + contrast, count - contrast, strengths, mean, to_gray, 0, scratch);
}

/* ---- Blur: a symmetric kernel along both axes, weights in 1/256 with sum 256, edges repeated, rounded once ---- */

FOR_EACH_CPU
static void blur(const uint8_t *restrict plane, ptrdiff_t stride, int size, const uint16_t *weights, int reach,
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

FOR_EACH_CPU
static void write_plane(const uint8_t *restrict plane, ptrdiff_t stride, int size, int solarize, int flip,
                        uint8_t *restrict target) {
    for (int y = 0; y < size; y++, plane += stride, target += size) {
        if (flip) for (int x = 0; x < size; x++) target[x] = plane[size - 1 - x];
        else memcpy(target, plane, (size_t)size);
        if (solarize) for (int x = 0; x < size; x++) target[x] = target[x] < 128 ? target[x] : (uint8_t)(255 - target[x]);
    }
}

/* ---- A whole image's views ---- */

typedef struct {
    const uint8_t *image;
    int width, height, count, size, augment;
    const int32_t *numbers;   /* (count, NUMBERS) */
    const float *strengths;   /* (count, STRENGTHS): brightness, contrast, saturation, steps of hue */
    const uint16_t *kernels;  /* (count, taps): the center's weight, then outward */
    int taps;
    uint8_t *views;           /* (count, 3, size, size) */
} Task;

typedef struct {
    int left, top, right, bottom;
} Area;

static Area shown(const Task *task) { /* the part of the image that any view shows */
    Area area = {task->width, task->height, 0, 0};
    for (int index = 0; index < task->count; index++) {
        const int32_t *its = task->numbers + index * NUMBERS;
        area.left = its[LEFT] < area.left ? its[LEFT] : area.left;
        area.top = its[TOP] < area.top ? its[TOP] : area.top;
        area.right = its[RIGHT] > area.right ? its[RIGHT] : area.right;
        area.bottom = its[BOTTOM] > area.bottom ? its[BOTTOM] : area.bottom;
    }
    return area;
}

typedef struct {
    uint8_t *columns, *across, *rows, *planes;
    ptrdiff_t columns_stride, height_stride, stride;
    Filter along[2]; /* rows, columns */
    double *weights;
    float *colors;
    uint16_t *row;
    uint32_t *sums;
} Workspace;

static void *take(char **memory, ptrdiff_t bytes) {
    void *taken = *memory;
    if (taken) *memory += padded(bytes) + SLACK;
    return taken;
}

/* Divide memory, or only count it where there is none yet. */
static ptrdiff_t lay_out(Workspace *space, const Task *task, Area area, char *memory) {
    ptrdiff_t size = task->size, wide = area.right - area.left, high = area.bottom - area.top;
    ptrdiff_t outputs = padded(size), total = 0;
    space->columns_stride = padded(high) + BLOCK;
    space->height_stride = padded(high) + BLOCK;
    space->stride = padded(size);
    ptrdiff_t most = most_taps((int)(wide > high ? wide : high), (int)size);
    const ptrdiff_t bytes[] = {
        padded(3 * wide) * space->columns_stride, outputs * space->height_stride, padded(high) * space->stride,
        4 * outputs * space->stride, size * most * (ptrdiff_t)sizeof(double), 4 * outputs * (ptrdiff_t)sizeof(float),
        (outputs + 2 * task->taps) * (ptrdiff_t)sizeof(uint16_t), outputs * (ptrdiff_t)sizeof(uint32_t),
        size * most * (ptrdiff_t)sizeof(int16_t), size * (ptrdiff_t)sizeof(int), size * (ptrdiff_t)sizeof(int),
        size * most * (ptrdiff_t)sizeof(int16_t), size * (ptrdiff_t)sizeof(int), size * (ptrdiff_t)sizeof(int)};
    void **parts[] = {
        (void **)&space->columns, (void **)&space->across, (void **)&space->rows, (void **)&space->planes,
        (void **)&space->weights, (void **)&space->colors, (void **)&space->row, (void **)&space->sums,
        (void **)&space->along[0].weights, (void **)&space->along[0].first, (void **)&space->along[0].taps,
        (void **)&space->along[1].weights, (void **)&space->along[1].first, (void **)&space->along[1].taps};
    for (size_t part = 0; part < sizeof(bytes) / sizeof(*bytes); part++) {
        *parts[part] = take(&memory, bytes[part]);
        total += padded(bytes[part]) + SLACK;
    }
    return total;
}

static void crop(const Task *task, const int32_t *numbers, Area area, Workspace *space, View *view) {
    int width = numbers[RIGHT] - numbers[LEFT], height = numbers[BOTTOM] - numbers[TOP], size = task->size;
    const uint8_t *columns = space->columns + 3 * (numbers[LEFT] - area.left) * space->columns_stride
                             + (numbers[TOP] - area.top);
    ptrdiff_t plane = padded(size) * space->stride;
    make_filter(&space->along[0], width, size, space->weights);
    make_filter(&space->along[1], height, size, space->weights);
    for (int channel = 0; channel < 3; channel++) {
        view->planes[channel] = space->planes + channel * plane;
        resize_across(columns, space->columns_stride, &space->along[0], size, padded(height), channel, space->across,
                      space->height_stride);
        transpose(space->across, space->height_stride, size, height, space->rows, space->stride);
        resize_down(space->rows, space->stride, &space->along[1], size, view->planes[channel]);
    }
}

static void finish(const Task *task, int index, Workspace *space, const View *view) {
    const int32_t *numbers = task->numbers + index * NUMBERS;
    int size = task->size, is_gray = task->augment && numbers[GRAYSCALE];
    ptrdiff_t area = (ptrdiff_t)size * size;
    uint8_t *target = task->views + 3 * area * index;
    if (task->augment) jitter(view, numbers, task->strengths + index * STRENGTHS, space->colors);
    for (int channel = 0; channel < 3; channel++, target += area) {
        const uint8_t *plane = view->planes[channel];
        if (is_gray && channel) {
            memcpy(target, target - area, (size_t)area);
            continue;
        }
        if (task->augment && numbers[REACH] >= 0) {
            uint8_t *blurred = space->planes + 3 * padded(size) * space->stride;
            blur(plane, space->stride, size, task->kernels + (ptrdiff_t)index * task->taps, numbers[REACH], space->row,
                 space->sums, blurred);
            plane = blurred;
        }
        write_plane(plane, space->stride, size, task->augment && numbers[SOLARIZE], task->augment && numbers[FLIP], target);
    }
}

/* Returns whether there was memory. */
static int render_all(const Task *task) {
    Workspace space;
    Area area = shown(task);
    View view = {{NULL}, padded(task->size), task->size};
    char *memory = malloc((size_t)lay_out(&space, task, area, NULL) + SLACK);
    if (!memory) return 0;
    lay_out(&space, task, area, memory + (BLOCK - (uintptr_t)memory % BLOCK));
    transpose(task->image + ((ptrdiff_t)area.top * task->width + area.left) * 3, (ptrdiff_t)task->width * 3,
              area.bottom - area.top, 3 * (ptrdiff_t)(area.right - area.left), space.columns, space.columns_stride);
    for (int index = 0; index < task->count; index++) {
        crop(task, task->numbers + index * NUMBERS, area, &space, &view);
        finish(task, index, &space, &view);
    }
    free(memory);
    return 1;
}

/* What would be read or written outside of the buffers is refused. */
static const char *mistake(const Task *task, const Py_buffer *image, const Py_buffer *numbers,
                           const Py_buffer *strengths, const Py_buffer *kernels, const Py_buffer *views) {
    ptrdiff_t count = task->count, size = task->size;
    if (task->width < 1 || task->height < 1 || count < 1 || size < 1 || size > 1 << 14 || task->taps < 1)
        return "sizes must be positive";
    if (image->len != (ptrdiff_t)task->width * task->height * 3) return "the image is not (height, width, 3) bytes";
    if (numbers->len != count * NUMBERS * (ptrdiff_t)sizeof(int32_t)) return "the numbers are not (views, 12) int32";
    if (strengths->len != count * STRENGTHS * (ptrdiff_t)sizeof(float)) return "strengths are not (views, 4) float32";
    if (kernels->len != count * task->taps * (ptrdiff_t)sizeof(uint16_t)) return "kernels are not (views, taps) uint16";
    if (views->len != count * 3 * size * size) return "the views are not (views, 3, size, size) bytes";
    for (ptrdiff_t index = 0; index < count; index++) {
        const int32_t *its = task->numbers + index * NUMBERS;
        if (its[LEFT] < 0 || its[TOP] < 0 || its[LEFT] >= its[RIGHT] || its[TOP] >= its[BOTTOM]
            || its[RIGHT] > task->width || its[BOTTOM] > task->height) return "a crop lies outside of the image";
        if (its[REACH] < -1 || its[REACH] >= task->taps) return "a kernel is shorter than its reach";
        for (int k = OPERATIONS; k < NUMBERS; k++)
            if (its[k] < NONE || its[k] > HUE) return "unknown operation";
    }
    return NULL;
}

static PyObject *render(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer image, numbers, strengths, kernels, views;
    Task task = {0};
    if (!PyArg_ParseTuple(arguments, "y*iiy*y*y*w*iiip", &image, &task.width, &task.height, &numbers, &strengths,
                          &kernels, &views, &task.count, &task.size, &task.taps, &task.augment)) return NULL;
    task.image = image.buf, task.numbers = numbers.buf, task.strengths = strengths.buf;
    task.kernels = kernels.buf, task.views = views.buf;
    const char *wrong = mistake(&task, &image, &numbers, &strengths, &kernels, &views);
    int had_memory = 1;
    if (!wrong) {
        Py_BEGIN_ALLOW_THREADS
        had_memory = render_all(&task);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&image), PyBuffer_Release(&numbers), PyBuffer_Release(&strengths);
    PyBuffer_Release(&kernels), PyBuffer_Release(&views);
    if (wrong) return PyErr_Format(PyExc_ValueError, "%s", wrong);
    if (!had_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"render", render, METH_VARARGS, "Views of an image; see kernel.py for the arguments."}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
