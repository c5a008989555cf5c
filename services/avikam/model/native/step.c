/* A whole step of Avikam1 in one call: embeddings, layers, final norm.
 *
 * One team of threads walks through the layers together; between two lines below it meets:
 *
 *     by row      x += previous; normalise; quantise
 *     by panel    qkv
 *     by head     rotate, quantise, write to the slot, attend        rows in their order
 *     by row      quantise
 *     by panel    o
 *     by row      x += o; normalise; quantise
 *     by panel    up, gelu
 *     by row      quantise
 *     by panel    down
 *
 * A chunk of a prompt is a run of single tokens here: each writes its entry, then looks at all that
 * the slot holds, which is exactly what it may see. So no mask exists, and a token's result depends
 * on nothing but the tokens before it.
 */
#include <omp.h>
#include <sched.h>

#include "attention.h"
#include "product.h"

enum { EMBED = 1, QKV = 2, MIX = 4, FEED = 8, FINAL = 16 };

typedef struct {
    const float *attention_norm, *ffn_norm;
    Matrix qkv, o, up, down;
    Storage slots;
    int64_t hybrid;
} Layer;

typedef struct {
    int64_t hidden, heads, kv_heads, groups, head_dim, window, stride;
    double eps;
    const float *rotary; /* [position][cos, sin][head_dim / 2] */
    const int8_t *embed;
    const float *embed_scale, *final_norm;
    const Layer *layers;
    Matrix head;
} Model;

/* Room for the rows of one step; a row of each begins where its stride says. */
typedef struct {
    float *x, *normed, *qkv, *mixed, *out, *up;
    int8_t *codes;
    RowScale *scales;
    int64_t hidden_stride, qkv_stride, mixed_stride, up_stride, codes_stride;
} Work;

typedef struct {
    int64_t rows;
    const int64_t *tokens, *positions, *slots;
} Batch;

/* The threads of one call, and where they meet. */
typedef struct {
    int threads, id;
    int *arrived, *turn;
} Team;

