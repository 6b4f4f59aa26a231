/* Matrix products for a few rows at a time: y (M, N) = x (M, K) × W (K, N), in fp32, bf16 weights, or int8.
 *
 * W is packed in tiles of 64 outputs, so that every weight is read once, in order, and a sum needs no reduction across a register:
 *
 *     fp32, bf16   [N / 64][K][64]
 *     int8         [N / 64][K / 4][64][4]      four weights of one output side by side, as VNNI multiplies them
 *
 * Each output is summed over K in order, one row as the other. In int8 the sum is exact: weights have a scale for each output, activations a
 * scale for each row, taken from that row alone. Activations are stored as q + 128 (VNNI multiplies unsigned by signed), and what that adds,
 * 128 Σ w, is taken off again.
 */
#pragma once

#include "numbers.h"
#include "pool.h"

#if defined(__AVX512VNNI__) && defined(__AVX512F__)
#include <immintrin.h>
#define VNNI 1
#else
#define VNNI 0
#endif

#define TILE 64
#define MOST_ROWS 256 /* of one call */

enum { FP32, BF16, INT8 };
enum { STORE, ADD, GELU, RELU };

typedef struct {
    const void* weights;
    const float* scales;   /* (N), int8 only */
    const int32_t* sums;   /* (N), 128 Σ w, int8 only */
    int32_t outputs, inputs;
} Linear;

/* Rows that a product reads: fp32 (M, K), and in int8 q + 128 (M, K) with scales (M). */
typedef struct {
    const float* x;
    const uint8_t* q;
    const float* scales;
} Rows;

/* One row of K numbers to int8: the largest becomes 127. */
static void quantise(const float* x, uint8_t* q, float* scale, int K) {
    v16 most = all(0.0f);
    for (int k = 0; k < K; k += LANES) {
        v16 a = load(x + k);
        most = larger(most, choose(a < 0.0f, -a, a));
    }
    float top = largest(most), up = top > 0.0f ? 127.0f / top : 0.0f;
    *scale = top / 127.0f;
    for (int k = 0; k < K; k += LANES) {
        b16 bytes = __builtin_convertvector(__builtin_convertvector(load(x + k) * up + 128.5f, u16), b16);
        memcpy(q + k, &bytes, sizeof bytes);
    }
}

