/* Sixteen lanes, whatever the processor has, and the few operations that decide a token.
 *
 * Every float operation is one IEEE operation in a fixed order (build with -ffp-contract=off): the
 * same bits on every processor, for every number of rows and threads. Sums of floats run in sixteen
 * partial sums that are added from left to right.
 */
#ifndef AVIKAM_LANES_H
#define AVIKAM_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 };

typedef float floats __attribute__((vector_size(64), aligned(4)));
typedef int32_t ints __attribute__((vector_size(64), aligned(4)));
typedef uint32_t words __attribute__((vector_size(64), aligned(4)));
typedef int8_t bytes16 __attribute__((vector_size(16), aligned(1)));

static inline floats load(const float *from) { return *(const floats *)from; }
static inline void store(float *to, floats values) { *(floats *)to = values; }
static inline floats all(float value) { return value - (floats){0}; }
static inline floats to_floats(ints values) { return __builtin_convertvector(values, floats); }
static inline ints to_ints(floats values) { return __builtin_convertvector(values, ints); }

/* Lanes of `yes` where `condition` is all ones, of `no` elsewhere. */
static inline floats choose(ints condition, floats yes, floats no) {
    return (floats)(((ints)yes & condition) | ((ints)no & ~condition));
}

static inline ints larger(ints a, ints b) {
    ints more = a > b;
    return (a & more) | (b & ~more);
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
    for (int i = 0; i < LANES; i++)
        if (magnitudes[i] > most) most = magnitudes[i];
    float value;
    memcpy(&value, &most, sizeof value);
    return value;
}

static inline float sum_of(floats partial) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += partial[i];
    return sum;
}

static inline int32_t total_of(ints partial) {
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++) sum += partial[i];
    return sum;
}

/* e^x for x in -87..87 (beyond: as at the ends), within two units in the last place.
 * x = n ln 2 + r; e^r by its Taylor series (Cody & Waite's reduction). */
static inline floats exponential(floats x) {
    x = choose(x < -87.0f, all(-87.0f), x);
    x = choose(x > 87.0f, all(87.0f), x);
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

/* Per lane: sum + the four unsigned bytes of `u` times the four signed bytes of `s`. Exact. */
static inline ints dot4(ints sum, ints u, ints s) {
#if defined(__AVX512VNNI__)
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)u, (__m512i)s);
#else
    const __m256i low = _mm256_set1_epi16(0xff);
    for (int half = 0; half < 2; half++) {
        __m256i a, b, c;
        memcpy(&a, (const char *)&u + 32 * half, sizeof a);
        memcpy(&b, (const char *)&s + 32 * half, sizeof b);
        memcpy(&c, (const char *)&sum + 32 * half, sizeof c);
        __m256i even_b = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
        __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, low), even_b);
        __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
        c = _mm256_add_epi32(c, _mm256_add_epi32(even, odd));
        memcpy((char *)&sum + 32 * half, &c, sizeof c);
    }
    return sum;
#endif
}

static inline ints load_bytes(const void *from) { return *(const ints *)from; }

/* The same four neighbouring bytes in every lane. */
static inline ints four(const void *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return word - (ints){0};
}

#endif
