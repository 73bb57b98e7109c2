/* Colors: floats that hold whole numbers from 0 to 255, truncated after each operation as in Pillow. */
#pragma once
#include "common.h"

enum { NONE, BRIGHTNESS, CONTRAST, SATURATION, HUE, STRENGTHS = 4 };

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

/* Up to four operations in their order, then perhaps to gray, which is in the first plane alone. */
static void jitter(const View *view, const int32_t *operations, int to_gray, const float *strengths, float *scratch) {
    int count = 0, contrast = -1;
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
