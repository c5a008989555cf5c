/* A matrix in panels, the rows that meet it, and where the results go.
 *
 *     y[n] = sum over groups of inputs (row scale[g] * exact sum over g) * weight scale[n] + bias[n]
 *
 * A panel is 32 outputs, in the order in which they are read: int8_tiles.h and int4_tiles.h draw the
 * two forms. `group` inputs share one scale of the row; 0: all of them. Sums inside a group are
 * integers; groups are floats, added from the first to the last.
 */
#ifndef AVIKAM_MATRIX_H
#define AVIKAM_MATRIX_H

#include "dots.h"
#include "rows.h"

enum { PANEL = 32, VECTORS = PANEL / WIDTH, MOST_ROWS = 8 }; /* of a tile */

typedef struct {
    const uint8_t *panels;
    const float *scale; /* padded to whole panels; four bits have theirs in the panels */
    const float *bias;  /* the same; NULL: none */
    int64_t inputs, outputs, group, bits;
} Matrix;

/* Rows of int8 inputs, `stride` bytes apart; their scales, `scale_stride` apart. */
typedef struct {
    const int8_t *codes;
    const RowScale *scales;
    int64_t stride, scale_stride;
} Rows;

/* Rows of float outputs, `stride` floats apart. */
typedef struct {
    float *values;
    int64_t stride;
    int gelu;
} Outputs;

static inline int panels_of(const Matrix *m) { return (int)((m->outputs + PANEL - 1) / PANEL); }

static inline void put(const Matrix *m, int64_t column, floats value, Outputs y, int row) {
    if (m->bias) value += load(m->bias + column);
    store(y.values + row * y.stride + column, y.gelu ? gelu(value) : value);
}

#endif
