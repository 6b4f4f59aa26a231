/* One query against the keys and values of one head.
 *
 * What a row has heard lies in blocks of 16 steps; in a block the layers follow each other, in a layer the heads, and of each head first its
 * keys, turned, so that 16 scores come out of one register without a reduction, then its values, step by step:
 *
 *     [steps / 16][layers][heads] keys [D][16], values [16][D]
 *
 * A row grows by one stretch of memory every 16 steps, and a layer reads whole pages of it. Stored as fp32 where the weights are, else as bf16.
 */
#pragma once

#include "numbers.h"

#define MOST_D 128
#define TOGETHER 4 /* blocks whose scores are summed side by side */

INLINE v16 stored(const void* at, size_t index, int half) {
    return half ? from_bf16((const uint16_t*)at + index) : load((const float*)at + index);
}

/* Step number `step` of one head. head: where its part of the first block is; block_bytes: from there to the next. */
INLINE void remember_as(int half, char* head, int64_t block_bytes, int D, int step, const float* k, const float* v) {
    char* block = head + step / LANES * block_bytes;
    int at = step % LANES, values = (LANES + at) * D;
    for (int d = 0; d < D; d += LANES) {
        if (half) {
            uint16_t turned[LANES], *to = (uint16_t*)block;
            to_bf16(turned, load(k + d));
            for (int i = 0; i < LANES; i++) to[(d + i) * LANES + at] = turned[i];
            to_bf16(to + values + d, load(v + d));
        } else {
            float* to = (float*)block;
            for (int i = 0; i < LANES; i++) to[(d + i) * LANES + at] = k[d + i];
            store(to + values + d, load(v + d));
        }
    }
}

static void remember(char* head, int64_t block_bytes, int half, int D, int step, const float* k, const float* v) {
    if (half) remember_as(1, head, block_bytes, D, step, k, v);
    else remember_as(0, head, block_bytes, D, step, k, v);
}

/* What is attended to after this: 0 where nothing is known of it. */
typedef struct {
    const char* head;
    int64_t block_bytes;
    int steps;
} Coming;

/* The scores of N blocks before scaling. Meanwhile their values are fetched, and the keys of the blocks after them as far as there are `left`:
 * each block is a page of its own, and no processor looks ahead beyond that. */
INLINE void scores_of(int N, int half, const float* q, const char* block, int64_t block_bytes, int left, int D, v16* s) {
    size_t line = half ? 32 : 64, values = (size_t)D * line; /* bytes of 16 numbers, of all keys of a block */
    const char* next[TOGETHER];
    for (int i = 0; i < N; i++) {
        s[i] = all(0.0f);
        next[i] = block + (i + N < left ? i + N : i) * block_bytes;
    }
    for (int d = 0; d < D; d += 2)
        for (int j = 0; j < 2; j++) {
            v16 one = all(q[d + j]);
            for (int i = 0; i < N; i++) {
                s[i] += one * stored(block + i * block_bytes, (size_t)(d + j) * LANES, half);
                if (!half || j) __builtin_prefetch(block + i * block_bytes + values + (half ? d : d + j) * line, 0, 2);
                if (N == TOGETHER && (!half || !j)) __builtin_prefetch(next[i] + (d + j) * line, 0, 2);
            }
        }
}

/* out (D) = softmax(q · keys / √D) · values over the first `steps`. scores: room for them, in whole blocks. */
INLINE void attend_as(int half, const float* q, const char* head, int64_t block_bytes, int D, int steps, float scale, float* scores, float* out,
                      Coming coming) {
    int blocks = (steps + LANES - 1) / LANES;
    v16 most = all(-3e38f);
    i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int b = 0; b < blocks; b += TOGETHER) {
        v16 s[TOGETHER];
        const char* block = head + b * block_bytes;
        int count = blocks - b < TOGETHER ? blocks - b : TOGETHER;
        switch (count) {
            case 1: scores_of(1, half, q, block, block_bytes, 1, D, s); break;
            case 2: scores_of(2, half, q, block, block_bytes, 2, D, s); break;
            case 3: scores_of(3, half, q, block, block_bytes, 3, D, s); break;
            default: scores_of(4, half, q, block, block_bytes, blocks - b, D, s);
        }
        for (int i = 0; i < count; i++) {
            v16 score = choose(lane + LANES * (b + i) < steps, s[i] * scale, all(-3e38f)); /* what was never written is not looked at */
            most = larger(most, score);
            store(scores + LANES * (b + i), score);
        }
    }
    float top = largest(most);
    v16 total = all(0.0f);
    for (int b = 0; b < blocks; b++) {
        v16 p = exponential(load(scores + LANES * b) - top);
        total += p;
        store(scores + LANES * b, p);
    }
    float share = 1.0f / sum(total);
    size_t values = (size_t)D * LANES;
    for (int d = 0; d < D; d += 4 * LANES) {
        v16 o[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
        int count = (D - d) / LANES < 4 ? (D - d) / LANES : 4;
        for (int b = 0; b < blocks; b++) {
            const char* block = head + b * block_bytes;
            int here = steps - LANES * b < LANES ? steps - LANES * b : LANES, size = half ? 2 : 4;
            const char* fetched = coming.head && LANES * b < coming.steps ? coming.head + b * coming.block_bytes : block; /* its keys */
            if (count == 4)
                for (int at = 0; at < here; at++) {
                    v16 p = all(scores[LANES * b + at]);
                    size_t value = values + (size_t)at * D + d;
                    for (int i = 0; i < 4; i++) o[i] += p * stored(block, value + LANES * i, half);
                    for (int at_byte = 0; at_byte < 4 * LANES * size; at_byte += 64)
                        __builtin_prefetch(fetched + (size_t)(at * D + d) * size + at_byte, 0, 2);
                }
            else
                for (int at = 0; at < here; at++)
                    for (int i = 0; i < count; i++)
                        o[i] += all(scores[LANES * b + at]) * stored(block, values + (size_t)at * D + d + LANES * i, half);
        }
        for (int i = 0; i < count; i++) store(out + d + LANES * i, o[i] * share);
    }
}

static void attend(int half, const float* q, const char* head, int64_t block_bytes, int D, int steps, float* scores, float* out, Coming coming) {
    float scale = 1.0f / __builtin_sqrtf((float)D);
    if (half) attend_as(1, q, head, block_bytes, D, steps, scale, scores, out, coming);
    else attend_as(0, q, head, block_bytes, D, steps, scale, scores, out, coming);
}
