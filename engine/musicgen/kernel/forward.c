/* One step of MusicGen's language model (../model.py says what it computes) for whatever rows are there, in one call.
 *
 * A token is one step of one row: a take that decodes has one (two with guidance), a prompt that is being heard has many. Each token knows its
 * row of the cache, its position, and the text that it attends to. Python owns all memory; nothing is allocated here.
 */
#include "adapter.h"
#include "attention.h"
#include "linear.h"
#include "numbers.h"
#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
#define EPSILON 1e-5f /* of every layer norm */

typedef struct {
    const float *gain, *bias; /* (C) */
} Norm;

typedef struct {
    Norm self_norm, text_norm, ffn_norm;
    Linear qkv, self_out, query, text_out, up, down;
} Layer;

typedef struct {
    int32_t layers, width, heads, ffn_width, codebooks, card, precision, activation, capacity, unused;
    float embedding_scale;
    const float* embeddings; /* (K × (card + 1), C) */
    const float* positions;  /* (≥ capacity, C) */
    Norm norm;
    Linear logits;
    const Layer* layer;
    /* Room for MOST_ROWS tokens. */
    float *x, *normed, *wide, *attended; /* (·, C), (·, C), (·, max(3 C, F)), (·, C) */
    uint8_t* q;                          /* (·, max(C, F)) */
    float* scales;                       /* (·) */
} Model;

/* Keys and values: attention.h says where which lie. */
typedef struct {
    char* bytes;
    int64_t block_bytes, layer_bytes, head_bytes;
    int32_t steps, unused;
} Memory;

INLINE char* head_of(const Memory* memory, int layer, int head) {
    return memory->bytes + layer * memory->layer_bytes + head * memory->head_bytes;
}

typedef struct {
    const Model* model;
    int32_t tokens, outs;
    const int32_t* codes;      /* (tokens, K) */
    const int32_t* positions;  /* (tokens) */
    Memory* const* rows;       /* (tokens): where the token's row keeps what it heard */
    Memory* const* texts;      /* (tokens): 0 where there is no text */
    const int32_t* out_tokens; /* (outs): of which logits are wanted */
    float* logits;             /* (outs, K × card) */
    Part* parts;               /* room for PARTS_OF_A_LAYER × layers + 4, zero before each call */
    Spent* spent;              /* (KINDS), or 0 where nobody asks what a step costs */
    const Adapter* const* adapters; /* (tokens): 0 where there is none; 0 itself where nobody has one */
    const float* strengths;    /* (tokens), of the adapters */
    float* hidden;             /* (MOST_ROWS, hidden_width) */
    int64_t hidden_width;
} Step;

#define PARTS_OF_A_LAYER 22

/* Of parts, in the order of native.py's names. */
enum { EMBED, NORM, QUANTISE, ATTEND, ATTEND_TEXT, QKV, SELF_OUT, QUERY, TEXT_OUT, UP, DOWN, LOGITS, KINDS };

/* Layer norm of rows `from[i]` of x into row i, and to int8 where that is next. Two passes: mean, then what is around it. */
static void normalise(const Model* m, Norm norm, const float* x, const int32_t* from, int rows, Walk* walk) {
    int C = m->width;
    PIECES(i, walk, rows) {
        const float* row = x + (size_t)(from ? from[i] : i) * C;
        float* out = m->normed + (size_t)i * C;
        if (i + 1 < rows) fetch(x + (size_t)(from ? from[i + 1] : i + 1) * C, sizeof(float) * C); /* half of it is in others' caches */
        v16 total = all(0.0f), squares = all(0.0f);
        for (int c = 0; c < C; c += LANES) total += load(row + c);
        float mean = sum(total) / C;
        for (int c = 0; c < C; c += LANES) {
            v16 d = load(row + c) - mean;
            squares += d * d;
        }
        float rate = 1.0f / __builtin_sqrtf(sum(squares) / C + EPSILON);
        for (int c = 0; c < C; c += LANES) store(out + c, (load(row + c) - mean) * rate * load(norm.gain + c) + load(norm.bias + c));
        if (m->precision == INT8) quantise(out, m->q + (size_t)i * C, m->scales + i, C);
    }
    wait_for(walk, rows, NORM);
}

INLINE void fetch_norm(const Model* m, Norm norm) {
    fetch(norm.gain, sizeof(float) * m->width);
    fetch(norm.bias, sizeof(float) * m->width);
}

