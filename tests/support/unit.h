/*
 * Purpose: the main function of a Check program in one table. Each test runs in a process of its own
 *   (CK_FORK=no runs them in one, for a debugger).
 *
 *       UNIT_MAIN("lock", {excludes}, {aborts_on_inversion, SIGABRT})
 *
 * Threads: any number inside a test. Errors: exit status 1 when a test failed.
 */
#ifndef HEARTH_TESTS_SUPPORT_UNIT_H
#define HEARTH_TESTS_SUPPORT_UNIT_H

#include <check.h>
#include <signal.h>
#include <stddef.h>

struct unit_test {
    const TTest *test;
    int signal; /* the test passes by dying of it; 0: none */
};

/* Under the slowest sanitizer on a loaded machine. */
#define UNIT_TIMEOUT_SECONDS 120

static inline int unit_run(const char *name, const struct unit_test *tests, size_t n_tests)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, UNIT_TIMEOUT_SECONDS);
    for (size_t i = 0; i < n_tests; i++) {
        if (tests[i].signal != 0) {
            tcase_add_test_raise_signal(tcase, tests[i].test, tests[i].signal);
        } else {
            tcase_add_test(tcase, tests[i].test);
        }
    }
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}

#define UNIT_MAIN(name, ...)                                                                       \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct unit_test tests[] = {__VA_ARGS__};                                            \
        return unit_run(name, tests, sizeof(tests) / sizeof(tests[0]));                            \
    }

#endif
