/* Attention of one query over a slot: integer sums, so neither order nor company matters.
 *
 * A slot keeps, per key/value head, keys in blocks of 16 entries and values in groups of 4, each in
 * the order in which a sum reads them (dim: the head's, padded to a multiple of 16):
 *
 *     keys    [entry / 16][channel / 4][entry % 16][channel % 4]   code + 128
 *     values  [entry / 4][channel][entry % 4]                      code
 *
 * The arithmetic is that of int8_slots.py: scores, their total and the mix are sums of integers.
 */
#ifndef AVIKAM_ATTENTION_H
#define AVIKAM_ATTENTION_H

#include "rows.h"

typedef struct {
    uint8_t *keys;
    float *key_scale;
    int8_t *values;
    float *value_scale;
    int64_t length; /* entries, a multiple of 16 */
} Storage;

/* One head of one slot. */
static inline Storage head_of(const Storage *all_slots, int64_t index, int dim) {
    const int64_t first = index * all_slots->length;
    return (Storage){all_slots->keys + first * dim, all_slots->key_scale + first,
                     all_slots->values + first * dim, all_slots->value_scale + first,
                     all_slots->length};
}

static inline uint8_t *key_at(Storage s, int entry, int dim) {
    return s.keys + (entry / LANES) * LANES * dim + (entry % LANES) * 4;
}

static inline int8_t *value_at(Storage s, int entry, int dim) {
    return s.values + (entry / 4) * 4 * dim + entry % 4;
}

static inline void write_entry(Storage s, int entry, const int8_t *key, RowScale key_scale,
                               const int8_t *value, RowScale value_scale, int dim) {
    uint8_t *keys = key_at(s, entry, dim);
    int8_t *values = value_at(s, entry, dim);
    for (int c = 0; c < dim; c += 4)
        for (int i = 0; i < 4; i++) keys[c * LANES + i] = (uint8_t)(key[c + i] + 128);
    for (int c = 0; c < dim; c++) values[c * 4] = value[c];
    s.key_scale[entry] = key_scale.scale;
    s.value_scale[entry] = value_scale.scale;
}

static inline void move_entry(Storage s, int from, int to, int dim) {
    for (int c = 0; c < dim; c += 4)
        memcpy(key_at(s, to, dim) + c * LANES, key_at(s, from, dim) + c * LANES, 4);
    for (int c = 0; c < dim; c++) value_at(s, to, dim)[c * 4] = value_at(s, from, dim)[c * 4];
    s.key_scale[to] = s.key_scale[from];
    s.value_scale[to] = s.value_scale[from];
}

/* Which of the 16 entries from `first` on are among the first `valid`. */
static inline ints among(int first, int valid) {
    const ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane + first < valid;
}

/* scores[j] = q . k_j * scale_q * scale_j * factor; -infinity behind the end. Returns the largest. */
static inline float score(Storage s, const int8_t *q, RowScale scale, float factor, int valid,
                          int dim, float *scores) {
    floats most = all(-INFINITY);
    factor *= scale.scale;
    for (int j = 0; j < valid; j += LANES) {
        const uint8_t *keys = s.keys + (int64_t)j * dim;
        ints dots = (ints){0} - 128 * scale.sum;
        for (int c = 0; c < dim; c += 4)
            dots = dot4(dots, load_bytes(keys + c * LANES), four(q + c));
        floats values = to_floats(dots) * factor * load(s.key_scale + j);
        values = choose(among(j, valid), values, all(-INFINITY));
        most = choose(values > most, values, most);
        store(scores + j, values);
    }
    float result = most[0];
    for (int i = 1; i < LANES; i++)
        if (most[i] > result) result = most[i];
    return result;
}

/* weights[j] = e^(scores[j] - most) * scale of value j. Returns the sum of the exponentials. */
static inline float soften(Storage s, float *scores, float most, int valid, float *largest_weight) {
    ints total = {0}, heaviest = {0};
    for (int j = 0; j < valid; j += LANES) {
        const ints real = among(j, valid);
        floats e = choose(real, exponential(load(scores + j) - most), all(0));
        floats weight = choose(real, e * load(s.value_scale + j), all(0));
        total += to_ints(nearest(e * 32768.0f));
        heaviest = larger(magnitude(weight), heaviest);
        store(scores + j, weight);
    }
    *largest_weight = largest(heaviest);
    return (float)total_of(total) * (1.0f / 32768);
}

/* out [dim] of query `q` over the first `valid` entries; `scores` has room for s.length. */
static inline void attend(Storage s, const int8_t *q, RowScale scale, float factor, int valid,
                          int dim, float *scores, uint8_t *codes, float *out) {
    float heaviest;
    const float most = score(s, q, scale, factor, valid, dim, scores);
    const float total = soften(s, scores, most, valid, &heaviest);
    const float unit = heaviest == 0 ? 1.0f : heaviest * (1.0f / 255);
    const float inverse = 1.0f / unit;
    for (int j = 0; j < valid; j += LANES) {
        ints code = to_ints(nearest(load(scores + j) * inverse));
        *(bytes16 *)(codes + j) = __builtin_convertvector(code, bytes16);
    }
    for (int c = 0; c < dim; c += LANES) {
        ints sums = {0};
        for (int j = 0; j < valid; j += 4)
            sums = dot4(sums, four(codes + j), load_bytes(s.values + (int64_t)j * dim + 4 * c));
        store(out + c, to_floats(sums) * (unit / total));
    }
}

#endif
