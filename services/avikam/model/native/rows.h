/* What happens to one row of activations: normalise, quantise. */
#ifndef AVIKAM_ROWS_H
#define AVIKAM_ROWS_H

#include <math.h>

#include "lanes.h"

/* One row in int8: value = code * scale. `sum` of the codes undoes the weights' offset. */
typedef struct {
    float scale;
    int32_t sum;
} RowScale;

/* Codes -127..127 of `size` floats (a multiple of 16). A NaN makes the scale NaN. */
static inline RowScale quantise(const float *x, int size, int8_t *codes) {
    ints most = {0};
    for (int i = 0; i < size; i += LANES) most = larger(magnitude(load(x + i)), most);
    float scale = largest(most) * (1.0f / 127);
    if (scale < 1e-30f) scale = 1e-30f;
    const float inverse = 1.0f / scale;
    ints sum = {0};
    for (int i = 0; i < size; i += LANES) {
        ints code = to_ints(nearest(load(x + i) * inverse));
        *(bytes16 *)(codes + i) = __builtin_convertvector(code, bytes16);
        sum += code;
    }
    return (RowScale){scale, total_of(sum)};
}

/* Root-mean-square normalisation: x / sqrt(mean(x^2) + eps) * weight. */
static inline void normalise(const float *x, const float *weight, float eps, int size, float *out) {
    floats squares = {0};
    for (int i = 0; i < size; i += LANES) squares += load(x + i) * load(x + i);
    const float factor = 1.0f / sqrtf(sum_of(squares) / (float)size + eps);
    for (int i = 0; i < size; i += LANES) store(out + i, load(x + i) * factor * load(weight + i));
}

static inline void add(float *x, const float *more, int size) {
    for (int i = 0; i < size; i += LANES) store(x + i, load(x + i) + load(more + i));
}

#endif
