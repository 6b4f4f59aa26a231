/* One query against the keys and values of one head.
 *
 * Keys lie in blocks of 16 steps, turned, so that 16 scores come out of one register without a reduction; values lie step by step:
 *
 *     keys    [steps / 16][D][16]
 *     values  [steps][D]
 *
 * Stored as fp32 where the weights are, else as bf16.
 */
#pragma once

#include "numbers.h"

#define MOST_D 128

INLINE v16 stored(const void* at, size_t index, int half) {
    return half ? from_bf16((const uint16_t*)at + index) : load((const float*)at + index);
}

INLINE void put(void* at, size_t index, int half, float x) {
    if (half) ((uint16_t*)at)[index] = to_bf16(x);
    else ((float*)at)[index] = x;
}

/* Step number `step` of one head. */
INLINE void remember(void* keys, void* values, int half, int D, int step, const float* k, const float* v) {
    for (int d = 0; d < D; d++) {
        put(keys, ((size_t)(step / LANES) * D + d) * LANES + step % LANES, half, k[d]);
        put(values, (size_t)step * D + d, half, v[d]);
    }
}

/* out (D) = softmax(q · keys / √D) · values over the first `steps`. scores: room for them, in whole blocks. */
INLINE void attend_as(int half, const float* q, const void* keys, const void* values, int D, int steps, float scale, float* scores, float* out) {
    int blocks = (steps + LANES - 1) / LANES;
    v16 most = all(-3e38f);
    i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int b = 0; b < blocks; b += 4) {
        v16 s[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
        int count = blocks - b < 4 ? blocks - b : 4;
        if (count == 4)
            for (int d = 0; d < D; d++) {
                v16 one = all(q[d]);
                for (int i = 0; i < 4; i++) s[i] += one * stored(keys, ((size_t)(b + i) * D + d) * LANES, half);
            }
        else
            for (int i = 0; i < count; i++)
                for (int d = 0; d < D; d++) s[i] += all(q[d]) * stored(keys, ((size_t)(b + i) * D + d) * LANES, half);
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
    for (int d = 0; d < D; d += 4 * LANES) {
        v16 o[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
        int count = (D - d) / LANES < 4 ? (D - d) / LANES : 4;
        if (count == 4)
            for (int step = 0; step < steps; step++) {
                v16 p = all(scores[step]);
                for (int i = 0; i < 4; i++) o[i] += p * stored(values, (size_t)step * D + d + LANES * i, half);
            }
        else
            for (int step = 0; step < steps; step++)
                for (int i = 0; i < count; i++) o[i] += all(scores[step]) * stored(values, (size_t)step * D + d + LANES * i, half);
        for (int i = 0; i < count; i++) store(out + d + LANES * i, o[i] * share);
    }
}

static void attend(int half, const float* q, const void* keys, const void* values, int D, int steps, float* scores, float* out) {
    float scale = 1.0f / __builtin_sqrtf((float)D);
    if (half) attend_as(1, q, keys, values, D, steps, scale, scores, out);
    else attend_as(0, q, keys, values, D, steps, scale, scores, out);
}
