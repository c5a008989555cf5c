/* One register of lanes, whatever the processor has, and the few operations that decide a token.
 *
 * Every float operation is one IEEE operation in a fixed order (build with -ffp-contract=off): the
 * same bits on every processor, for every number of rows and threads. Sums of floats run in sixteen
 * partial sums that are added from left to right, also where a register has eight lanes.
 */
#ifndef AVIKAM_LANES_H
#define AVIKAM_LANES_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Sizes that a function is compiled for are constant arguments: then it is always inlined. */
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 }; /* partial sums; sizes of rows are multiples of it */
#if defined(__AVX512VNNI__)
enum { WIDTH = 16 }; /* lanes of one register */
#else
enum { WIDTH = 8 };
#endif
enum { PARTS = LANES / WIDTH };

typedef float floats __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int8_t bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));

static inline floats load(const float *from) { return *(const floats *)from; }
static inline void store(float *to, floats values) { *(floats *)to = values; }
static inline ints load_bytes(const void *from) { return *(const ints *)from; }
static inline floats all(float value) { return value - (floats){0}; }
static inline floats to_floats(ints values) { return __builtin_convertvector(values, floats); }
static inline ints to_ints(floats values) { return __builtin_convertvector(values, ints); }
static inline void store_bytes(void *to, ints values) {
    *(bytes *)to = __builtin_convertvector(values, bytes);
}

/* The same four neighbouring bytes in every lane. */
static inline ints four(const void *from) {
    int32_t word;
    memcpy(&word, from, sizeof word);
    return word - (ints){0};
}

#if defined(__AVX512VNNI__)
typedef __mmask16 Choice;
static inline Choice below(ints a, ints b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
static inline floats choose(Choice which, floats yes, floats no) {
    return (floats)_mm512_mask_blend_ps(which, (__m512)no, (__m512)yes);
}
static inline ints larger(ints a, ints b) { return (ints)_mm512_max_epi32((__m512i)a, (__m512i)b); }
/* Of two floats; when one is no number, `b`. */
static inline floats most_of(floats a, floats b) { return (floats)_mm512_max_ps((__m512)a, (__m512)b); }
static inline floats least_of(floats a, floats b) { return (floats)_mm512_min_ps((__m512)a, (__m512)b); }
/* a b + c, rounded once. */
static inline floats fused(floats a, floats b, floats c) {
    return (floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static inline floats load_halves(const uint16_t *from) {
    return (floats)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)from));
}
#else
typedef ints Choice;
static inline Choice below(ints a, ints b) { return a < b; }
static inline floats choose(Choice which, floats yes, floats no) {
    return (floats)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)which);
}
static inline ints larger(ints a, ints b) { return (ints)_mm256_max_epi32((__m256i)a, (__m256i)b); }
static inline floats most_of(floats a, floats b) { return (floats)_mm256_max_ps((__m256)a, (__m256)b); }
static inline floats least_of(floats a, floats b) { return (floats)_mm256_min_ps((__m256)a, (__m256)b); }
static inline floats fused(floats a, floats b, floats c) {
    return (floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static inline floats load_halves(const uint16_t *from) {
    return (floats)_mm256_cvtph_ps(_mm_loadu_si128((const void *)from));
}
#endif

/* Which of the lanes from number `first` on are among the first `valid`. */
static inline Choice among(int first, int valid) {
    static const int32_t number[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return below(load_bytes(number), (valid - first) - (ints){0});
}

/* Round half to even; |x| < 2^22. */
static inline floats nearest(floats x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23 */
    return (x + shift) - shift;
}

/* |x|, ordered as integers: a NaN is larger than all numbers, so that it cannot get lost. */
static inline ints magnitude(floats x) { return (ints)x & 0x7fffffff; }

static inline float largest(ints magnitudes) {
    int32_t most = 0;
    for (int i = 0; i < WIDTH; i++)
        if (magnitudes[i] > most) most = magnitudes[i];
    float value;
    memcpy(&value, &most, sizeof value);
    return value;
}

static inline float largest_float(floats values) {
    float most = values[0];
    for (int i = 1; i < WIDTH; i++)
        if (values[i] > most) most = values[i];
    return most;
}

/* The sixteen partial sums from left to right. */
static inline float sum_of(const floats partial[PARTS]) {
    float sum = 0;
    for (int p = 0; p < PARTS; p++)
        for (int i = 0; i < WIDTH; i++) sum += partial[p][i];
    return sum;
}

static inline int32_t total_of(ints partial) {
    int32_t sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += partial[i];
    return sum;
}

/* e^x for x in -87..87 (beyond: as at the ends), within two units in the last place.
 * x = n ln 2 + r; e^r by its Taylor series (Cody & Waite's reduction). */
static inline floats exponential(floats x) {
    x = least_of(all(87.0f), most_of(all(-87.0f), x));
    floats n = nearest(x * 1.44269504f);
    floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    floats e = all(1.0f / 5040);
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    return e * (floats)((to_ints(n) + 127) << 23);
}

/* GELU with tanh: x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). */
static inline floats gelu(floats x) {
    floats u = 0.7978845608f * (x + 0.044715f * (x * x * x));
    return x / (1.0f + exponential(-2.0f * u));
}

/* SiLU: x / (1 + e^(-x)). */
static inline floats silu(floats x) { return x / (1.0f + exponential(-x)); }

#endif
