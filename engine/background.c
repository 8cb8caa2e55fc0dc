/*
 * Two threads for what blocks. The reclaimer prepares, seals and reclaims segments (reclaim.c). The
 * background thread runs jobs one after the other: large values both ways, dropping an index, sweeping
 * flushed namespaces. Neither ever holds a lock while it waits for the device.
 */
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_impl.h"

#define TURN_MS 100

struct background {
    pthread_t jobs_thread, reclaim_thread;
    struct mailbox jobs;    /* any thread posts */
    struct mailbox reclaim; /* wake-ups only */
    struct mail wake_mail;
    _Atomic bool is_woken; /* wake_mail is posted */
    _Atomic bool is_ending;
    bool runs_jobs, runs_reclaim;
    struct codec *codec; /* jobs thread */
    struct log_writer *writer;
};

static void nothing(struct mail *mail)
{
    struct background *bg =
        (struct background *)(void *)((char *)mail - offsetof(struct background, wake_mail));
    atomic_store_explicit(&bg->is_woken, false, memory_order_release);
}

static void wait_for_mail(struct mailbox *box)
{
    struct pollfd fd = {.fd = mailbox_fd(box), .events = POLLIN};
    (void)poll(&fd, 1, TURN_MS);
}

static bool is_ending(struct background *bg)
{
    return atomic_load_explicit(&bg->is_ending, memory_order_acquire);
}

static void *jobs_main(void *arg)
{
    struct engine *e = arg;
    struct background *bg = e->background;
    while (!is_ending(bg) || !mailbox_is_empty(&bg->jobs)) {
        wait_for_mail(&bg->jobs);
        (void)mailbox_drain(&bg->jobs);
        namespace_sweep(e);
    }
    return NULL;
}

static void *reclaim_main(void *arg)
{
    struct engine *e = arg;
    struct background *bg = e->background;
    while (!is_ending(bg)) {
        wait_for_mail(&bg->reclaim);
        (void)mailbox_drain(&bg->reclaim);
        reclaim_run(e);
    }
    return NULL;
}

static void job_run(struct mail *mail)
{
    struct background_job *job = (struct background_job *)(void *)mail;
    job->run(job->engine, job);
}

void background_post(struct engine *e, struct background_job *job)
{
    job->engine = e;
    job->mail.run = job_run;
    mailbox_post(&e->background->jobs, &job->mail);
}

void background_wake(void *engine)
{
    struct background *bg = ((struct engine *)engine)->background;
    if (bg != NULL && !atomic_exchange_explicit(&bg->is_woken, true, memory_order_acq_rel)) {
        mailbox_post(&bg->reclaim, &bg->wake_mail);
    }
}

void background_wake_workers(struct engine *e)
{
    for (unsigned i = 0; i < e->n_workers; i++) {
        struct engine_worker *w = &e->workers[i];
        if (!atomic_exchange_explicit(&w->is_woken, true, memory_order_acq_rel)) {
            mailbox_post(&w->mailbox, &w->wake);
        }
    }
}

bool background_wait_for_space(struct engine *e, unsigned attempt)
{
    static const struct timespec pause = {.tv_nsec = 2000000};
    if (attempt > 2500 || atomic_load_explicit(&e->warm_is_full, memory_order_relaxed)) {
        return false;
    }
    background_wake(e);
    (void)nanosleep(&pause, NULL);
    return true;
}

struct log_writer *background_writer(struct engine *e)
{
    return e->background->writer;
}

struct codec *background_codec(struct engine *e)
{
    return e->background->codec;
}

enum status background_start(struct engine *e)
{
    struct background *bg = mem_zalloc(1, sizeof(*bg));
    enum status st = OK;
    if (bg == NULL) {
        return NO_MEMORY;
    }
    TRY(mailbox_init(&bg->jobs));
    TRY(mailbox_init(&bg->reclaim));
    bg->wake_mail.run = nothing;
    e->background = bg;
    if (e->log != NULL) {
        TRY(codec_create(&bg->codec));
        TRY(log_writer_create(e->log, NULL, bg->codec, 1, false, large_block_done, e, &bg->writer));
        TRY(reclaim_open(e));
        bg->runs_reclaim = pthread_create(&bg->reclaim_thread, NULL, reclaim_main, e) == 0;
    }
    bg->runs_jobs = pthread_create(&bg->jobs_thread, NULL, jobs_main, e) == 0;
    if (!bg->runs_jobs || (e->log != NULL && !bg->runs_reclaim)) {
        st = NO_MEMORY;
    }
out:
    if (st != OK) {
        background_stop(e);
    }
    return st;
}

void background_stop(struct engine *e)
{
    struct background *bg = e->background;
    if (bg == NULL) {
        return;
    }
    atomic_store_explicit(&bg->is_ending, true, memory_order_release);
    background_wake(e);
    if (bg->runs_jobs) {
        (void)pthread_join(bg->jobs_thread, NULL);
    }
    if (bg->runs_reclaim) {
        (void)pthread_join(bg->reclaim_thread, NULL);
    }
    reclaim_close(e);
    log_writer_destroy(&bg->writer);
    codec_destroy(&bg->codec);
    e->background = NULL;
    mailbox_deinit(&bg->jobs);
    mailbox_deinit(&bg->reclaim);
    mem_free(bg);
}
