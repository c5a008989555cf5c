/* Sums of products of four neighbouring bytes: what each kind of processor has for them.
 *
 * All are exact, so every kind gives the same integers:
 *
 *     VNNI    one instruction takes unsigned times signed bytes. Weights and keys are stored plus
 *             128, so a sum begins with -128 times the sum of the other side's codes.
 *     AVX2    `maddubs` adds two products in 16 bits, where 255 * 127 * 2 would not fit. So weights
 *             lose their 128 again, and |x| (unsigned, at most 127) meets the weight with the sign
 *             of x: 127 * 127 * 2 fits.
 */
#ifndef AVIKAM_DOTS_H
#define AVIKAM_DOTS_H

#include "lanes.h"

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

/* Per lane: sum + the four unsigned bytes of `u` times the four signed bytes of `s`. */
static inline ints dot4(ints sum, ints u, ints s) {
#if defined(__AVX512VNNI__)
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)u, (__m512i)s);
#else
    return (ints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)u, (__m256i)s);
#endif
}

/* Four signed codes of a row, for all lanes. */
typedef ints Quad;
static inline Quad quad(const int8_t *codes) { return four(codes); }

/* Stored plus 128, and what a sum over them begins with. */
static inline ints shifted(const uint8_t *from) { return load_bytes(from); }
static inline ints beginning(int32_t sum) { return -128 * sum - (ints){0}; }
static inline ints times_shifted(ints sum, ints stored, Quad x) { return dot4(sum, stored, x); }

/* Unsigned codes 0..255 of a row, times signed bytes. */
typedef ints Share;
static inline Share share_of(const uint8_t *codes) { return four(codes); }
typedef ints Spread;
static inline Spread spread(const int8_t *from) { return load_bytes(from); }
static inline ints times_share(ints sum, Spread values, Share s) { return dot4(sum, s, values); }

/* Codes 0..15 times a row's codes; at most 32 inputs may be added before `whole`. */
static inline ints times_nibbles(ints sum, ints nibbles, ints x) { return dot4(sum, nibbles, x); }
static inline ints whole(ints sum) { return sum; }

#else

static inline __m256i pairs(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

typedef struct {
    __m256i sign, size;
} Quad;
static inline Quad quad(const int8_t *codes) {
    const __m256i x = (__m256i)four(codes);
    return (Quad){x, _mm256_abs_epi8(x)};
}

static inline ints shifted(const uint8_t *from) {
    return (ints)_mm256_xor_si256((__m256i)load_bytes(from), _mm256_set1_epi8(-128));
}
static inline ints beginning(int32_t sum) { return (void)sum, (ints){0}; }
static inline ints times_shifted(ints sum, ints stored, Quad x) {
    const __m256i products = _mm256_maddubs_epi16(x.size, _mm256_sign_epi8((__m256i)stored, x.sign));
    return (ints)_mm256_add_epi32((__m256i)sum, pairs(products));
}

/* 255 * 127 * 2 does not fit into 16 bits: even and odd bytes are widened and multiplied apart. */
typedef struct {
    __m256i even, odd;
} Share;
static inline Share share_of(const uint8_t *codes) {
    const __m256i x = (__m256i)four(codes);
    return (Share){_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}
typedef struct {
    __m256i even, odd;
} Spread;
static inline Spread spread(const int8_t *from) {
    const __m256i v = (__m256i)load_bytes(from);
    return (Spread){_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8), _mm256_srai_epi16(v, 8)};
}
static inline ints times_share(ints sum, Spread values, Share s) {
    const __m256i even = _mm256_madd_epi16(s.even, values.even);
    const __m256i odd = _mm256_madd_epi16(s.odd, values.odd);
    return (ints)_mm256_add_epi32((__m256i)sum, _mm256_add_epi32(even, odd));
}

/* 15 * 127 * 2 * 8 fits into 16 bits: one widening per 32 inputs. */
static inline ints times_nibbles(ints sum, ints nibbles, ints x) {
    const __m256i products = _mm256_maddubs_epi16((__m256i)nibbles, (__m256i)x);
    return (ints)_mm256_add_epi16((__m256i)sum, products);
}
static inline ints whole(ints sum) { return (ints)pairs((__m256i)sum); }

#endif

#endif
