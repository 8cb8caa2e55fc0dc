/*
 * Purpose: work handed to another thread. Any thread posts an intrusive mail, the owner drains them
 *   all; the mailbox's eventfd becomes readable when mail waits.
 *
 *       struct settle { struct mail mail; ... };          poster: mailbox_post(box, &s->mail);
 *       static void settle_run(struct mail *mail) { ... } owner:  mailbox_drain(box);
 *
 * Threads: post from any; drain, init and deinit by the owner. A mailbox must outlive its posters:
 *   a post touches the eventfd after the mail may already have run.
 * Errors: only init fails. Posting neither blocks nor allocates.
 */
#ifndef HEARTH_BASE_MAILBOX_H
#define HEARTH_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/status.h"

struct mail {
    struct mail *next;              /* the mailbox's, from post to run */
    void (*run)(struct mail *mail); /* on the owner's thread; may free or post the mail again */
};

struct mailbox {
    _Atomic(struct mail *) head; /* atomic: release publishes the mail, acquire takes it */
    int fd;                      /* immutable after init */
};

MUST_CHECK enum status mailbox_init(struct mailbox *box);
/* Drops what still waits, unrun: drain first. */
void mailbox_deinit(struct mailbox *box);
/* For the owner's poll: readable when mail waits. */
int mailbox_fd(const struct mailbox *box);
/* A mail that waits already must not be posted again. */
void mailbox_post(struct mailbox *box, struct mail *mail);
/* Runs what waits now, in the order of posting; mail posted meanwhile waits for the next drain (the
 * fd is readable again). Returns how many ran. */
size_t mailbox_drain(struct mailbox *box);
bool mailbox_is_empty(const struct mailbox *box);

#endif
