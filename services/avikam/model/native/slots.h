/* Where keys and values of a sequence lie.
 *
 * A slot keeps, per key/value head, keys in blocks of 16 entries and values in groups of 4, each in
 * the order in which a sum reads them (dim: the head's, padded to a multiple of 16):
 *
 *     keys    [entry / 16][channel / 4][entry % 16][channel % 4]   code + 128
 *     values  [entry / 4][channel][entry % 4]                      code
 */
#ifndef AVIKAM_SLOTS_H
#define AVIKAM_SLOTS_H

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

static inline uint8_t *key_at(Storage s, int64_t entry, int dim) {
    return s.keys + (entry / LANES) * LANES * dim + (entry % LANES) * 4;
}

static inline int8_t *value_at(Storage s, int64_t entry, int dim) {
    return s.values + (entry / 4) * 4 * dim + entry % 4;
}

static inline void write_entry(Storage s, int64_t entry, const int8_t *key, RowScale key_scale,
                               const int8_t *value, RowScale value_scale, int dim) {
    uint8_t *keys = key_at(s, entry, dim);
    int8_t *values = value_at(s, entry, dim);
    for (int c = 0; c < dim; c += 4) {
        uint32_t word;
        memcpy(&word, key + c, 4);
        word ^= 0x80808080;
        memcpy(keys + c * LANES, &word, 4);
    }
    for (int c = 0; c < dim; c++) values[c * 4] = value[c];
    s.key_scale[entry] = key_scale.scale;
    s.value_scale[entry] = value_scale.scale;
}

static inline void move_entry(Storage s, int64_t from, int64_t to, int dim) {
    for (int c = 0; c < dim; c += 4)
        memcpy(key_at(s, to, dim) + c * LANES, key_at(s, from, dim) + c * LANES, 4);
    for (int c = 0; c < dim; c++) value_at(s, to, dim)[c * 4] = value_at(s, from, dim)[c * 4];
    s.key_scale[to] = s.key_scale[from];
    s.value_scale[to] = s.value_scale[from];
}

#endif
