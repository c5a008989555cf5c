/* Attention of a layer's rows: turn, quantise, write to the slots, attend.
 *
 * A chunk of a prompt is a run of single tokens: each writes its entry, then looks at what the slot
 * holds of the tokens up to its own. So no mask exists, and a token's result depends on nothing but
 * the tokens before it.
 *
 *     hybrid, sliding   a ring overwrites entries, so a run's rows go in their order: one piece of
 *                       work is one run and key/value head
 *     full              nothing is overwritten: all entries are written first, then a piece is a
 *                       block of rows and a key/value head
 */
#ifndef AVIKAM_MIX_H
#define AVIKAM_MIX_H

#include "attention.h"
#include "model.h"
#include "team.h"

/* Where a key/value head and its query heads lie in a row of qkv: [q_g | k_g | v_g] x groups. */
typedef struct {
    int64_t share, query, key, value, mixed;
    int head, dim;
} Place;

static Place place_of(const Model *m, int head) {
    const int64_t share = m->heads / m->kv_heads, per_group = m->kv_heads / m->groups;
    const int64_t group = head / per_group, inside = head % per_group;
    const int64_t first = group * per_group * (share + 2);
    const int64_t key = first + per_group * share + inside;
    return (Place){
        .share = share,
        .query = (first + inside * share) * m->head_dim,
        .key = key * m->head_dim,
        .value = (key + per_group) * m->head_dim,
        .mixed = (group * per_group + inside) * share * m->head_dim,
        .head = head,
        .dim = ((int)m->head_dim + LANES - 1) / LANES * LANES,
    };
}

/* One head's channels, padded with zeros, in int8. */
static RowScale padded(const float *x, int64_t size, int8_t *codes, int dim) {
    float y[dim];
    memset(y, 0, sizeof y);
    memcpy(y, x, (size_t)size * sizeof *y);
    return quantise(y, dim, codes);
}

/* The same of a query or key: normalised and turned by the position first, where the layer does. */
static RowScale turned(const Model *m, const Layer *layer, const float *norm, const float *x,
                       int64_t position, int8_t *codes, int dim) {
    const int size = (int)m->head_dim, half = size / 2;
    float y[dim], z[dim];
    memset(y, 0, sizeof y);
    memcpy(y, x, (size_t)size * sizeof *y);
    if (norm) normalise(y, norm, (float)m->eps, size, y);
    if (!layer->rotary) return quantise(y, dim, codes);
    const float *cosine = layer->rotary + position * size, *sine = cosine + half;
    memset(z, 0, sizeof z);
    for (int i = 0; i < half; i++) {
        z[i] = y[i] * cosine[i] - y[half + i] * sine[i];
        z[half + i] = y[half + i] * cosine[i] + y[i] * sine[i];
    }
    return quantise(z, dim, codes);
}

/* Write the token's entry and say how many entries it may see (layout.py draws the slot). */
static int enter(const Step *s, const Layer *layer, Place at, int64_t row) {
    const Model *m = s->model;
    const int64_t position = s->batch->positions[row], window = m->window;
    const float *qkv = s->work->qkv + row * s->work->qkv_stride;
    const Storage slot = head_of(&layer->slots, s->batch->slots[row] * m->kv_heads + at.head, at.dim);
    int8_t key[at.dim], value[at.dim];
    const RowScale key_scale =
        turned(m, layer, layer->k_norm, qkv + at.key, position, key, at.dim);
    const RowScale value_scale = padded(qkv + at.value, m->head_dim, value, at.dim);
    int64_t entry = position, valid = position + 1;
    if (layer->kind != FULL) {
        const int64_t old = position - window;
        entry %= window;
        if (old >= 0) valid = window;
        if (old >= 0 && layer->kind == HYBRID) {
            valid = window + old / m->stride + 1;
            if (old % m->stride == 0) move_entry(slot, entry, window + old / m->stride, at.dim);
        }
    }
    write_entry(slot, entry, key, key_scale, value, value_scale, at.dim);
    return (int)valid;
}

/* A member's room for the queries that pass together. */
static Scratch scratch_of(const Step *s, Member me, int64_t length) {
    char *own = s->work->scratch + me.id * s->work->scratch_stride;
    return (Scratch){(float *)own, (uint8_t *)(own + QUERIES * length * sizeof(float)), length};
}

/* The queries of `rows` rows of one sequence, over one key/value head. */
static void look(const Step *s, Member me, const Layer *layer, Place at, Span rows,
                 const int *valid) {
    const Model *m = s->model;
    const int64_t count = rows.count * at.share;
    const float factor = 1.0f / sqrtf((float)m->head_dim);
    int8_t codes[count][at.dim];
    Query queries[count];
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = rows.first + i / at.share, head = i % at.share * m->head_dim;
        const float *x = s->work->qkv + row * s->work->qkv_stride + at.query + head;
        float *out = s->work->mixed + row * s->work->mixed_stride + at.mixed + head;
        const RowScale scale =
            turned(m, layer, layer->q_norm, x, s->batch->positions[row], codes[i], at.dim);
        queries[i] = (Query){codes[i], scale, valid[i / at.share], out, m->head_dim};
    }
    const int64_t index = s->batch->slots[rows.first] * m->kv_heads + at.head;
    attend(head_of(&layer->slots, index, at.dim), queries, (int)count, factor, at.dim,
           scratch_of(s, me, layer->slots.length));
}

/* A run of rows one by one: what overwrites entries, and single tokens of full layers. */
static void mix_run(const Step *s, Member me, const Layer *layer, Place at, Span run) {
    for (int64_t row = run.first; row < run.first + run.count; row++) {
        const int valid = enter(s, layer, at, row);
        look(s, me, layer, at, (Span){row, 1}, &valid);
    }
}

static void mix_block(const Step *s, Member me, const Layer *layer, Place at, Span block) {
    int valid[block.count];
    for (int64_t i = 0; i < block.count; i++)
        valid[i] = (int)s->batch->positions[block.first + i] + 1;
    look(s, me, layer, at, block, valid);
}

static void mix_layer(const Step *s, Member me, const Layer *layer) {
    const Batch *b = s->batch;
    const int64_t heads = s->model->kv_heads;
    const int single = b->run_count == b->rows;
    if (layer->kind != FULL || single) {
        for (Pieces p = pieces(me, b->run_count * heads); take(&p);)
            mix_run(s, me, layer, place_of(s->model, (int)(p.piece % heads)),
                    b->runs[p.piece / heads]);
        meet(me);
        return;
    }
    for (Pieces p = pieces(me, b->rows * heads); take(&p);)
        enter(s, layer, place_of(s->model, (int)(p.piece % heads)), p.piece / heads);
    meet(me);
    /* The last blocks of a prompt see most: they go first, so that nobody waits for one long piece. */
    for (Pieces p = pieces(me, b->block_count * heads); take(&p);)
        mix_block(s, me, layer, place_of(s->model, (int)(p.piece % heads)),
                  b->blocks[b->block_count - 1 - p.piece / heads]);
    meet(me);
}

#endif
