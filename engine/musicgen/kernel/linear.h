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

#include "adapter.h"
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
    v16 most[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)}; /* four at a time: the next need not wait for the one before */
    int k = 0;
    for (; k + 4 * LANES <= K; k += 4 * LANES)
        for (int i = 0; i < 4; i++) most[i] = larger(most[i], magnitude(load(x + k + LANES * i)));
    for (; k < K; k += LANES) most[0] = larger(most[0], magnitude(load(x + k)));
    float top = largest(larger(larger(most[0], most[1]), larger(most[2], most[3]))), up = top > 0.0f ? 127.0f / top : 0.0f;
    *scale = top / 127.0f;
    for (int k = 0; k < K; k += LANES) {
        b16 bytes = __builtin_convertvector(__builtin_convertvector(load(x + k) * up + 128.5f, u16), b16);
        memcpy(q + k, &bytes, sizeof bytes);
    }
}

/* The next lines of the weights come into the second cache while these are multiplied: LINES of 64 bytes with every step. */
#define FETCH_AHEAD(LINES) \
    for (int line = 0; line < LINES; line++, ahead += 64) __builtin_prefetch(ahead, 0, 2)

/* Weights that several rows are multiplied with are to stay in a register; GCC would rather read them anew for each. */
#if defined(__AVX512F__)
#define HOLD(W) __asm__("" : "+v"(W))
#else
#define HOLD(W) (void)0
#endif

