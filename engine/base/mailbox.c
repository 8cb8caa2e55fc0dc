/*
 * A Treiber stack that the owner takes as a whole, so there is no ABA: nobody pops one element. The
 * owner reverses what it took, which restores the order of posting.
 *
 * Invariants
 *  1. Only the post that finds the stack empty writes the eventfd: one system call per burst.
 *  2. The owner clears the eventfd before it takes the stack. A post in between finds either a full
 *     stack (and is taken) or an empty one (and wakes the owner once too often); the other order
 *     would lose a wake-up.
 */
#include "engine/base/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/check.h"

enum status mailbox_init(struct mailbox *box)
{
    atomic_init(&box->head, NULL);
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return box->fd >= 0 ? OK : status_from_errno(errno);
}

void mailbox_deinit(struct mailbox *box)
{
    if (box->fd >= 0) {
        close(box->fd);
        box->fd = -1;
    }
    atomic_store_explicit(&box->head, NULL, memory_order_relaxed);
}

int mailbox_fd(const struct mailbox *box)
{
    return box->fd;
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    struct mail *old = atomic_load_explicit(&box->head, memory_order_relaxed);
    do {
        mail->next = old;
    } while (!atomic_compare_exchange_weak_explicit(&box->head, &old, mail, memory_order_release,
                                                    memory_order_relaxed));
    if (old == NULL) {
        uint64_t one = 1;
        ssize_t n;
        do {
            n = write(box->fd, &one, sizeof(one));
        } while (n < 0 && errno == EINTR);
        CHECK(n == sizeof(one) || errno == EAGAIN); /* EAGAIN: the counter is full, so it wakes */
    }
}

static struct mail *reversed(struct mail *mail)
{
    struct mail *first = NULL;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = first;
        first = mail;
        mail = next;
    }
    return first;
}

size_t mailbox_drain(struct mailbox *box)
{
    uint64_t posts;
    ssize_t n;
    do {
        n = read(box->fd, &posts, sizeof(posts));
    } while (n < 0 && errno == EINTR);
    struct mail *mail = reversed(atomic_exchange_explicit(&box->head, NULL, memory_order_acquire));
    size_t n_run = 0;
    while (mail != NULL) {
        struct mail *next = mail->next; /* run may free it */
        mail->run(mail);
        mail = next;
        n_run++;
    }
    return n_run;
}

bool mailbox_is_empty(const struct mailbox *box)
{
    return atomic_load_explicit(&box->head, memory_order_relaxed) == NULL;
}
