/*
 * ARC: keys seen once (T1) and more often (T2) lately, with ghosts of both (B1, B2) whose hits move
 * the target size p of T1. Sizes are counted in bytes as in the paper's pages.
 * Source: N. Megiddo, D. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003.
 */
#include "tools/hearth-trace/sim.h"

#include <string.h>

#include "tools/hearth-trace/sim_store.h"

enum { T1 = 1, T2, B1, B2 };

struct arc {
    struct sim_store store;
    struct sim_queue t1, t2, b1, b2;
    double p;
    uint64_t capacity;
};

static void replace(struct arc *a, bool was_in_b2)
{
    bool is_t1_over = a->t1.bytes > 0 &&
                      ((double)a->t1.bytes > a->p || (was_in_b2 && (double)a->t1.bytes >= a->p));
    if (is_t1_over || a->t2.bytes == 0) {
        sim_move(&a->store, &a->t1, &a->b1, a->t1.oldest);
    } else {
        sim_move(&a->store, &a->t2, &a->b2, a->t2.oldest);
    }
}

static void make_room(struct arc *a, uint32_t size, bool was_in_b2)
{
    while (a->t1.bytes + a->t2.bytes + size > a->capacity) {
        replace(a, was_in_b2);
    }
}

static void hit_ghost(struct arc *a, uint32_t id, uint32_t size)
{
    bool was_in_b2 = a->store.objects[id].queue == B2;
    double b1 = (double)a->b1.bytes, b2 = (double)a->b2.bytes, step = (double)size;
    if (was_in_b2) {
        a->p -= b1 > b2 ? step * b1 / b2 : step;
        a->p = a->p < 0 ? 0 : a->p;
    } else {
        a->p += b2 > b1 ? step * b2 / b1 : step;
        a->p = a->p > (double)a->capacity ? (double)a->capacity : a->p;
    }
    sim_take(&a->store, was_in_b2 ? &a->b2 : &a->b1, id);
    make_room(a, size, was_in_b2);
    sim_push(&a->store, &a->t2, id, size);
}

static void insert_new(struct arc *a, uint32_t id, uint32_t size)
{
    /* Keep |T1| + |B1| <= c and all four <= 2c: drop ghosts, then T1's oldest unremembered. */
    while (a->b1.bytes > 0 && a->t1.bytes + a->b1.bytes + size > a->capacity) {
        sim_pop(&a->store, &a->b1);
    }
    while (a->t1.bytes > 0 && a->t1.bytes + size > a->capacity) {
        sim_pop(&a->store, &a->t1);
    }
    while (a->b2.bytes > 0 &&
           a->t1.bytes + a->t2.bytes + a->b1.bytes + a->b2.bytes + size > 2 * a->capacity) {
        sim_pop(&a->store, &a->b2);
    }
    make_room(a, size, false);
    sim_push(&a->store, &a->t1, id, size);
}

enum status sim_arc(const struct sim_setup *setup, struct sim_result *result_out)
{
    const struct trace *trace = setup->trace;
    struct arc a = {
        .t1 = sim_queue_make(T1),
        .t2 = sim_queue_make(T2),
        .b1 = sim_queue_make(B1),
        .b2 = sim_queue_make(B2),
        .capacity = setup->capacity,
    };
    memset(result_out, 0, sizeof *result_out);
    enum status st = sim_store_init(&a.store, trace->n_keys);
    for (uint64_t i = 0; st == OK && i < trace->n_requests; i++) {
        uint32_t id = trace->ids[i], size = sim_size(setup, i);
        uint8_t queue = a.store.objects[id].queue;
        if (queue == T1 || queue == T2) {
            sim_count_hit(setup, i, result_out);
            sim_move(&a.store, queue == T1 ? &a.t1 : &a.t2, &a.t2, id);
        } else if (size > setup->capacity) {
            continue;
        } else if (queue != 0) {
            hit_ghost(&a, id, size);
        } else {
            insert_new(&a, id, size);
        }
    }
    sim_store_deinit(&a.store);
    return st;
}