static void meet(Team t) {
    const int turn = __atomic_load_n(t.turn, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(t.arrived, 1, __ATOMIC_ACQ_REL) == t.threads) {
        __atomic_store_n(t.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(t.turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 1; __atomic_load_n(t.turn, __ATOMIC_ACQUIRE) == turn; spins++) {
        __builtin_ia32_pause();
        if (spins % 4096 == 0) sched_yield();
    }
}

static inline int begin(Team t, int64_t work) { return (int)(work * t.id / t.threads); }
static inline int end(Team t, int64_t work) { return (int)(work * (t.id + 1) / t.threads); }

static void multiply(Team t, const Matrix *m, const Work *w, int64_t rows, Outputs y) {
    const Rows x = {w->codes, w->scales, w->codes_stride};
    const int panels = panels_of(m);
    for (int p = begin(t, panels); p < end(t, panels); p++)
        panel_product(m, p, x, (int)rows, y);
    meet(t);
}

static void embed(Team t, const Model *m, const Work *w, const Batch *b) {
    for (int r = begin(t, b->rows); r < end(t, b->rows); r++) {
        const int8_t *codes = m->embed + b->tokens[r] * m->hidden;
        const float scale = m->embed_scale[b->tokens[r]];
        float *x = w->x + r * w->hidden_stride;
        for (int64_t i = 0; i < m->hidden; i++) x[i] = (float)codes[i] * scale;
    }
}

/* x += out when there is something to add; normed = norm(x), and its codes. */
static void prepare(Team t, const Model *m, const Work *w, int64_t rows, const float *norm, int more) {
    const int size = (int)m->hidden;
    for (int r = begin(t, rows); r < end(t, rows); r++) {
        float *x = w->x + r * w->hidden_stride, *normed = w->normed + r * w->hidden_stride;
        if (more) add(x, w->out + r * w->hidden_stride, size);
        normalise(x, norm, (float)m->eps, size, normed);
        w->scales[r] = quantise(normed, size, w->codes + r * w->codes_stride);
    }
    meet(t);
}

static void requantise(Team t, const Work *w, int64_t rows, const float *from, int64_t stride,
                       int64_t size) {
    for (int r = begin(t, rows); r < end(t, rows); r++)
        w->scales[r] = quantise(from + r * stride, (int)size, w->codes + r * w->codes_stride);
    meet(t);
}

/* One head's channels, padded with zeros, in int8. */
static RowScale padded(const float *x, int64_t size, int8_t *codes, int dim) {
    float y[dim];
    memset(y, 0, sizeof y);
    memcpy(y, x, (size_t)size * sizeof *y);
    return quantise(y, dim, codes);
}

/* The same, turned by the position first; a model without a table turned them before. */
static RowScale turned(const Model *m, const float *x, int64_t position, int8_t *codes, int dim) {
    const int half = (int)m->head_dim / 2;
    const float *cosine = m->rotary + position * m->head_dim, *sine = cosine + half;
    float y[dim];
    if (!m->rotary) return padded(x, m->head_dim, codes, dim);
    memset(y, 0, sizeof y);
    for (int i = 0; i < half; i++) {
        y[i] = x[i] * cosine[i] - x[half + i] * sine[i];
        y[half + i] = x[half + i] * cosine[i] + x[i] * sine[i];
    }
    return quantise(y, dim, codes);
}

/* Write the token's entry and say how many entries it may see (layout.py draws the slot). */
static int enter(const Model *m, const Layer *layer, Storage s, int64_t position, const int8_t *key,
                 RowScale key_scale, const int8_t *value, RowScale value_scale, int dim) {
    int entry = (int)position, valid = entry + 1;
    if (layer->hybrid) {
        const int window = (int)m->window, old = entry - window, stride = (int)m->stride;
        entry %= window;
        if (old >= 0) {
            valid = window + old / stride + 1;
            if (old % stride == 0) move_entry(s, entry, window + old / stride, dim);
        }
    }
    write_entry(s, entry, key, key_scale, value, value_scale, dim);
    return valid;
}

/* All rows of one key/value head, in order. */
static void mix_head(const Model *m, const Layer *layer, const Work *w, const Batch *b, int head) {
    const int dim = ((int)m->head_dim + LANES - 1) / LANES * LANES;
    const int64_t share = m->heads / m->kv_heads, per_group = m->kv_heads / m->groups;
    const int64_t group = head / per_group, inside = head % per_group;
    const int64_t group_heads = per_group * (share + 2), first = group * group_heads * m->head_dim;
    const float factor = 1.0f / sqrtf((float)m->head_dim);
    int8_t key[dim], value[dim], query[dim];
    float scores[layer->slots.length], mixed[dim];
    uint8_t codes[layer->slots.length];
    for (int64_t r = 0; r < b->rows; r++) {
        const float *row = w->qkv + r * w->qkv_stride + first;
        const float *k = row + (per_group * share + inside) * m->head_dim;
        const RowScale key_scale = turned(m, k, b->positions[r], key, dim);
        const RowScale value_scale = padded(k + per_group * m->head_dim, m->head_dim, value, dim);
        const Storage s = head_of(&layer->slots, b->slots[r] * m->kv_heads + head, dim);
        const int valid =
            enter(m, layer, s, b->positions[r], key, key_scale, value, value_scale, dim);
        for (int64_t q = inside * share; q < (inside + 1) * share; q++) {
            const RowScale scale =
                turned(m, row + q * m->head_dim, b->positions[r], query, dim);
            attend(s, query, scale, factor, valid, dim, scores, codes, mixed);
            float *out = w->mixed + r * w->mixed_stride +
                         (group * per_group * share + q) * m->head_dim;
            memcpy(out, mixed, (size_t)m->head_dim * sizeof *out);
        }
    }
}

static void mix_heads(Team t, const Model *m, const Layer *layer, const Work *w, const Batch *b) {
    for (int head = begin(t, m->kv_heads); head < end(t, m->kv_heads); head++)
        mix_head(m, layer, w, b, head);
    meet(t);
}

static void mix(Team t, const Model *m, const Layer *layer, const Work *w, const Batch *b) {
    mix_heads(t, m, layer, w, b);
    requantise(t, w, b->rows, w->mixed, w->mixed_stride, layer->o.inputs);
    multiply(t, &layer->o, w, b->rows, (Outputs){w->out, w->hidden_stride, 0});
}

static void feed(Team t, const Model *m, const Layer *layer, const Work *w, int64_t rows) {
    prepare(t, m, w, rows, layer->ffn_norm, 1);
    multiply(t, &layer->up, w, rows, (Outputs){w->up, w->up_stride, 1});
    requantise(t, w, rows, w->up, w->up_stride, layer->down.inputs);
    multiply(t, &layer->down, w, rows, (Outputs){w->out, w->hidden_stride, 0});
}

static void walk(Team t, const Model *m, const Work *w, const Batch *b, int first, int last,
                 int stages) {
    if (stages & EMBED) embed(t, m, w, b);
    for (int i = first; i < last; i++) {
        const Layer *layer = m->layers + i;
        if (stages & QKV) {
            prepare(t, m, w, b->rows, layer->attention_norm, i > 0);
            multiply(t, &layer->qkv, w, b->rows, (Outputs){w->qkv, w->qkv_stride, 0});
        }
        if (stages & MIX) mix(t, m, layer, w, b);
        if (stages & FEED) feed(t, m, layer, w, b->rows);
    }
    if (stages & FINAL) prepare(t, m, w, b->rows, m->final_norm, 1);
}

/* Run `stages` of layers first..last - 1. What a step is cut into changes no bit of it. */
void avikam_step(const Model *m, const Work *w, const Batch *b, int first, int last, int stages,
                 int threads) {
    int arrived = 0, turn = 0;
#pragma omp parallel num_threads(threads)
    {
        const Team t = {omp_get_num_threads(), omp_get_thread_num(), &arrived, &turn};
        walk(t, m, w, b, first, last, stages);
    }
}

/* Attention alone, for a caller that computes the rest: w->qkv to w->mixed. */
void avikam_attend(const Model *m, const Work *w, const Batch *b, int layer, int threads) {
    int arrived = 0, turn = 0;
#pragma omp parallel num_threads(threads)
    {
        const Team t = {omp_get_num_threads(), omp_get_thread_num(), &arrived, &turn};
        mix_heads(t, m, m->layers + layer, w, b);
    }
}

/* Logits [rows, outputs padded to whole panels] of normalised rows. */
void avikam_logits(const Model *m, const Work *w, const float *hidden, int64_t rows, float *logits,
                   int64_t stride, int threads) {
    int arrived = 0, turn = 0;
#pragma omp parallel num_threads(threads)
    {
        const Team t = {omp_get_num_threads(), omp_get_thread_num(), &arrived, &turn};
        requantise(t, w, rows, hidden, m->hidden, m->hidden);
        multiply(t, &m->head, w, rows, (Outputs){logits, stride, 0});
    }
}