/* R rows, inputs from `from` to `to`, added to sums. */
INLINE void dot_float(int R, int LINES, int precision, const void* weights, int from, int to, const float* x, int stride, const char* ahead,
                      float (*sums)[TILE]) {
    v16 a[4][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) a[r][j] = load(sums[r] + LANES * j);
    for (int k = from; k < to; k++) {
        v16 w[4];
        for (int j = 0; j < 4; j++)
            w[j] = precision == FP32 ? load((const float*)weights + TILE * k + LANES * j)
                                     : from_bf16((const uint16_t*)weights + TILE * k + LANES * j);
        for (int j = 0; j < 4 && R > 1; j++) HOLD(w[j]);
        FETCH_AHEAD(LINES);
        for (int r = 0; r < R; r++) {
            v16 b = all(x[(size_t)r * stride + k]);
            for (int j = 0; j < 4; j++) a[r][j] += w[j] * b;
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) store(sums[r] + LANES * j, a[r][j]);
}

INLINE void dot_int8(int R, int LINES, const int8_t* weights, int from, int to, const uint8_t* x, int stride, const char* ahead,
                     int32_t (*sums)[TILE]) {
#if VNNI
    __m512i a[4][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) a[r][j] = _mm512_loadu_si512(sums[r] + LANES * j);
    for (int k = from; k < to; k += 4) {
        const int8_t* here = weights + TILE * k;
        __m512i w[4];
        for (int j = 0; j < 4; j++) w[j] = _mm512_loadu_si512(here + 64 * j);
        for (int j = 0; j < 4 && R > 1; j++) HOLD(w[j]);
        FETCH_AHEAD(LINES);
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
    for (int k = from; k < to; k += 4)
        for (int r = 0; r < R; r++) {
            const uint8_t* four = x + (size_t)r * stride + k;
            const int8_t* here = weights + TILE * k;
            for (int n = 0; n < TILE; n++)
                sums[r][n] += four[0] * here[4 * n] + four[1] * here[4 * n + 1] + four[2] * here[4 * n + 2] + four[3] * here[4 * n + 3];
        }
#endif
}

#define BLOCK_BYTES 16384 /* of a tile at once, where more than four rows pass it: half of the smallest first cache */
#define AHEAD_BYTES 2048  /* how far ahead weights are fetched where they pass once; four times as far is a third slower */

/* CALL for the first four of ROWS rows at most, as R, and LINES to be fetched at every step: both known to the compiler. */
#define FOR_ROWS_AND_LINES(ROWS, LINES_, CALL) \
    switch (4 * (LINES_ == 4 ? 3 : LINES_) + (ROWS > 4 ? 4 : ROWS) - 1) { \
        case 0: { enum { R = 1, LINES = 0 }; CALL; break; } \
        case 1: { enum { R = 2, LINES = 0 }; CALL; break; } \
        case 2: { enum { R = 3, LINES = 0 }; CALL; break; } \
        case 3: { enum { R = 4, LINES = 0 }; CALL; break; } \
        case 4: { enum { R = 1, LINES = 1 }; CALL; break; } \
        case 5: { enum { R = 2, LINES = 1 }; CALL; break; } \
        case 6: { enum { R = 3, LINES = 1 }; CALL; break; } \
        case 7: { enum { R = 4, LINES = 1 }; CALL; break; } \
        case 8: { enum { R = 1, LINES = 2 }; CALL; break; } \
        case 9: { enum { R = 2, LINES = 2 }; CALL; break; } \
        case 10: { enum { R = 3, LINES = 2 }; CALL; break; } \
        case 11: { enum { R = 4, LINES = 2 }; CALL; break; } \
        case 12: { enum { R = 1, LINES = 4 }; CALL; break; } \
        case 13: { enum { R = 2, LINES = 4 }; CALL; break; } \
        case 14: { enum { R = 3, LINES = 4 }; CALL; break; } \
        default: { enum { R = 4, LINES = 4 }; CALL; break; } \
    }

typedef union {
    float f[MOST_ROWS][TILE];
    int32_t i[MOST_ROWS][TILE];
} Sums;

/* One tile for M rows. What several groups of four rows read stays in the first cache, and while they pass, each fetches its share of what
 * follows in memory: in the end memory is read as evenly as by one group. */
static void multiply(const Linear* L, int precision, int tile, Rows in, int M, Sums* sums) {
    int K = L->inputs, groups = (M + 3) / 4;
    int per_step = precision == INT8 ? 4 : 1, step_bytes = precision == BF16 ? 128 : 256; /* a step: four inputs in int8, else one */
    int lines = step_bytes / 64, each = (lines + groups - 1) / groups; /* to be fetched at every step: by all groups, by one */
    int depth = groups == 1 ? K : BLOCK_BYTES / step_bytes * per_step;
    const char* weights = (const char*)L->weights + (size_t)tile * (K / per_step) * step_bytes;
    memset(sums, 0, sizeof(float) * TILE * M);
    for (int from = 0; from < K; from += depth) {
        int to = from + depth < K ? from + depth : K, steps = (to - from) / per_step;
        const char* next = weights + (size_t)(from / per_step) * step_bytes + (groups == 1 ? AHEAD_BYTES : steps * step_bytes);
        for (int g = 0; g < groups; g++) {
            int r = 4 * g, fetched = g * each < lines ? each : 0;
            const char* ahead = next + (size_t)64 * g * each * steps;
            if (precision == INT8)
                FOR_ROWS_AND_LINES(M - r, fetched,
                    dot_int8(R, LINES, (const int8_t*)weights, from, to, in.q + (size_t)r * K, K, ahead, sums->i + r))
            else if (precision == FP32)
                FOR_ROWS_AND_LINES(M - r, fetched, dot_float(R, LINES, FP32, weights, from, to, in.x + (size_t)r * K, K, ahead, sums->f + r))
            else
                FOR_ROWS_AND_LINES(M - r, fetched, dot_float(R, LINES, BF16, weights, from, to, in.x + (size_t)r * K, K, ahead, sums->f + r))
        }
    }
}

/* y (M, outputs), tile by tile. to: for each row the row of y that it goes to, 0 where that is the same. adapting: 0 where no row has one. */
static void linear(const Linear* L, int precision, Rows in, int M, float* y, int stride, const int32_t* to, int how, Walk* walk, int kind,
                   Adapting* adapting) {
    int tiles = (L->outputs + TILE - 1) / TILE;
    _Alignas(64) Sums sums;
    if (adapting) hide(adapting, in.x, L->inputs, walk);
    PIECES(tile, walk, tiles) {
        if (precision == INT8)
            for (int line = 0; line < 4; line++) {
                __builtin_prefetch(L->scales + TILE * tile + LANES * line, 0, 2);
                __builtin_prefetch(L->sums + TILE * tile + LANES * line, 0, 2);
            }
        multiply(L, precision, tile, in, M, &sums);
        for (int r = 0; r < M; r++) {
            float* row = y + (size_t)(to ? to[r] : r) * stride + TILE * tile;
            int plain = !adapting || !adapter_of(adapting, r); /* else it is activated later */
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
                if (how == GELU && plain) value = gelu(value);
                if (how == RELU && plain) value = larger(value, all(0.0f));
                store(row + n, value);
            }
            if (!plain) {
                int left = L->outputs - TILE * tile;
                add_hidden(adapting, r, TILE * tile, left < TILE ? left : TILE, L->outputs, row, how);
            }
        }
    }
    wait_for(walk, tiles, kind);
}
