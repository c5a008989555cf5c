/* Rows times a panel of a matrix, cut into tiles whose sums fit into the registers. */
#ifndef AVIKAM_PRODUCT_H
#define AVIKAM_PRODUCT_H

#include "int4_tiles.h"
#include "int8_tiles.h"

/* Most rows of a tile, without and with groups: their sums lie in registers beside the weights. */
#if defined(__AVX512VNNI__)
enum { TILE = 8, GROUPED_TILE = 6, AT_ONCE = 2 };
#elif defined(__AVXVNNI__)
enum { TILE = 6, GROUPED_TILE = 3, AT_ONCE = 2 };
#else
enum { TILE = 4, GROUPED_TILE = 3, AT_ONCE = 2 };
#endif

/* `rows` rows of one panel: the form that the matrix has. */
INLINE void panel_tile(const int rows, const Matrix *m, int panel, Rows x, int first, Outputs y) {
    const int vectors = rows == 1 ? VECTORS : AT_ONCE;
    for (int v = 0; v < VECTORS; v += vectors) {
        const int64_t column = (int64_t)panel * PANEL + v * WIDTH;
        if (rows <= GROUPED_TILE && m->bits == 4)
            nibble_tile(rows, vectors, m, column, x, first, y);
        else if (rows <= GROUPED_TILE && m->group)
            grouped_tile(rows, vectors, m, column, x, first, y);
        else
            tile(rows, vectors, m, column, x, first, y);
    }
}

/* One panel for `count` rows: as few tiles as possible, of sizes as equal as possible. */
static void panel_product(const Matrix *m, int panel, Rows x, int count, Outputs y) {
    const int most = m->bits == 4 || m->group ? GROUPED_TILE : TILE;
    const int tiles = (count + most - 1) / most;
    for (int t = 0, first = 0; t < tiles; t++) {
        const int size = (count - first) / (tiles - t);
        switch (size) {
#define SIZE(rows) \
    case rows: panel_tile(rows, m, panel, x, first, y); break;
#if defined(__AVX512VNNI__)
            SIZE(8) SIZE(7)
#endif
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
            SIZE(6) SIZE(5)
#endif
            SIZE(4) SIZE(3) SIZE(2)
#undef SIZE
        default: panel_tile(1, m, panel, x, first, y);
        }
        first += size;
    }
}

#endif
