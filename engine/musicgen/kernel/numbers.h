/* Vectors of sixteen, as GCC and Clang write them on any processor, and the functions that the standard library has for one number only.
 *
 * A sum over a row always goes through sixteen partial sums in the same order, however wide the processor's registers are: results do not
 * depend on the number of threads, on how many rows are computed, or on who else is in the batch.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define LANES 16

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint8_t b16 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

INLINE v16 load(const float* from) { v16 x; memcpy(&x, from, sizeof x); return x; }
INLINE void store(float* to, v16 x) { memcpy(to, &x, sizeof x); }
INLINE v16 all(float x) { return (v16){0} + x; }

INLINE v16 choose(i16 where, v16 yes, v16 no) { return (v16)(((i16)yes & where) | ((i16)no & ~where)); }
#if defined(__AVX512F__) /* what GCC makes of the general form is several times as long */
INLINE v16 larger(v16 a, v16 b) { return (v16)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE v16 magnitude(v16 a) { return (v16)_mm512_abs_ps((__m512)a); }
#else
INLINE v16 larger(v16 a, v16 b) { return choose(a > b, a, b); }
INLINE v16 magnitude(v16 a) { return choose(a < 0.0f, -a, a); }
#endif

/* So many bytes into the second cache: asked for, not waited for. */
INLINE void fetch(const void* from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char*)from + at, 0, 2);
}

INLINE v16 from_bf16(const uint16_t* from) {
    h16 half;
    memcpy(&half, from, sizeof half);
#if defined(__AVX512F__) /* GCC goes by halves of a register */
    return (v16)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#else
    return (v16)(__builtin_convertvector(half, u16) << 16);
#endif
}

/* To the nearest, ties to even. */
INLINE void to_bf16(uint16_t* to, v16 x) {
    u16 bits = (u16)x;
    h16 half = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, h16);
    memcpy(to, &half, sizeof half);
}

INLINE float sum(v16 x) {
    float a[LANES];
    memcpy(a, &x, sizeof a);
    for (int step = 8; step; step /= 2)
        for (int i = 0; i < step; i++) a[i] += a[i + step];
    return a[0];
}

INLINE float largest(v16 x) {
    float a[LANES];
    memcpy(a, &x, sizeof a);
    for (int step = 8; step; step /= 2)
        for (int i = 0; i < step; i++) a[i] = a[i] > a[i + step] ? a[i] : a[i + step];
    return a[0];
}

/* e to the x within 2 ulp (Cephes' polynomial); 0 for what is below the normal numbers, no infinity above. */
INLINE v16 exponential(v16 x) {
    i16 tiny = x < -87.0f;
    x = choose(x > 88.0f, all(88.0f), choose(tiny, all(-87.0f), x));
    v16 t = x * 1.44269504088896341f;
    i16 n = __builtin_convertvector(t + choose(t < 0.0f, all(-0.5f), all(0.5f)), i16); /* towards zero, so: to the nearest */
    v16 k = __builtin_convertvector(n, v16);
    v16 r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    v16 p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    v16 power = (v16)((n + 127) << 23);
    return choose(tiny, all(0.0f), p * power);
}

enum { STORE, ADD, GELU, RELU }; /* what becomes of a product */

/* x Φ(x), by Abramowitz and Stegun 7.1.26: within 1.5e-7 of the error function. */
INLINE v16 gelu(v16 x) {
    v16 z = x * 0.70710678118654752f;
    i16 negative = z < 0.0f;
    v16 a = choose(negative, -z, z);
    v16 t = 1.0f / (1.0f + 0.3275911f * a);
    v16 p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    v16 tail = p * t * exponential(-a * a) * 0.5f; /* what is beyond |x| on one side */
    return x * choose(negative, tail, 1.0f - tail);
}
