/* Attention of queries over one head of a slot: integer sums, so neither order nor company matters.
 *
 * Several queries pass over the entries together (those that share a key/value head, and rows of a
 * prompt side by side), so that an entry is read once for all of them. Each has its own number of
 * entries that it may see; what lies behind gets weight 0. The arithmetic is that of int8_slots.py:
 * scores, their total and the mix are sums of integers.
 */
#ifndef AVIKAM_ATTENTION_H
#define AVIKAM_ATTENTION_H

#include "dots.h"
#include "slots.h"

#if defined(__AVX512VNNI__)
enum { QUERIES = 6 }; /* that pass together: their sums fit into the registers */
#else
enum { QUERIES = 4 };
#endif

/* One query: its codes and where its result goes. It sees the first `valid` entries. */
typedef struct {
    const int8_t *codes;
    RowScale scale;
    int valid;
    float *out;
    int64_t channels; /* of `out`: the head's, without padding */
} Query;

/* What a thread needs for QUERIES queries; each has room for the slot's length. */
typedef struct {
    float *scores;
    uint8_t *codes;
    int64_t length;
} Scratch;



/* scores[q][j] = q . k_j * scale_q * scale_j * factor; -infinity behind a query's end. */
INLINE void score(const int count, Storage s, const Query *q, float factor, int longest,
                            int dim, Scratch room, float *most) {
    floats highest[QUERIES];
    float factors[QUERIES];
    for (int i = 0; i < count; i++) {
        highest[i] = all(-INFINITY);
        factors[i] = factor * q[i].scale.scale;
    }
    for (int j = 0; j < longest; j += LANES) {
        const uint8_t *keys = s.keys + (int64_t)j * dim;
        ints sums[QUERIES][PARTS];
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) sums[i][p] = beginning(q[i].scale.sum);
        for (int c = 0; c < dim; c += 4) {
            ints k[PARTS];
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) k[p] = shifted(keys + c * LANES + p * 4 * WIDTH);
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                const Quad x = quad(q[i].codes + c);
#pragma GCC unroll 2
                for (int p = 0; p < PARTS; p++) sums[i][p] = times_shifted(sums[i][p], k[p], x);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++) {
                const int at = j + p * WIDTH;
                floats values = to_floats(sums[i][p]) * factors[i] * load(s.key_scale + at);
                values = choose(among(at, q[i].valid), values, all(-INFINITY));
                highest[i] = most_of(values, highest[i]);
                store(room.scores + i * room.length + at, values);
            }
    }
    for (int i = 0; i < count; i++) most[i] = largest_float(highest[i]);
}

/* scores[j] becomes e^(scores[j] - most) * scale of value j. Returns the sum of the exponentials. */
static inline float soften(Storage s, float *scores, float most, int valid, int longest,
                           float *largest_weight) {
    ints total = {0}, heaviest = {0};
    for (int j = 0; j < longest; j += WIDTH) {
        const Choice real = among(j, valid);
        const floats e = choose(real, exponential(load(scores + j) - most), all(0));
        const floats weight = choose(real, e * load(s.value_scale + j), all(0));
        total += to_ints(nearest(e * 32768.0f));
        heaviest = larger(magnitude(weight), heaviest);
        store(scores + j, weight);
    }
    *largest_weight = largest(heaviest);
    return (float)total_of(total) * (1.0f / 32768);
}

/* Eight-bit codes of a query's weights. Returns what the mix of codes is multiplied by. */
static inline float weigh(Storage s, Scratch room, int index, float most, int valid, int longest) {
    float *scores = room.scores + index * room.length, heaviest;
    const int blocks = (longest + LANES - 1) / LANES * LANES;
    const float total = soften(s, scores, most, valid, blocks, &heaviest);
    const float unit = heaviest == 0 ? 1.0f : heaviest * (1.0f / 255);
    const float inverse = 1.0f / unit;
    for (int j = 0; j < blocks; j += WIDTH)
        store_bytes(room.codes + index * room.length + j, to_ints(nearest(load(scores + j) * inverse)));
    return unit / total;
}

/* `vectors` registers of channels from `channel` on: the sum of values times codes. */
INLINE void blend(const int count, const int vectors, Storage s, const Query *q,
                            const float *factors, int longest, int dim, int channel, Scratch room) {
    ints sums[QUERIES][PARTS];
    float mixed[WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = (ints){0};
    for (int j = 0; j < longest; j += 4) {
        Spread values[PARTS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            values[v] = spread(s.values + (int64_t)j * dim + 4 * (channel + v * WIDTH));
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            const Share share = share_of(room.codes + i * room.length + j);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sums[i][v] = times_share(sums[i][v], values[v], share);
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) {
            const int64_t at = channel + v * WIDTH, left = q[i].channels - at;
            store(mixed, to_floats(sums[i][v]) * factors[i]);
            if (left > 0)
                memcpy(q[i].out + at, mixed, (size_t)(left < WIDTH ? left : WIDTH) * sizeof *mixed);
        }
}

INLINE void attend_some(const int count, Storage s, const Query *q, float factor, int dim,
                                  Scratch room) {
    float factors[QUERIES];
    int longest = 0;
    for (int i = 0; i < count; i++)
        if (q[i].valid > longest) longest = q[i].valid;
    score(count, s, q, factor, longest, dim, room, factors);
    for (int i = 0; i < count; i++)
        factors[i] = weigh(s, room, i, factors[i], q[i].valid, longest);
    for (int c = 0; c < dim; c += LANES)
        blend(count, PARTS, s, q, factors, longest, dim, c, room);
}

/* All `count` queries over the head `s`: in as few passes as possible. */
static void attend(Storage s, const Query *q, int count, float factor, int dim, Scratch room) {
    const int passes = (count + QUERIES - 1) / QUERIES;
    for (int pass = 0; pass < passes; pass++) {
        const int size = count / (passes - pass);
        switch (size) {
#if defined(__AVX512VNNI__)
        case 6: attend_some(6, s, q, factor, dim, room); break;
        case 5: attend_some(5, s, q, factor, dim, room); break;
#endif
        case 4: attend_some(4, s, q, factor, dim, room); break;
        case 3: attend_some(3, s, q, factor, dim, room); break;
        case 2: attend_some(2, s, q, factor, dim, room); break;
        default: attend_some(1, s, q, factor, dim, room);
        }
        q += size, count -= size;
    }
}

#endif
