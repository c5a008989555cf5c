/* Tiles of an int8 matrix: some rows times some registers of outputs.
 *
 *     panel p | inputs 0..3 of output 32p | ... of output 32p + 31 | inputs 4..7 of output 32p | ...
 *
 * Each code is stored plus 128; the scale of an output lies apart.
 */
#ifndef AVIKAM_INT8_TILES_H
#define AVIKAM_INT8_TILES_H

#include "matrix.h"

/* Adds inputs from..to - 1 of `rows` rows and `vectors` registers of outputs to `sums`. Few sums are
 * kept twice, for even and odd steps, so that an addition need not wait for the one before. */
INLINE void dots(const int rows, const int vectors, const uint8_t *weights, int64_t from,
                 int64_t to, const int8_t *const *x, ints sums[MOST_ROWS][VECTORS]) {
    const int chains = rows * vectors < 8 ? 2 : 1;
    ints odd[MOST_ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) odd[r][v] = (ints){0};
    for (int64_t k = from; k < to; k += 4 * chains) {
        __builtin_prefetch(weights + (k + 16) * PANEL);
        __builtin_prefetch(weights + (k + 18) * PANEL);
#pragma GCC unroll 2
        for (int chain = 0; chain < chains; chain++) {
            const uint8_t *step = weights + (k + 4 * chain) * PANEL;
            ints w[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) w[v] = shifted(step + v * 4 * WIDTH);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                const Quad q = quad(x[r] + k + 4 * chain);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    if (chain == 0) sums[r][v] = times_shifted(sums[r][v], w[v], q);
                    if (chain == 1) odd[r][v] = times_shifted(odd[r][v], w[v], q);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            if (chains == 2) sums[r][v] += odd[r][v];
}

/* `rows` rows from `first` on, `vectors` registers of outputs from `column` on: one scale a row. */
INLINE void tile(const int rows, const int vectors, const Matrix *m, int64_t column, Rows x,
                 int first, Outputs y) {
    const uint8_t *weights = m->panels + column / PANEL * PANEL * m->inputs + column % PANEL * 4;
    const int8_t *row[MOST_ROWS];
    ints sums[MOST_ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        row[r] = x.codes + (first + r) * x.stride;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[r][v] = beginning(x.scales[(first + r) * x.scale_stride].sum);
    }
    dots(rows, vectors, weights, 0, m->inputs, row, sums);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const int64_t at = column + v * WIDTH;
            const floats value = to_floats(sums[r][v]) * load(m->scale + at);
            put(m, at, value * x.scales[(first + r) * x.scale_stride].scale, y, first + r);
        }
}

/* The same with a scale for each group of a row's inputs. */
INLINE void grouped_tile(const int rows, const int vectors, const Matrix *m, int64_t column, Rows x,
                         int first, Outputs y) {
    const uint8_t *weights = m->panels + column / PANEL * PANEL * m->inputs + column % PANEL * 4;
    const int8_t *row[MOST_ROWS];
    const RowScale *scales[MOST_ROWS];
    floats values[MOST_ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        row[r] = x.codes + (first + r) * x.stride;
        scales[r] = x.scales + (first + r) * x.scale_stride;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) values[r][v] = (floats){0};
    }
    for (int64_t k = 0, g = 0; k < m->inputs; k += m->group, g++) {
        ints sums[MOST_ROWS][VECTORS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] = beginning(scales[r][g].sum);
        dots(rows, vectors, weights, k, k + m->group, row, sums);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                values[r][v] =
                    fused(to_floats(sums[r][v]), all(scales[r][g].scale), values[r][v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const int64_t at = column + v * WIDTH;
            put(m, at, values[r][v] * load(m->scale + at), y, first + r);
        }
}

#endif