static Rows rows_of(const Model* m, const float* x) { return (Rows){x, m->q, m->scales}; }

/* For a product that reads x (rows, width). */
static void prepare(const Model* m, const float* x, int rows, int width, Walk* walk) {
    if (m->precision != INT8) return;
    PIECES(i, walk, rows) {
        if (i + 1 < rows) fetch(x + (size_t)(i + 1) * width, sizeof(float) * width);
        quantise(x + (size_t)i * width, m->q + (size_t)i * width, m->scales + i, width);
    }
    wait_for(walk, rows, QUANTISE);
}

static Adapting adapting_rows(const Step* s, const int32_t* tokens, int rows, Group* groups) {
    int count = s->adapters ? group_rows(s->adapters, tokens, rows, groups) : 0;
    return (Adapting){.adapters = s->adapters, .strengths = s->strengths, .tokens = tokens, .groups = groups, .groups_count = count,
                      .hidden = s->hidden, .stride = (int)s->hidden_width};
}

static void work(void* what, int thread, int threads) {
    const Step* s = what;
    const Model* m = s->model;
    int C = m->width, F = m->ffn_width, H = m->heads, D = C / H, T = s->tokens, half = m->precision != FP32;
    Walk here = walk_of(s->parts, s->spent, thread, threads), *walk = &here; /* every thread goes through all parts, in this order */
    _Alignas(64) float scores[m->capacity + LANES];
    int32_t told[MOST_ROWS]; /* the tokens that have a text */
    int with_text = 0;
    for (int t = 0; t < T; t++)
        if (s->texts[t]) told[with_text++] = t;
    Group groups[MOST_ROWS], told_groups[MOST_ROWS];
    Adapting every = adapting_rows(s, 0, T, groups), of_told = adapting_rows(s, told, with_text, told_groups);

    PIECES(t, walk, T) {
        float* row = m->x + (size_t)t * C;
        const float* position = m->positions + (size_t)s->positions[t] * C;
        for (int c = 0; c < C; c += LANES) {
            v16 total = all(0.0f);
            for (int k = 0; k < m->codebooks; k++)
                total += load(m->embeddings + ((size_t)k * (m->card + 1) + s->codes[t * m->codebooks + k]) * C + c);
            store(row + c, total * m->embedding_scale + load(position + c));
        }
    }
    wait_for(walk, T, EMBED);

    for (int l = 0; l < m->layers; l++) {
        const Layer* layer = m->layer + l;

        normalise(m, layer->self_norm, m->x, 0, T, walk);
        linear(&layer->qkv, m->precision, rows_of(m, m->normed), T, m->wide, 3 * C, 0, STORE, walk, QKV, on(&every, l, ON_QKV));
        PIECES(h, walk, H) {
            for (int t = 0, end; t < T; t = end) {
                char* head = head_of(s->rows[t], l, h);
                int64_t block_bytes = s->rows[t]->block_bytes;
                for (end = t + 1; end < T && s->rows[end] == s->rows[t]; end++) continue;
                int next = end < T ? end : 0, next_head = end < T ? h : h + 1; /* that is attended to after this */
                Coming coming = {0};
                if (next_head < H) coming = (Coming){head_of(s->rows[next], l, next_head), block_bytes, s->positions[next] + 1};
                for (int i = t; i < end; i++) { /* all of a row first: a token hears those before it */
                    const float* qkv = m->wide + (size_t)i * 3 * C + h * D;
                    remember(head, block_bytes, half, D, s->positions[i], qkv + C, qkv + 2 * C);
                }
                for (int i = t; i < end; i++)
                    attend(half, m->wide + (size_t)i * 3 * C + h * D, head, block_bytes, D, s->positions[i] + 1, scores,
                           m->attended + (size_t)i * C + h * D, i + 1 < end ? (Coming){0} : coming);
            }
        }
        wait_for(walk, H, ATTEND);
        prepare(m, m->attended, T, C, walk);
        fetch_norm(m, with_text ? layer->text_norm : layer->ffn_norm);
        linear(&layer->self_out, m->precision, rows_of(m, m->attended), T, m->x, C, 0, ADD, walk, SELF_OUT,
               on(&every, l, ON_SELF_OUT));

        if (with_text) {
            normalise(m, layer->text_norm, m->x, told, with_text, walk);
            linear(&layer->query, m->precision, rows_of(m, m->normed), with_text, m->wide, C, 0, STORE, walk, QUERY,
                   on(&of_told, l, ON_QUERY));
            PIECES(h, walk, H)
                for (int i = 0; i < with_text; i++) {
                    const Memory* text = s->texts[told[i]];
                    const Memory* next = s->texts[told[i + 1 < with_text ? i + 1 : 0]];
                    int next_head = i + 1 < with_text ? h : h + 1;
                    Coming coming = {0};
                    if (next_head < H) coming = (Coming){head_of(next, l, next_head), next->block_bytes, next->steps};
                    attend(half, m->wide + (size_t)i * C + h * D, head_of(text, l, h), text->block_bytes, D, text->steps, scores,
                           m->attended + (size_t)i * C + h * D, coming);
                }
            wait_for(walk, H, ATTEND_TEXT);
            prepare(m, m->attended, with_text, C, walk);
            fetch_norm(m, layer->ffn_norm);
            linear(&layer->text_out, m->precision, rows_of(m, m->attended), with_text, m->x, C, told, ADD, walk, TEXT_OUT,
                   on(&of_told, l, ON_TEXT_OUT));
        }

        normalise(m, layer->ffn_norm, m->x, 0, T, walk);
        linear(&layer->up, m->precision, rows_of(m, m->normed), T, m->wide, F, 0, m->activation, walk, UP, on(&every, l, ON_UP));
        prepare(m, m->wide, T, F, walk);
        fetch_norm(m, l + 1 < m->layers ? layer[1].self_norm : m->norm);
        linear(&layer->down, m->precision, rows_of(m, m->wide), T, m->x, C, 0, ADD, walk, DOWN, on(&every, l, ON_DOWN));
    }

    if (s->outs) {
        normalise(m, m->norm, m->x, s->out_tokens, s->outs, walk);
        linear(&m->logits, m->precision, rows_of(m, m->normed), s->outs, s->logits, m->codebooks * m->card, 0, STORE, walk, LOGITS,
               0);
    }
}

