/* Int8 rows times an int8 matrix: exact sums, one scale per row and per output.
 *
 * The matrix lies in panels of 64 outputs, each panel in the order it is read, its codes plus 128:
 *
 *     panel p | input 0..3 of output 64p | ... of output 64p + 63 | input 4..7 of output 64p | ...
 *
 *     y[n] = (sum_k (w[n][k] + 128) x[k] - 128 sum_k x[k]) * weight scale[n] * row scale
 */
#ifndef AVIKAM_PRODUCT_H
#define AVIKAM_PRODUCT_H

#include "rows.h"

enum { PANEL = 64, VECTORS = PANEL / LANES };
#if defined(__AVX512F__)
enum { TILE = 6 }; /* rows whose 6 x 4 sums fit into 32 registers beside one panel's step */
#else
enum { TILE = 1 };
#endif

typedef struct {
    const uint8_t *panels;
    const float *scale; /* padded to whole panels */
    int64_t inputs, outputs;
} Matrix;

/* Rows of int8 inputs, `stride` bytes apart. */
typedef struct {
    const int8_t *codes;
    const RowScale *scales;
    int64_t stride;
} Rows;

/* Rows of float outputs, `stride` floats apart. */
typedef struct {
    float *values;
    int64_t stride;
    int gelu;
} Outputs;

static inline __attribute__((always_inline)) void
tile(const int count, const Matrix *m, int panel, Rows x, int first, Outputs y) {
    const uint8_t *weights = m->panels + (int64_t)panel * PANEL * m->inputs;
    const int8_t *row[TILE];
    ints sums[TILE][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < count; r++) {
        row[r] = x.codes + (first + r) * x.stride;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[r][v] = (ints){0};
    }
    for (int64_t k = 0; k < m->inputs; k += 4, weights += 4 * PANEL) {
        __builtin_prefetch(weights + 16 * PANEL);
        __builtin_prefetch(weights + 17 * PANEL);
        __builtin_prefetch(weights + 18 * PANEL);
        __builtin_prefetch(weights + 19 * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < count; r++) {
            const ints four_inputs = four(row[r] + k);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = dot4(sums[r][v], load_bytes(weights + v * 4 * LANES), four_inputs);
        }
    }
    const float *scale = m->scale + panel * PANEL;
#pragma GCC unroll 8
    for (int r = 0; r < count; r++) {
        const RowScale of = x.scales[first + r];
        float *out = y.values + (first + r) * y.stride + panel * PANEL;
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            floats value = to_floats(sums[r][v] - 128 * of.sum);
            value = value * load(scale + v * LANES) * of.scale;
            store(out + v * LANES, y.gelu ? gelu(value) : value);
        }
    }
}

/* One panel for `count` rows: as few tiles as possible, of sizes as equal as possible. */
static void panel_product(const Matrix *m, int panel, Rows x, int count, Outputs y) {
    const int tiles = (count + TILE - 1) / TILE;
    for (int t = 0, first = 0; t < tiles; t++) {
        const int size = (count - first) / (tiles - t);
        switch (size) {
#if defined(__AVX512F__)
        case 6: tile(6, m, panel, x, first, y); break;
        case 5: tile(5, m, panel, x, first, y); break;
        case 4: tile(4, m, panel, x, first, y); break;
        case 3: tile(3, m, panel, x, first, y); break;
        case 2: tile(2, m, panel, x, first, y); break;
#endif
        default: tile(1, m, panel, x, first, y);
        }
        first += size;
    }
}

static inline int panels_of(const Matrix *m) { return (int)((m->outputs + PANEL - 1) / PANEL); }

#endif
