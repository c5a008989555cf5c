/* What a step works on: the model's numbers and weights, room for its rows, and the rows. */
#ifndef AVIKAM_MODEL_H
#define AVIKAM_MODEL_H

#include "matrix.h"
#include "slots.h"

enum { FULL, HYBRID, SLIDING };    /* kinds of layers, as layout.py draws their slots */
enum { GELU, SWIGLU, GEGLU };      /* kinds of feed-forward */

typedef struct {
    const float *attention_norm, *attention_post_norm; /* a post norm: NULL where there is none */
    const float *ffn_norm, *ffn_post_norm;
    const float *q_norm, *k_norm; /* per head, padded with zeros; NULL: none */
    const float *rotary; /* [position][cos, sin][head_dim / 2]; NULL: queries and keys come turned */
    Matrix qkv, o, up, down;
    Storage slots;
    int64_t kind;
} Layer;

typedef struct {
    int64_t count, hidden, heads, kv_heads, groups, head_dim, window, stride, feed_forward;
    double eps, embed_factor;
    const int8_t *embed; /* NULL: tied to the head */
    const float *embed_scale, *final_norm;
    const Layer *layers;
    Matrix head;
} Model;

/* Room for the rows of one step; a row of each begins where its stride says. x, normed, gated, codes
 * and scales have a row for each member of the team at least. */
typedef struct {
    float *x, *normed, *qkv, *mixed, *out, *up, *gated;
    int8_t *codes;
    RowScale *scales;
    char *scratch; /* of attention, `scratch_stride` bytes for each member */
    int64_t hidden_stride, qkv_stride, mixed_stride, up_stride, gated_stride, codes_stride,
        scales_stride, scratch_stride;
} Work;

/* Rows side by side of one sequence. */
typedef struct {
    int64_t first, count;
} Span;

/* The rows of a step; its runs (all rows of a sequence), and the same cut into short blocks. */
typedef struct {
    int64_t rows;
    const int64_t *tokens, *positions, *slots;
    const Span *runs, *blocks;
    int64_t run_count, block_count;
} Batch;

typedef struct {
    const Model *model;
    const Work *work;
    const Batch *batch;
    int first, last, stages;
} Step;

#endif
