#include "engine/base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/support/unit.h"

#define N_POSTERS 4
#define N_MAILS 5000

struct note {
    struct mail mail; /* first */
    int poster;
    int number;
};

static struct mailbox box;
static int n_ran;
static int last_number[N_POSTERS];

static bool is_readable(int timeout_ms)
{
    struct pollfd p = {.fd = mailbox_fd(&box), .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void run_note(struct mail *mail)
{
    struct note *note = (struct note *)mail;
    ck_assert_int_eq(note->number, last_number[note->poster] + 1);
    last_number[note->poster] = note->number;
    n_ran++;
    free(note);
}

static void post_note(int poster, int number)
{
    struct note *note = malloc(sizeof(*note));
    ck_assert_ptr_nonnull(note);
    *note = (struct note){.mail.run = run_note, .poster = poster, .number = number};
    mailbox_post(&box, &note->mail);
}

START_TEST(runs_in_the_order_of_posting)
{
    ck_assert_int_eq(mailbox_init(&box), OK);
    ck_assert(mailbox_is_empty(&box));
    ck_assert(!is_readable(0));
    ck_assert_uint_eq(mailbox_drain(&box), 0);
    for (int i = 1; i <= 100; i++) {
        post_note(0, i);
    }
    ck_assert(!mailbox_is_empty(&box));
    ck_assert(is_readable(0));
    ck_assert_uint_eq(mailbox_drain(&box), 100);
    ck_assert_int_eq(n_ran, 100);
    ck_assert(!is_readable(0));
    ck_assert(mailbox_is_empty(&box));
    mailbox_deinit(&box);
}
END_TEST

static void run_again(struct mail *mail)
{
    if (++n_ran < 3) {
        mailbox_post(&box, mail);
    }
}

START_TEST(a_mail_may_post_itself_again)
{
    struct mail mail = {.run = run_again};
    ck_assert_int_eq(mailbox_init(&box), OK);
    mailbox_post(&box, &mail);
    ck_assert_uint_eq(mailbox_drain(&box), 1); /* not endlessly in one drain */
    ck_assert(is_readable(0));
    ck_assert_uint_eq(mailbox_drain(&box), 1);
    ck_assert_uint_eq(mailbox_drain(&box), 1);
    ck_assert(!is_readable(0));
    ck_assert_int_eq(n_ran, 3);
    mailbox_deinit(&box);
}
END_TEST

static void *post_many(void *arg)
{
    for (int i = 1; i <= N_MAILS; i++) {
        post_note((int)(intptr_t)arg, i);
    }
    return NULL;
}

/* The owner sleeps in poll whenever the box is empty: a lost wake-up hangs the test. */
START_TEST(many_posters_lose_nothing)
{
    pthread_t threads[N_POSTERS];
    ck_assert_int_eq(mailbox_init(&box), OK);
    for (intptr_t i = 0; i < N_POSTERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    }
    while (n_ran < N_POSTERS * N_MAILS) {
        ck_assert(is_readable(30000));
        mailbox_drain(&box);
    }
    for (int i = 0; i < N_POSTERS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(last_number[i], N_MAILS);
    }
    ck_assert(mailbox_is_empty(&box));
    mailbox_deinit(&box);
}
END_TEST

UNIT_MAIN("mailbox", {runs_in_the_order_of_posting}, {a_mail_may_post_itself_again},
          {many_posters_lose_nothing})
