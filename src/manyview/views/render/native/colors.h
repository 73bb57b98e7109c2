/* Colors: floats that hold whole numbers from 0 to 255, truncated after each operation as in Pillow. */
#pragma once
#include "common.h"

enum { NONE, BRIGHTNESS, CONTRAST, SATURATION, HUE, STRENGTHS = 4 };
enum { CHUNK = BLOCK * TILE }; /* pixels at a time, whose numbers stay in the nearest cache */

INLINE float whole(float value) {
    value = value > 0 ? value : 0;
    value = value < 255 ? value : 255;
    return (float)(int32_t)value;
}

INLINE float gray(float red, float green, float blue) { /* exact: below 2 ** 24 */
    return (float)(int32_t)((19595 * red + 38470 * green + 7471 * blue + 32768) * (1 / 65536.0f));
}

INLINE void blend(float *restrict values, float base, float factor) {
    for (int i = 0; i < 3 * CHUNK; i++) values[i] = whole(base + factor * (values[i] - base));
}

INLINE void saturate(float *restrict red, float *restrict green, float *restrict blue, float factor) {
    for (int i = 0; i < CHUNK; i++) {
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
INLINE void turn_hue(float *restrict red, float *restrict green, float *restrict blue, float step) {
    for (int i = 0; i < CHUNK; i++) {
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
    uint8_t *planes[4]; /* red, green, blue or all gray; and one for results in between */
    ptrdiff_t stride;
    int size;
} View;

/* Some operations on all pixels; then perhaps their gray levels in another plane. */
FOR_EACH_CPU
static void change_colors(const View *view, const int32_t *operations, int count, const float *strengths, float mean,
                          uint8_t *grays) {
    float colors[3][CHUNK], *red = colors[0], *green = colors[1], *blue = colors[2];
    for (ptrdiff_t start = 0; start < view->size * view->stride; start += CHUNK) { /* planes are padded to chunks */
        for (int channel = 0; channel < 3; channel++) {
            const uint8_t *plane = view->planes[channel] + start;
            for (int i = 0; i < CHUNK; i++) colors[channel][i] = plane[i];
        }
        for (int k = 0; k < count; k++) {
            float strength = strengths[operations[k] - 1];
            switch (operations[k]) {
            case SATURATION: saturate(red, green, blue, strength); break;
            case HUE: turn_hue(red, green, blue, strength); break;
            default: blend(colors[0], operations[k] == CONTRAST ? mean : 0, strength);
            }
        }
        for (int channel = 0; count && channel < 3; channel++) {
            uint8_t *plane = view->planes[channel] + start;
            for (int i = 0; i < CHUNK; i++) plane[i] = (uint8_t)(int32_t)colors[channel][i];
        }
        if (grays) for (int i = 0; i < CHUNK; i++) grays[start + i] = (uint8_t)(int32_t)gray(red[i], green[i], blue[i]);
    }
}

FOR_EACH_CPU
static int64_t sum_of(const uint8_t *plane, ptrdiff_t stride, int size) {
    int64_t total = 0;
    for (int y = 0; y < size; y++, plane += stride) {
        int32_t sum = 0;
        for (int x = 0; x < size; x++) sum += plane[x];
        total += sum;
    }
    return total;
}

/* Up to four operations in their order, then perhaps to gray, which is in the first plane alone. */
static void jitter(const View *view, const int32_t *operations, int to_gray, const float *strengths) {
    uint8_t *grays = to_gray ? view->planes[0] : NULL;
    int count = 0, contrast = -1;
    for (; count < 4 && operations[count] != NONE; count++) contrast = operations[count] == CONTRAST ? count : contrast;
    float mean = 0;
    if (contrast >= 0) { /* it takes the mean over the view as it then is */
        int64_t pixels = (int64_t)view->size * view->size;
        change_colors(view, operations, contrast, strengths, 0, view->planes[3]);
        mean = (float)((2 * sum_of(view->planes[3], view->stride, view->size) + pixels) / (2 * pixels));
        operations += contrast;
        count -= contrast;
    }
    if (count || to_gray) change_colors(view, operations, count, strengths, mean, grays);
}
