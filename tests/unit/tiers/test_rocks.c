/* The catalogue, and what hazards.md measured of RocksDB's faults as regression tests. The ones that fill
 * a disk mount a small file system in a mount namespace of their own, which ends with the test; without
 * the right to do so they pass with a note. */
#include "tiers/rocks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/metrics.h"
#include "tests/support/unit.h"

static char root[] = "/tmp/hearth-rocks-XXXXXX";
static char dir[64];

/* The program's own definition is the one that librocksdb calls. */
static _Atomic int sync_failures;

int fdatasync(int fd)
{
    int left = atomic_load(&sync_failures);
    if (left > 0 && atomic_compare_exchange_strong(&sync_failures, &left, left - 1)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void begin(void)
{
    log_set_level(LOG_ERROR);
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(dir, sizeof(dir), "%s/catalog", root);
}

static void end(void)
{
    char command[128];
    ck_assert_int_eq(fault_arm(NULL), OK);
    snprintf(command, sizeof(command), "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

static struct rocks *open_ok(void)
{
    struct rocks *r;
    ck_assert_int_eq(rocks_open(dir, &r), OK);
    return r;
}

#define VALUE_BYTES 2000

static void value_of(unsigned i, unsigned version, char out[VALUE_BYTES])
{
    unsigned state = i * 7919 + version + 1;
    for (unsigned k = 0; k < VALUE_BYTES; k++) {
        state = state * 1664525 + 1013904223;
        out[k] = (char)(state >> 24);
    }
}

static enum status put(struct rocks *r, unsigned i, unsigned version, bool is_durable)
{
    char key[16], value[VALUE_BYTES];
    snprintf(key, sizeof(key), "row/%06u", i);
    value_of(i, version, value);
    struct rocks_batch *b = rocks_batch_create();
    rocks_batch_put(b, key, strlen(key), value, sizeof(value));
    enum status st = rocks_write(r, b, is_durable);
    rocks_batch_destroy(&b);
    ck_assert_ptr_null(b);
    return st;
}

/* OK: the row has this version. INVALID: another one. */
static enum status check(struct rocks *r, unsigned i, unsigned version)
{
    char key[16], expected[VALUE_BYTES];
    void *value;
    size_t len;
    snprintf(key, sizeof(key), "row/%06u", i);
    value_of(i, version, expected);
    enum status st = rocks_get(r, key, strlen(key), &value, &len);
    if (st == OK && (len != sizeof(expected) || memcmp(value, expected, len) != 0)) {
        st = INVALID;
    }
    free(value);
    return st;
}

/* ---- the verbs ---- */

struct seen {
    unsigned n, stop_at;
    char last[16];
};

static enum status see(void *arg, const void *key, size_t key_len, const void *value,
                       size_t value_len)
{
    struct seen *s = arg;
    char name[16] = {0};
    ck_assert_uint_eq(key_len, 10);
    ck_assert_uint_eq(value_len, VALUE_BYTES);
    memcpy(name, key, key_len);
    ck_assert_int_gt(strcmp(name, s->last), 0);
    memcpy(s->last, name, sizeof(name));
    s->n++;
    return s->n == s->stop_at ? REJECTED : OK;
}

START_TEST(verbs)
{
    begin();
    struct rocks *r = open_ok();
    struct seen seen = {0};
    ck_assert_int_eq(rocks_visit(r, "row/", 4, see, &seen), OK);
    ck_assert_uint_eq(seen.n, 0);
    for (unsigned i = 0; i < 1000; i++) { /* 2 MB: several portions, and a flush */
        ck_assert_int_eq(put(r, i, 0, i % 100 == 0), OK);
    }
    struct rocks_batch *b = rocks_batch_create();
    rocks_batch_put(b, "rox", 3, "", 0);
    rocks_batch_put(b, "a", 1, "b", 1);
    rocks_batch_delete(b, "row/000500", 10);
    ck_assert_int_eq(rocks_write(r, b, true), OK);
    rocks_batch_destroy(&b);
    for (int is_reopened = 0; is_reopened < 2; is_reopened++) {
        void *value;
        size_t len = 9;
        ck_assert_int_eq(check(r, 0, 0), OK);
        ck_assert_int_eq(check(r, 500, 0), NOT_FOUND);
        ck_assert_int_eq(check(r, 999, 0), OK);
        ck_assert_int_eq(rocks_get(r, "rox", 3, &value, &len), OK);
        ck_assert_uint_eq(len, 0);
        free(value);
        seen = (struct seen){0};
        ck_assert_int_eq(rocks_visit(r, "row/", 4, see, &seen), OK);
        ck_assert_uint_eq(seen.n, 999);
        seen = (struct seen){.stop_at = 700};
        ck_assert_int_eq(rocks_visit(r, "row/", 4, see, &seen), REJECTED);
        ck_assert_uint_eq(seen.n, 700);
        rocks_close(&r);
        ck_assert_ptr_null(r);
        r = open_ok();
    }
    rocks_close(&r);
    rocks_close(&r); /* harmless */
    end();
}
END_TEST

START_TEST(one_owner)
{
    struct rocks *second;
    begin();
    struct rocks *r = open_ok();
    ck_assert_int_eq(rocks_open(dir, &second), IO);
    ck_assert_ptr_null(second);
    rocks_close(&r);
    ck_assert_int_eq(rocks_open("/proc/nowhere", &second), IO);
    end();
}
END_TEST

static unsigned files_named(const char *prefix)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(d);
    return n;
}

START_TEST(small)
{
    begin();
    uint64_t rss = mem_rss_bytes();
    struct rocks *r = open_ok();
    for (unsigned i = 0; i < 20000; i++) { /* 40 MB through it */
        ck_assert_int_eq(put(r, i % 500, i, false), OK);
    }
    ck_assert_uint_gt(rocks_memory_bytes(r), 0);
    ck_assert_uint_lt(rocks_memory_bytes(r), 5u << 20);
    rss = mem_rss_bytes() - rss;
    rocks_close(&r);
    for (int i = 0; i < 10; i++) {
        r = open_ok();
        rocks_close(&r);
    }
    ck_assert_uint_le(files_named("LOG"), 1);
    ck_assert_uint_le(files_named("OPTIONS"), 2);
    printf("catalogue: %.1f MB of RSS after 40 MB of writes\n", (double)rss / (1 << 20));
#ifdef HEARTH_JEMALLOC /* as the server runs; sanitizers keep what is freed */
    ck_assert_uint_lt(rss, 24u << 20);
#endif
    end();
}
END_TEST

/* ---- injected faults ---- */

START_TEST(failed_write_reopens)
{
    begin();
    struct rocks *r = open_ok();
    ck_assert_int_eq(put(r, 1, 0, true), OK);
    ck_assert_int_eq(fault_arm("catalog.write=IO@1"), OK);
    ck_assert_int_eq(put(r, 2, 0, true), IO);
    ck_assert(metric_value(M_CATALOG_ERRORS) == 1);
    ck_assert(metric_value(M_CATALOG_REOPENS) == 0);
    ck_assert_int_eq(put(r, 3, 0, true), OK);
    ck_assert(metric_value(M_CATALOG_REOPENS) == 1);
    ck_assert_int_eq(check(r, 1, 0), OK);
    ck_assert_int_eq(check(r, 3, 0), OK);

    /* Reading reopens as well; a failed reopening is tried again. */
    ck_assert_int_eq(fault_arm("catalog.write=IO@1,catalog.open=IO@1"), OK);
    ck_assert_int_eq(put(r, 2, 0, true), IO);
    ck_assert_int_eq(check(r, 1, 0), IO);
    ck_assert_int_eq(check(r, 1, 0), OK);
    ck_assert(metric_value(M_CATALOG_REOPENS) == 2);
    rocks_close(&r);

    ck_assert_int_eq(fault_arm("catalog.open=IO@1"), OK);
    ck_assert_int_eq(rocks_open(dir, &r), IO);
    ck_assert_ptr_null(r);
    r = open_ok();
    ck_assert_int_eq(check(r, 3, 0), OK);
    rocks_close(&r);
    end();
}
END_TEST

/* A real one, in RocksDB's own fdatasync: without reopening every later write would fail. */
START_TEST(failed_sync_reopens)
{
    begin();
    struct rocks *r = open_ok();
    ck_assert_int_eq(put(r, 1, 1, true), OK);
    atomic_store(&sync_failures, 1);
    ck_assert_int_eq(put(r, 1, 2, true), IO);
    ck_assert_int_eq(atomic_load(&sync_failures), 0);
    enum status st = check(r, 1, 1); /* indeterminate */
    ck_assert(st == OK || (st == INVALID && check(r, 1, 2) == OK));
    for (unsigned i = 2; i < 100; i++) {
        ck_assert_int_eq(put(r, i, 0, true), OK);
    }
    ck_assert(metric_value(M_CATALOG_REOPENS) == 1);
    atomic_store(&sync_failures, 1000); /* for long: it fails, lives, and recovers */
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_ne(put(r, 200, i, true), OK);
    }
    atomic_store(&sync_failures, 0);
    ck_assert_int_eq(put(r, 200, 77, true), OK);
    ck_assert_int_eq(check(r, 200, 77), OK);
    for (unsigned i = 2; i < 100; i++) {
        ck_assert_int_eq(check(r, i, 0), OK);
    }
    rocks_close(&r);
    end();
}
END_TEST

/* ---- damage ---- */

/* The write-ahead log with the most bytes. */
static void wal_find(char path_out[400], off_t *len_out)
{
    DIR *d = opendir(dir);
    *len_out = -1;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[400];
        struct stat info;
        const char *dot = strrchr(e->d_name, '.');
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (dot != NULL && strcmp(dot, ".log") == 0 && stat(path, &info) == 0 &&
            info.st_size > *len_out) {
            *len_out = info.st_size;
            memcpy(path_out, path, sizeof(path));
        }
    }
    closedir(d);
}

/* 200 rows of version 1, then of version 2, all in the write-ahead log. */
static void two_versions(char wal_out[400], off_t *len_out)
{
    struct rocks *r = open_ok();
    for (unsigned i = 0; i < 400; i++) {
        ck_assert_int_eq(put(r, i % 200, 1 + i / 200, false), OK);
    }
    rocks_close(&r);
    wal_find(wal_out, len_out);
    ck_assert_int_gt(*len_out, 400 * VALUE_BYTES);
}

START_TEST(flipped_wal_refuses)
{
    char wal[400];
    off_t len;
    struct rocks *r;
    begin();
    two_versions(wal, &len);
    int fd = open(wal, O_RDWR);
    for (off_t at = 1000; at < len * 9 / 10; at += len / 17) {
        uint8_t byte, flipped;
        ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
        flipped = byte ^ 0x10;
        ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
        /* The default would open here with version 1 of what was overwritten. */
        ck_assert_int_eq(rocks_open(dir, &r), CORRUPT);
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
    r = open_ok();
    for (unsigned i = 0; i < 200; i++) {
        ck_assert_int_eq(check(r, i, 2), OK);
    }
    rocks_close(&r);
    end();
}
END_TEST

START_TEST(truncated_wal_opens)
{
    char wal[400];
    off_t len;
    begin();
    two_versions(wal, &len);
    ck_assert_int_eq(truncate(wal, len - 1000), 0);
    struct rocks *r = open_ok();
    for (unsigned i = 0; i < 199; i++) {
        ck_assert_int_eq(check(r, i, 2), OK);
    }
    ck_assert_int_eq(check(r, 199, 1), OK); /* the newest write was cut off */
    rocks_close(&r);
    end();
}
END_TEST

START_TEST(damaged_manifest_refuses)
{
    char path[128];
    struct rocks *r;
    begin();
    r = open_ok();
    ck_assert_int_eq(put(r, 1, 1, true), OK);
    rocks_close(&r);
    snprintf(path, sizeof(path), "%s/CURRENT", dir);
    int fd = open(path, O_RDWR | O_TRUNC);
    ck_assert_int_eq(write(fd, "MANIFEST-999999\n", 16), 16);
    close(fd);
    enum status st = rocks_open(dir, &r);
    ck_assert(st == IO || st == CORRUPT);
    end();
}
END_TEST

/* ---- a full disk ---- */

static bool mount_small(const char *type, const char *size)
{
    char command[300];
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        printf("skipped: no right to mount\n");
        return false;
    }
    if (strcmp(type, "tmpfs") == 0) {
        snprintf(command, sizeof(command), "mount -t tmpfs -o size=%s tmpfs %s", size, root);
    } else {
        snprintf(command, sizeof(command),
                 "truncate -s %s %s.img && mkfs.ext4 -q -F %s.img && mount -o loop %s.img %s; "
                 "s=$?; rm -f %s.img; exit $s",
                 size, root, root, root, root, root);
    }
    if (system(command) != 0) {
        printf("skipped: cannot mount a small %s\n", type);
        return false;
    }
    return true;
}

static char filler[80];

/* Leaves `rest` bytes. */
static void disk_fill(unsigned rest)
{
    static char zeros[4096];
    snprintf(filler, sizeof(filler), "%s/filler", root);
    int fd = open(filler, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (write(fd, zeros, sizeof(zeros)) > 0) {
    }
    struct stat info;
    ck_assert_int_eq(fstat(fd, &info), 0);
    off_t len = info.st_size > (off_t)rest ? info.st_size - (off_t)rest : 0;
    ck_assert_int_eq(ftruncate(fd, len), 0);
    close(fd);
}

static int64_t mono_us;

static int64_t stored_mono(void *arg)
{
    return mono_us;
}

static int64_t stored_wall(void *arg)
{
    return mono_us;
}

/* Fills, writes until it fails and long after, frees, goes on: nothing acknowledged is lost. */
static void full_disk(const char *type, const char *size)
{
    static const struct clock_source source = {stored_wall, stored_mono, NULL};
    begin();
    if (!mount_small(type, size)) {
        end();
        return;
    }
    clock_set_source(&source);
    struct rocks *r = open_ok();
    unsigned acked[100] = {0}, maybe[100] = {0}, version = 0;
    for (int round = 0; round < 4; round++) {
        mono_us += 10000000; /* the ballast is taken again */
        ck_assert_int_eq(put(r, 0, acked[0] = ++version, true), OK);
        ck_assert_uint_eq(files_named("ballast"), 1);
        disk_fill(64 << 10);
        unsigned n_failed = 0;
        for (unsigned n = 0; n < 20000 && n_failed < 200; n++) {
            unsigned i = n % 100;
            enum status st = put(r, i, ++version, n % 2 == 0);
            maybe[i] = version;
            if (st == OK) {
                acked[i] = version;
            } else {
                ck_assert(st == NO_SPACE || st == IO);
                n_failed++;
            }
            if (n_failed == 1 && st == NO_SPACE) { /* the ballast is gone: there is room to go on */
                ck_assert_uint_eq(files_named("ballast"), 0);
                st = put(r, i, ++version, true);
                ck_assert_int_eq(st, OK);
                acked[i] = maybe[i] = version;
                n_failed++;
            }
            if (st != OK || n % 50 == 0) {
                disk_fill(0); /* what the ballast or compaction gave is gone again */
            }
        }
        ck_assert_uint_eq(n_failed, 200);
        ck_assert_int_eq(unlink(filler), 0);
        enum status st = IO;
        for (int attempt = 0; attempt < 3 && st != OK; attempt++) {
            st = put(r, 1, acked[1] = ++version, true);
        }
        ck_assert_int_eq(st, OK);
        for (unsigned i = 0; i < 100; i++) {
            if (acked[i] != 0 && check(r, i, acked[i]) != OK) {
                ck_assert_int_eq(check(r, i, maybe[i]), OK);
                acked[i] = maybe[i];
            }
        }
    }
    rocks_close(&r);
    if (umount2(root, MNT_DETACH) != 0) {
        printf("umount: %s\n", strerror(errno));
    }
    end();
}

START_TEST(full_tmpfs)
{
    full_disk("tmpfs", "24m");
}
END_TEST

START_TEST(full_ext4)
{
    full_disk("ext4", "48m");
}
END_TEST

UNIT_MAIN("rocks", {verbs}, {one_owner}, {small}, {failed_write_reopens}, {failed_sync_reopens},
          {flipped_wal_refuses}, {truncated_wal_opens}, {damaged_manifest_refuses}, {full_tmpfs},
          {full_ext4})
