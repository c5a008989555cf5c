/* A whole step of a decoder in one call: embeddings, layers, final norm.
 *
 * One team of threads walks through the layers together; between two lines below it meets:
 *
 *     by row           x += previous; normalise; quantise
 *     by panel         qkv
 *     by run and head  bias, head norm, rotate, quantise, write to the slot, attend    (mix.h)
 *     by row           quantise
 *     by panel         o
 *     by row           x += o; normalise; quantise
 *     by panel         up
 *     by row           gate, quantise
 *     by panel         down
 *
 * A single row is cheaper to prepare than to wait for: then every member prepares a copy of its own,
 * and four of the nine meetings go.
 */
#include "mix.h"
#include "product.h"

enum { EMBED = 1, QKV = 2, MIX = 4, FEED = 8, FINAL = 16, WHOLE = 31 };

static inline int begin(Member me, int64_t work) { return (int)(work * me.id / me.threads); }
static inline int end(Member me, int64_t work) { return (int)(work * (me.id + 1) / me.threads); }

/* The rows that a member prepares: where they begin, and how far its copies lie from the others'. */
typedef struct {
    int first, last, copy;
} Mine;

static Mine mine(const Step *s, Member me) {
    if (s->batch->rows == 1 && s->stages == WHOLE) return (Mine){0, 1, me.id};
    return (Mine){begin(me, s->batch->rows), end(me, s->batch->rows), 0};
}

/* Rows prepared by everybody need no meeting. */
static void meet_prepared(const Step *s, Member me) {
    if (s->batch->rows > 1 || s->stages != WHOLE) meet(me);
}

static Rows prepared(const Step *s, Member me) {
    const Work *w = s->work;
    const int64_t row = mine(s, me).copy;
    return (Rows){w->codes + row * w->codes_stride, w->scales + row * w->scales_stride,
                  w->codes_stride, w->scales_stride};
}

static void multiply(const Step *s, Member me, const Matrix *m, Outputs y) {
    const Rows x = prepared(s, me);
    for (Pieces p = pieces(me, panels_of(m)); take(&p);)
        panel_product(m, (int)p.piece, x, (int)s->batch->rows, y);
    meet(me);
}

static void quantise_for(const Work *w, const Matrix *m, int row, const float *x) {
    quantise_row(x, (int)m->inputs, (int)m->group, w->codes + row * w->codes_stride,
                 w->scales + row * w->scales_stride);
}

/* A token's vector; a tied one lies in the head's panels. */
static void embed_row(const Model *m, int64_t token, float *x) {
    const float scale = m->embed_scale[token], factor = (float)m->embed_factor;
    if (m->embed) {
        const int8_t *codes = m->embed + token * m->hidden;
        for (int64_t i = 0; i < m->hidden; i++) x[i] = (float)codes[i] * scale * factor;
        return;
    }
    const uint8_t *codes = m->head.panels + token / PANEL * PANEL * m->hidden + token % PANEL * 4;
    for (int64_t i = 0; i < m->hidden; i++) {
        const int code = codes[i / 4 * 4 * PANEL + i % 4] - 128;
        x[i] = (float)code * scale * factor;
    }
}

static void embed(const Step *s, Member me) {
    const Mine rows = mine(s, me);
    for (int r = rows.first; r < rows.last; r++)
        embed_row(s->model, s->batch->tokens[r],
                  s->work->x + (r + rows.copy) * s->work->hidden_stride);
}

/* x += out (normalised first where the layer says so); normed = norm(x), and its codes for `next`. */
static void prepare(const Step *s, Member me, const float *post, int more, const float *norm,
                    const Matrix *next) {
    const Model *m = s->model;
    const Work *w = s->work;
    const int size = (int)m->hidden;
    const Mine rows = mine(s, me);
    for (int r = rows.first; r < rows.last; r++) {
        const int own = r + rows.copy;
        float *x = w->x + own * w->hidden_stride, *normed = w->normed + own * w->hidden_stride;
        const float *out = w->out + r * w->hidden_stride;
        if (more && post) {
            normalise(out, post, (float)m->eps, size, normed);
            add(x, normed, size);
        } else if (more) {
            add(x, out, size);
        }
        normalise(x, norm, (float)m->eps, size, normed);
        if (next) quantise_for(w, next, own, normed);
    }
    meet_prepared(s, me);
}

