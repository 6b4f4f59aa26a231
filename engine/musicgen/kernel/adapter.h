/* What adapters (LoRA) add to a product, for those of its rows that play through one: y += strength · (x Aᵀ) Bᵀ, in fp32.
 *
 *     rows   a a │ b b │ – – │ a a      rows of one adapter that are side by side go together, at most four: a weight is read once for them
 *
 * In two stages, both within the product's own part of the step. First x Aᵀ, by whoever comes first; nobody waits for it there. Then, as a tile
 * of y is done, its share of the rest, by whoever did the tile: by then the first stage is over, for a tile takes longer. Rows without an adapter
 * are not touched. A row's sums are taken in the same order whoever else is there.
 *
 * Packed with 16 outputs side by side, the adapter's own scale in B. Parts are the matrices that ours stacks (q, k and v): each has its own A and B.
 *
 *     A   [parts × rank / 16, rounded up][K][16]
 *     B   [N / 16][rank][16]
 *
 * Stored as fp32 where the model's weights are, else as bf16. Not here: keys and values of texts, which Python makes.
 */
#pragma once

#include "numbers.h"
#include "pool.h"

#define GROUP 4 /* rows */

/* A layer's matrices, in the order of native.py. */
enum { ON_QKV, ON_SELF_OUT, ON_QUERY, ON_TEXT_OUT, ON_UP, ON_DOWN, MATRICES };

typedef struct {
    const void *a, *b;
    int32_t blocks, parts; /* of A: blocks of 16 outputs */
} LowRank;

typedef struct {
    const LowRank* matrices; /* (layers, MATRICES) */
    int32_t rank, half;
} Adapter;

/* Rows side by side with one adapter. */
typedef struct {
    const Adapter* adapter;
    int32_t first, count;
} Group;

/* The rows of one product. */
typedef struct {
    const Adapter* const* adapters; /* (tokens): 0 where there is none */
    const float* strengths;         /* (tokens) */
    const int32_t* tokens;          /* (rows): the token that each row is; 0 where that is the same */
    const Group* groups;
    int groups_count, stride;
    float* hidden; /* (rows, stride): strength · x Aᵀ */
    int matrix;    /* layer × MATRICES + which */
    Part* part;    /* of the first stage */
    int pieces;
} Adapting;

INLINE int token_of(const Adapting* a, int row) { return a->tokens ? a->tokens[row] : row; }
INLINE const Adapter* adapter_of(const Adapting* a, int row) { return a->adapters[token_of(a, row)]; }
INLINE v16 weight_of(const void* at, size_t index, int half) {
    return half ? from_bf16((const uint16_t*)at + index) : load((const float*)at + index);
}

/* The same rows at one matrix; 0 where none has an adapter. */
INLINE Adapting* on(Adapting* a, int layer, int which) {
    a->matrix = layer * MATRICES + which;
    return a->groups_count ? a : 0;
}

/* groups: room for one a row. The number of those found. */
static int group_rows(const Adapter* const* adapters, const int32_t* tokens, int rows, Group* groups) {
    int count = 0;
    for (int row = 0; row < rows; row++) {
        const Adapter* adapter = adapters[tokens ? tokens[row] : row];
        Group* last = groups + count - 1;
        if (!adapter) continue;
        if (count && last->adapter == adapter && last->first + last->count == row && last->count < GROUP) last->count++;
        else groups[count++] = (Group){adapter, row, 1};
    }
    return count;
}

/* 16 outputs of R rows x (R, K). Four sums a row, so that none waits for the one before. */
INLINE void hide_block(int R, int half, const void* weights, const float* x, int K, v16* out) {
    v16 sums[GROUP][4];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < 4; j++) sums[r][j] = all(0.0f);
    for (int k = 0; k < K; k += 4)
        for (int j = 0; j < 4; j++) {
            v16 w = weight_of(weights, (size_t)LANES * (k + j), half);
            for (int r = 0; r < R; r++) sums[r][j] += w * all(x[(size_t)r * K + k + j]);
        }
    for (int r = 0; r < R; r++) out[r] = (sums[r][0] + sums[r][1]) + (sums[r][2] + sums[r][3]);
}

/* The first stage, of rows x (·, K). */
static void hide(Adapting* a, const float* x, int K, Walk* walk) {
    int blocks = 0;
    for (int g = 0; g < a->groups_count; g++) {
        int its = a->groups[g].adapter->matrices[a->matrix].blocks;
        blocks = its > blocks ? its : blocks;
    }
    a->part = walk->part, a->pieces = blocks * a->groups_count;
    PIECES(piece, walk, a->pieces) {
        const Group* g = a->groups + piece / blocks;
        const LowRank* m = g->adapter->matrices + a->matrix;
        int block = piece % blocks, half = g->adapter->half;
        if (block >= m->blocks) continue;
        const char* weights = (const char*)m->a + (size_t)block * K * LANES * (half ? 2 : 4);
        const float* rows = x + (size_t)g->first * K;
        v16 out[GROUP];
        switch (g->count + (half ? GROUP : 0)) {
            case 1: hide_block(1, 0, weights, rows, K, out); break;
            case 2: hide_block(2, 0, weights, rows, K, out); break;
            case 3: hide_block(3, 0, weights, rows, K, out); break;
            case 4: hide_block(4, 0, weights, rows, K, out); break;
            case 5: hide_block(1, 1, weights, rows, K, out); break;
            case 6: hide_block(2, 1, weights, rows, K, out); break;
            case 7: hide_block(3, 1, weights, rows, K, out); break;
            default: hide_block(4, 1, weights, rows, K, out); break;
        }
        for (int r = 0; r < g->count; r++) {
            int row = g->first + r;
            store(a->hidden + (size_t)row * a->stride + LANES * block, out[r] * a->strengths[token_of(a, row)]);
        }
    }
    leave(walk);
}

/* The second stage for one row: outputs `first` to `first + count` of `outputs`, added to what the product has put at y, then activated.
 * Not inlined: rows without an adapter go through the same instructions whether or not others have one. */
static __attribute__((noinline)) void add_hidden(const Adapting* a, int row, int first, int count, int outputs, float* y, int how) {
    const Adapter* adapter = adapter_of(a, row);
    const LowRank* m = adapter->matrices + a->matrix;
    int rank = adapter->rank, half = adapter->half, each = outputs / m->parts;
    wait_until(a->part, a->pieces);
    for (int n = 0; n < count; n += LANES) {
        const float* h = a->hidden + (size_t)row * a->stride + (first + n) / each * rank;
        size_t at = (size_t)(first + n) * rank; /* LANES × (output / LANES) × rank */
        v16 even = all(0.0f), odd = all(0.0f);
        int k = 0;
        for (; k + 1 < rank; k += 2) {
            even += weight_of(m->b, at + (size_t)LANES * k, half) * all(h[k]);
            odd += weight_of(m->b, at + (size_t)LANES * (k + 1), half) * all(h[k + 1]);
        }
        if (k < rank) even += weight_of(m->b, at + (size_t)LANES * k, half) * all(h[k]);
        v16 value = load(y + n) + (even + odd);
        if (how == GELU) value = gelu(value);
        if (how == RELU) value = larger(value, all(0.0f));
        store(y + n, value);
    }
}
