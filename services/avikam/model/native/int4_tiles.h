/* Four-bit weights in groups of 32 inputs: w = code * scale + least, codes 0..15.
 *
 * A panel of 32 outputs is a row of groups, and a group lies in one piece of 640 bytes:
 *
 *     codes [4 pairs of quads][output][4 inputs]   low half: inputs 8j..8j + 3, high half: 8j + 4..7
 *     scale [output], least [output]               half-precision floats
 *
 *     y[n] = sum over groups row scale[g] * (scale[n][g] * sum(code x) + least[n][g] * sum(x))
 *
 * Rows are in groups of 32 as well. Sums inside a group are integers, groups are added in order.
 */
#ifndef AVIKAM_INT4_TILES_H
#define AVIKAM_INT4_TILES_H

#include "matrix.h"

enum { NIBBLE_GROUP = 32 };

typedef struct {
    uint8_t codes[NIBBLE_GROUP / 8][PANEL][4];
    uint16_t scale[PANEL], least[PANEL];
} NibbleGroup;

/* Sums of one group: `lane` is the first output's number in the panel. */
INLINE void nibble_dots(const int rows, const int vectors, const NibbleGroup *group, int lane,
                        const int8_t *const *x, int64_t k, ints sums[MOST_ROWS][VECTORS]) {
#pragma GCC unroll 4
    for (int pair = 0; pair < NIBBLE_GROUP / 8; pair++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const ints both = load_bytes(group->codes[pair][lane + v * WIDTH]);
            const ints low = both & 0x0f0f0f0f, high = both >> 4 & 0x0f0f0f0f;
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                const int8_t *codes = x[r] + k + 8 * pair;
                sums[r][v] = times_nibbles(sums[r][v], low, four(codes));
                sums[r][v] = times_nibbles(sums[r][v], high, four(codes + 4));
            }
        }
}

INLINE void nibble_tile(const int rows, const int vectors, const Matrix *m, int64_t column, Rows x,
                        int first, Outputs y) {
    const int64_t groups = m->inputs / NIBBLE_GROUP;
    const NibbleGroup *group = (const NibbleGroup *)m->panels + column / PANEL * groups;
    const int lane = (int)(column % PANEL);
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
    for (int64_t g = 0; g < groups; g++, group++) {
        ints sums[MOST_ROWS][VECTORS];
        __builtin_prefetch(group + 2);
        __builtin_prefetch((const char *)(group + 2) + 256);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[r][v] = (ints){0};
        nibble_dots(rows, vectors, group, lane, row, g * NIBBLE_GROUP, sums);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const floats scale = load_halves(group->scale + lane + v * WIDTH);
            const floats least = load_halves(group->least + lane + v * WIDTH);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                const float of_row = scales[r][g].scale, total = of_row * (float)scales[r][g].sum;
                const floats sum = to_floats(whole(sums[r][v]));
                values[r][v] = fused(sum, scale * of_row, values[r][v]);
                values[r][v] = fused(least, all(total), values[r][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) put(m, column + v * WIDTH, values[r][v], y, first + r);
}

#endif