static void requantise(const Step *s, Member me, const float *from, int64_t stride,
                       const Matrix *next) {
    const Mine rows = mine(s, me);
    for (int r = rows.first; r < rows.last; r++)
        quantise_for(s->work, next, r + rows.copy, from + r * stride);
    meet_prepared(s, me);
}

static void gate(const Step *s, Member me, const Matrix *next) {
    const Work *w = s->work;
    const int size = (int)next->inputs;
    const Mine rows = mine(s, me);
    for (int r = rows.first; r < rows.last; r++) {
        const float *both = w->up + r * w->up_stride;
        float *gated = w->gated + (r + rows.copy) * w->gated_stride;
        if (s->model->feed_forward == SWIGLU)
            gate_silu(both, size, gated);
        else
            gate_gelu(both, size, gated);
        quantise_for(w, next, r + rows.copy, gated);
    }
    meet_prepared(s, me);
}

static void mix(const Step *s, Member me, const Layer *layer) {
    const Work *w = s->work;
    mix_layer(s, me, layer);
    requantise(s, me, w->mixed, w->mixed_stride, &layer->o);
    multiply(s, me, &layer->o, (Outputs){w->out, w->hidden_stride, 0});
}

static void feed(const Step *s, Member me, const Layer *layer) {
    const Work *w = s->work;
    const int plain = s->model->feed_forward == GELU;
    prepare(s, me, layer->attention_post_norm, 1, layer->ffn_norm, &layer->up);
    multiply(s, me, &layer->up, (Outputs){w->up, w->up_stride, plain});
    if (plain)
        requantise(s, me, w->up, w->up_stride, &layer->down);
    else
        gate(s, me, &layer->down);
    multiply(s, me, &layer->down, (Outputs){w->out, w->hidden_stride, 0});
}

static void walk(Member me, const void *what) {
    const Step *s = what;
    const Layer *layers = s->model->layers;
    if (s->stages & EMBED) embed(s, me);
    for (int i = s->first; i < s->last; i++) {
        const Layer *layer = layers + i;
        if (s->stages & QKV) {
            const float *post = i > 0 ? layers[i - 1].ffn_post_norm : NULL;
            prepare(s, me, post, i > 0, layer->attention_norm, &layer->qkv);
            multiply(s, me, &layer->qkv, (Outputs){s->work->qkv, s->work->qkv_stride, 0});
        }
        if (s->stages & MIX) mix(s, me, layer);
        if (s->stages & FEED) feed(s, me, layer);
    }
    if (s->stages & FINAL)
        prepare(s, me, layers[s->model->count - 1].ffn_post_norm, 1, s->model->final_norm, NULL);
}

/* Run `stages` of layers first..last - 1. What a step is cut into changes no bit of it. */
Effort avikam_step(Team *team, const Model *m, const Work *w, const Batch *b, int first, int last,
                   int stages, int threads) {
    const Step step = {m, w, b, first, last, stages};
    return together(team, threads, walk, &step);
}

static void attend_only(Member me, const void *what) {
    const Step *s = what;
    mix_layer(s, me, s->model->layers + s->first);
}

/* Attention alone, for a caller that computes the rest: w->qkv to w->mixed. */
Effort avikam_attend(Team *team, const Model *m, const Work *w, const Batch *b, int layer,
                     int threads) {
    const Step step = {m, w, b, layer, layer + 1, MIX};
    return together(team, threads, attend_only, &step);
}

/* Logits [rows, outputs padded to whole panels] of normalised rows [rows, hidden]. */
typedef struct {
    const float *hidden;
    float *logits;
    int64_t stride;
    Step step;
} Head;

static void project(Member me, const void *what) {
    const Head *h = what;
    requantise(&h->step, me, h->hidden, h->step.model->hidden, &h->step.model->head);
    multiply(&h->step, me, &h->step.model->head, (Outputs){h->logits, h->stride, 0});
}

Effort avikam_logits(Team *team, const Model *m, const Work *w, const float *hidden, int64_t rows,
                     float *logits, int64_t stride, int threads) {
    const Batch batch = {.rows = rows};
    const Head head = {hidden, logits, stride, {m, w, &batch, 0, 0, WHOLE}};
    return together(team, threads, project, &head);
}
