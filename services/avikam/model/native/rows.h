/* What happens to one row of activations: normalise, gate, quantise. */
#ifndef AVIKAM_ROWS_H
#define AVIKAM_ROWS_H

#include "lanes.h"

/* A row in int8, or a group of its inputs: value = code * scale. `sum` of the codes undoes the
 * weights' offset. */
typedef struct {
    float scale;
    int32_t sum;
} RowScale;

/* Codes -127..127 of `size` floats (a multiple of 16). A NaN makes the scale NaN. */
static inline RowScale quantise(const float *x, int size, int8_t *codes) {
    ints most = {0};
    for (int i = 0; i < size; i += WIDTH) most = larger(magnitude(load(x + i)), most);
    float scale = largest(most) * (1.0f / 127);
    if (scale < 1e-30f) scale = 1e-30f;
    const float inverse = 1.0f / scale;
    ints sum = {0};
    for (int i = 0; i < size; i += WIDTH) {
        const ints code = to_ints(nearest(load(x + i) * inverse));
        store_bytes(codes + i, code);
        sum += code;
    }
    return (RowScale){scale, total_of(sum)};
}

/* The same with a scale for each `group` inputs; group 0: one scale for the whole row. */
static inline void quantise_row(const float *x, int size, int group, int8_t *codes,
                                RowScale *scales) {
    if (!group) group = size;
    for (int i = 0; i < size; i += group) *scales++ = quantise(x + i, group, codes + i);
}

/* Root-mean-square normalisation of `size` floats: x / sqrt(mean(x^2) + eps) * weight. Their room
 * is a multiple of 16, with zeros behind the end. */
static inline void normalise(const float *x, const float *weight, float eps, int size, float *out) {
    floats squares[PARTS] = {{0}};
    for (int i = 0; i < size; i += LANES)
        for (int p = 0; p < PARTS; p++) {
            const floats part = load(x + i + p * WIDTH);
            squares[p] += part * part;
        }
    const float factor = 1.0f / sqrtf(sum_of(squares) / (float)size + eps);
    for (int i = 0; i < size; i += WIDTH) store(out + i, load(x + i) * factor * load(weight + i));
}

static inline void add(float *x, const float *more, int size) {
    for (int i = 0; i < size; i += WIDTH) store(x + i, load(x + i) + load(more + i));
}

/* out = f(gate) * value, where `both` holds `size` gates, then as many values. */
static inline void gate_silu(const float *both, int size, float *out) {
    for (int i = 0; i < size; i += WIDTH)
        store(out + i, silu(load(both + i)) * load(both + size + i));
}

static inline void gate_gelu(const float *both, int size, float *out) {
    for (int i = 0; i < size; i += WIDTH)
        store(out + i, gelu(load(both + i)) * load(both + size + i));
}

#endif
