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

INLINE void put(void* at, size_t index, int half, float x) {
    if (half) ((uint16_t*)at)[index] = to_bf16(x);
    else ((float*)at)[index] = x;
}

/* Step number `step` of one head. head: where its part of the first block is; block_bytes: from there to the next. */
static void remember(char* head, int64_t block_bytes, int half, int D, int step, const float* k, const float* v) {
    char* block = head + step / LANES * block_bytes;
    int at = step % LANES;
    for (int d = 0; d < D; d++) put(block, (size_t)d * LANES + at, half, k[d]);
    for (int d = 0; d < D; d++) put(block, (size_t)D * LANES + (size_t)at * D + d, half, v[d]);
}

/* Fetch what the next query will read first: the rest it fetches on its way. */
INLINE void expect(const char* head, int64_t block_bytes, int half, int D, int steps) {
    int last = (steps - 1) / LANES, size = half ? 2 : 4;
    for (int b = 0; b <= last && b < TOGETHER; b++) fetch(head + b * block_bytes, (size_t)D * LANES * size);
    if (last >= TOGETHER) fetch(head + last * block_bytes, (size_t)D * LANES * size); /* it is to be written */
    fetch(head + (size_t)D * LANES * size, (size_t)D * (steps < LANES ? steps : LANES) * size);
}

INLINE void scores_of(int N, int half, const float* q, const char* block, int64_t block_bytes, int D, v16* s) {
    for (int i = 0; i < N; i++) s[i] = all(0.0f);
    for (int d = 0; d < D; d++) {
        v16 one = all(q[d]);
        for (int i = 0; i < N; i++) {
            s[i] += one * stored(block + i * block_bytes, (size_t)d * LANES, half);
            if (N == TOGETHER) __builtin_prefetch(block + (i + N) * block_bytes + (size_t)d * LANES * (half ? 2 : 4), 0, 2);
        }
    }
}

/* out (D) = softmax(q · keys / √D) · values over the first `steps`. scores: room for them, in whole blocks. */
INLINE void attend_as(int half, const float* q, const char* head, int64_t block_bytes, int D, int steps, float scale, float* scores, float* out) {
    int blocks = (steps + LANES - 1) / LANES;
    v16 most = all(-3e38f);
    i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int b = 0; b < blocks; b += TOGETHER) {
        v16 s[TOGETHER];
        const char* block = head + b * block_bytes;
        int count = blocks - b < TOGETHER ? blocks - b : TOGETHER;
        switch (count) {
            case 1: scores_of(1, half, q, block, block_bytes, D, s); break;
            case 2: scores_of(2, half, q, block, block_bytes, D, s); break;
            case 3: scores_of(3, half, q, block, block_bytes, D, s); break;
            default: scores_of(4, half, q, block, block_bytes, D, s);
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
            int here = steps - LANES * b < LANES ? steps - LANES * b : LANES;
            if (count == 4)
                for (int at = 0; at < here; at++) {
                    v16 p = all(scores[LANES * b + at]);
                    size_t value = values + (size_t)at * D + d;
                    for (int i = 0; i < 4; i++) o[i] += p * stored(block, value + LANES * i, half);
                    for (int i = 0; i < 4; i += half ? 2 : 1)
                        __builtin_prefetch(block + block_bytes + (value + LANES * i) * (half ? 2 : 4), 0, 2);
                }
            else
                for (int at = 0; at < here; at++)
                    for (int i = 0; i < count; i++)
                        o[i] += all(scores[LANES * b + at]) * stored(block, values + (size_t)at * D + d + LANES * i, half);
        }
        for (int i = 0; i < count; i++) store(out + d + LANES * i, o[i] * share);
    }
}

static void attend(int half, const float* q, const char* head, int64_t block_bytes, int D, int steps, float* scores, float* out) {
    float scale = 1.0f / __builtin_sqrtf((float)D);
    if (half) attend_as(1, q, head, block_bytes, D, steps, scale, scores, out);
    else attend_as(0, q, head, block_bytes, D, steps, scale, scores, out);
}