EXPORT void forward(const Step* step, int threads) {
    memset(step->parts, 0, sizeof(Part) * (PARTS_OF_A_LAYER * step->model->layers + 4));
    together(work, (void*)step, threads);
}

/* Text or anything else that is attended to and never grows: keys and values (steps, H, D) of one layer, fp32, into a memory. */
EXPORT void memorise(const Model* m, Memory* into, int layer, const float* keys, const float* values) {
    int C = m->width, H = m->heads, D = C / H, half = m->precision != FP32;
    for (int step = 0; step < into->steps; step++)
        for (int h = 0; h < H; h++) {
            size_t at = (size_t)step * C + h * D;
            remember(head_of(into, layer, h), into->block_bytes, half, D, step, keys + at, values + at);
        }
}

#define STRETCH (1 << 20)

typedef struct {
    const char* bytes;
    int pieces;
    Part part;
    atomic_int found; /* so that the compiler can't leave the reading out */
} Reading;

static void read_part(void* what, int thread, int threads) {
    Reading* r = what;
    Walk walk = walk_of(&r->part, 0, thread, threads);
    i16 a[4] = {0};
    PIECES(piece, &walk, r->pieces) {
        const char* from = r->bytes + (int64_t)piece * STRETCH;
        for (int at = 0; at < STRETCH; at += 256)
            for (int j = 0; j < 4; j++) {
                i16 x;
                memcpy(&x, from + at + 64 * j, sizeof x);
                __builtin_prefetch(from + at + 4096 + 64 * j, 0, 3);
                a[j] ^= x;
            }
    }
    a[0] ^= a[1] ^ a[2] ^ a[3];
    atomic_fetch_xor(&r->found, a[0][0] ^ a[0][5] ^ a[0][15]);
    wait_for(&walk, r->pieces, 0);
}

/* Reads so many whole MiB, in order, in all threads, and does next to nothing else: what memory can give at most. */
EXPORT int32_t read_all(const char* bytes, int32_t mebibytes, int threads) {
    Reading reading = {.bytes = bytes, .pieces = mebibytes};
    together(read_part, &reading, threads);
    return reading.found;
}

EXPORT int uses_vnni(void) { return VNNI; }
EXPORT int most_rows(void) { return MOST_ROWS; }
EXPORT int parts_bytes(int layers) { return sizeof(Part) * (PARTS_OF_A_LAYER * layers + 4); }