INLINE void dot_float(int R, int precision, const void* weights, int from, int to, const float* x, int stride, float (*sums)[TILE]) {
    v16 a[4][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) a[r][j] = load(sums[r] + LANES * j);
    for (int k = from; k < to; k++) {
        v16 w[4];
        for (int j = 0; j < 4; j++)
            w[j] = precision == FP32 ? load((const float*)weights + TILE * k + LANES * j)
                                     : from_bf16((const uint16_t*)weights + TILE * k + LANES * j);
        __builtin_prefetch((const char*)weights + (precision == FP32 ? 256 : 128) * (k + 12), 0, 3);
        if (precision == FP32) {
            __builtin_prefetch((const char*)weights + 256 * (k + 12) + 64, 0, 3);
            __builtin_prefetch((const char*)weights + 256 * (k + 12) + 128, 0, 3);
            __builtin_prefetch((const char*)weights + 256 * (k + 12) + 192, 0, 3);
        } else {
            __builtin_prefetch((const char*)weights + 128 * (k + 12) + 64, 0, 3);
        }
        for (int r = 0; r < R; r++) {
            v16 b = all(x[(size_t)r * stride + k]);
            for (int j = 0; j < 4; j++) a[r][j] += w[j] * b;
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) store(sums[r] + LANES * j, a[r][j]);
}

INLINE void dot_int8(int R, const int8_t* weights, int K, const uint8_t* x, int stride, int32_t (*sums)[TILE]) {
#if VNNI
    __m512i a[4][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) a[r][j] = _mm512_setzero_si512();
    for (int k = 0; k < K; k += 4) {
        const int8_t* here = weights + TILE * k;
        __m512i w[4];
        for (int j = 0; j < 4; j++) {
            w[j] = _mm512_loadu_si512(here + 64 * j);
            __builtin_prefetch(here + 4096 + 64 * j, 0, 3);
        }
        for (int r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, x + (size_t)r * stride + k, 4);
            __m512i b = _mm512_set1_epi32(four);
            for (int j = 0; j < 4; j++) a[r][j] = _mm512_dpbusd_epi32(a[r][j], b, w[j]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) _mm512_storeu_si512(sums[r] + LANES * j, a[r][j]);
#else
    memset(sums, 0, sizeof(int32_t) * TILE * R);
    for (int k = 0; k < K; k += 4)
        for (int r = 0; r < R; r++) {
            const uint8_t* four = x + (size_t)r * stride + k;
            const int8_t* here = weights + TILE * k;
            for (int n = 0; n < TILE; n++)
                sums[r][n] += four[0] * here[4 * n] + four[1] * here[4 * n + 1] + four[2] * here[4 * n + 2] + four[3] * here[4 * n + 3];
        }
#endif
}

#define FOR_ROWS(R, CALL) \
    switch (R) { \
        case 1: { enum { N_ROWS = 1 }; CALL; break; } \
        case 2: { enum { N_ROWS = 2 }; CALL; break; } \
        case 3: { enum { N_ROWS = 3 }; CALL; break; } \
        default: { enum { N_ROWS = 4 }; CALL; break; } \
    }

#define DEPTH 1024 /* of K at once, in fp32: a tile of 256 KB stays in the second cache while all rows pass */

/* y (M, outputs), tile by tile. to: for each row the row of y that it goes to, 0 where that is the same. */
static void linear(const Linear* L, int precision, Rows in, int M, float* y, int stride, const int32_t* to, int how, Part* part) {
    int tiles = (L->outputs + TILE - 1) / TILE, K = L->inputs;
    _Alignas(64) union { float f[MOST_ROWS][TILE]; int32_t i[MOST_ROWS][TILE]; } sums;
    PIECES(tile, part, tiles) {
        if (precision == INT8) {
            const int8_t* weights = (const int8_t*)L->weights + (size_t)tile * K * TILE;
            for (int r = 0; r < M; r += 4) {
                const uint8_t* q = in.q + (size_t)r * K;
                FOR_ROWS(M - r, dot_int8(N_ROWS, weights, K, q, K, sums.i + r))
            }
        } else {
            memset(sums.f, 0, sizeof(float) * TILE * M);
            const char* weights = (const char*)L->weights + (size_t)tile * K * TILE * (precision == FP32 ? 4 : 2);
            for (int from = 0; from < K; from += DEPTH) {
                int end = from + DEPTH < K ? from + DEPTH : K;
                for (int r = 0; r < M; r += 4) {
                    const float* x = in.x + (size_t)r * K;
                    if (precision == FP32) FOR_ROWS(M - r, dot_float(N_ROWS, FP32, weights, from, end, x, K, sums.f + r))
                    else FOR_ROWS(M - r, dot_float(N_ROWS, BF16, weights, from, end, x, K, sums.f + r))
                }
            }
        }
        for (int r = 0; r < M; r++) {
            float* row = y + (size_t)(to ? to[r] : r) * stride + TILE * tile;
            for (int n = 0; n < TILE && TILE * tile + n < L->outputs; n += LANES) {
                v16 value;
                if (precision == INT8) {
                    i16 exact, offset;
                    memcpy(&exact, sums.i[r] + n, sizeof exact);
                    memcpy(&offset, L->sums + TILE * tile + n, sizeof offset);
                    value = __builtin_convertvector(exact - offset, v16) * (load(L->scales + TILE * tile + n) * in.scales[r]);
                } else {
                    value = load(sums.f[r] + n);
                }
                if (how == ADD) value = value + load(row + n);
                if (how == GELU) value = gelu(value);
                if (how == RELU) value = larger(value, all(0.0f));
                store(row + n, value);
            }
        }
    }
    wait_for(part, tiles);
}
