/* Views of an 8-bit RGB image, each from its crop to its last operation; the formulas are those of opencv.py.
 *
 * Every number is an integer, or a float32 that one operation of IEEE 754 has rounded: so any compiler gives the bytes
 * that NumPy gives (contraction to fused operations is switched off). Images are worked on in columns first: a resize
 * along a row is then a sum of whole columns, which vectorizes as the one along a column does.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>

#include "blur.h"
#include "colors.h"
#include "resize.h"

/* An image's columns are made once for all views up to so many bytes, beyond that strip by strip for each view. */
#ifndef SHARED_BYTES
#define SHARED_BYTES (1 << 26)
#endif
enum { STRIP = 8 * BLOCK }; /* rows */
enum { LEFT, TOP, RIGHT, BOTTOM, GRAYSCALE, SOLARIZE, FLIP, REACH, OPERATIONS, NUMBERS = OPERATIONS + 4 };

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
    int is_shared; /* whether the columns are those of the whole area */
    uint8_t *columns, *across, *rows, *planes;
    ptrdiff_t columns_stride, height_stride, stride;
    Filter along[2]; /* rows, columns */
    double *weights;
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
    space->is_shared = padded(3 * wide) * (padded(high) + BLOCK) <= SHARED_BYTES;
    space->columns_stride = (space->is_shared ? padded(high) : STRIP) + BLOCK;
    space->height_stride = padded(high) + BLOCK;
    space->stride = padded(size);
    ptrdiff_t most = most_taps((int)(wide > high ? wide : high), (int)size);
    const ptrdiff_t bytes[] = {
        padded(3 * wide) * space->columns_stride, 3 * outputs * space->height_stride, padded(high) * space->stride,
        4 * outputs * space->stride, size * most * (ptrdiff_t)sizeof(double),
        (outputs + 2 * task->taps) * (ptrdiff_t)sizeof(uint16_t), outputs * (ptrdiff_t)sizeof(uint32_t),
        size * most * (ptrdiff_t)sizeof(int16_t), size * (ptrdiff_t)sizeof(int), size * (ptrdiff_t)sizeof(int),
        size * most * (ptrdiff_t)sizeof(int16_t), size * (ptrdiff_t)sizeof(int), size * (ptrdiff_t)sizeof(int)};
    void **parts[] = {
        (void **)&space->columns, (void **)&space->across, (void **)&space->rows, (void **)&space->planes,
        (void **)&space->weights, (void **)&space->row, (void **)&space->sums,
        (void **)&space->along[0].weights, (void **)&space->along[0].first, (void **)&space->along[0].taps,
        (void **)&space->along[1].weights, (void **)&space->along[1].first, (void **)&space->along[1].taps};
    for (size_t part = 0; part < sizeof(bytes) / sizeof(*bytes); part++) {
        *parts[part] = take(&memory, bytes[part]);
        total += padded(bytes[part]) + SLACK;
    }
    return total;
}

/* Columns of a part of the image; rows and columns are counted from its corner. */
static void make_columns(const Task *task, Area part, const Workspace *space) {
    ptrdiff_t stride = 3 * (ptrdiff_t)task->width;
    transpose(task->image + part.top * stride + 3 * part.left, stride, part.bottom - part.top,
              3 * (ptrdiff_t)(part.right - part.left), space->columns, space->columns_stride);
}

static void crop(const Task *task, const int32_t *numbers, Area area, Workspace *space, View *view) {
    int width = numbers[RIGHT] - numbers[LEFT], height = numbers[BOTTOM] - numbers[TOP], size = task->size;
    int strip = space->is_shared ? height : STRIP;
    ptrdiff_t plane = padded(size) * space->stride, across = padded(size) * space->height_stride; /* whole chunks */
    make_filter(&space->along[0], width, size, space->weights);
    make_filter(&space->along[1], height, size, space->weights);
    for (int top = 0; top < height; top += strip) {
        int rows = height - top < strip ? height - top : strip, first = numbers[TOP] + top;
        const uint8_t *columns = space->columns;
        if (space->is_shared) columns += 3 * (numbers[LEFT] - area.left) * space->columns_stride + first - area.top;
        else make_columns(task, (Area){numbers[LEFT], first, numbers[RIGHT], first + rows}, space);
        for (int channel = 0; channel < 3; channel++) {
            resize_across(columns, space->columns_stride, &space->along[0], size, padded(rows), channel,
                          space->across + channel * across + top, space->height_stride);
        }
    }
    for (int channel = 0; channel < 3; channel++) {
        view->planes[channel] = space->planes + channel * plane;
        transpose(space->across + channel * across, space->height_stride, size, height, space->rows, space->stride);
        resize_down(space->rows, space->stride, &space->along[1], size, view->planes[channel]);
    }
    view->planes[3] = space->planes + 3 * plane;
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

static void finish(const Task *task, int index, Workspace *space, const View *view) {
    const int32_t *numbers = task->numbers + index * NUMBERS;
    int size = task->size, is_gray = task->augment && numbers[GRAYSCALE];
    ptrdiff_t area = (ptrdiff_t)size * size;
    uint8_t *target = task->views + 3 * area * index;
    if (task->augment) jitter(view, numbers + OPERATIONS, is_gray, task->strengths + index * STRENGTHS);
    for (int channel = 0; channel < 3; channel++, target += area) {
        const uint8_t *plane = view->planes[channel];
        if (is_gray && channel) {
            memcpy(target, target - area, (size_t)area);
            continue;
        }
        if (task->augment && numbers[REACH] >= 0) {
            blur(plane, space->stride, size, task->kernels + (ptrdiff_t)index * task->taps, numbers[REACH], space->row,
                 space->sums, view->planes[3]);
            plane = view->planes[3];
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
    if (space.is_shared) make_columns(task, area, &space);
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

PyMODINIT_FUNC PyInit__kernel(void) {
#ifdef HAS_AVX2
    if (__builtin_cpu_supports("avx2")) combine = combine_avx2, blur = blur_avx2;
#endif
    return PyModuleDef_Init(&definition);
}
