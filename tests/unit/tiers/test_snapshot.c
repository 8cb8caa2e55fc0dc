#include "tiers/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fault.h"
#include "tests/support/unit.h"

static char dir[] = "/tmp/hearth-snapshot-XXXXXX";
static char path[64], temporary[64];
static const uint8_t id[16] = "0123456789abcde";

static void begin(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/snap", dir);
    snprintf(temporary, sizeof(temporary), "%s/snap.tmp", dir);
}

static void end(void)
{
    unlink(path);
    unlink(temporary);
    rmdir(dir);
}

static uint32_t tag_of(unsigned i)
{
    return 0x41414141u + i;
}

/* Section i has 1000 i^2 bytes of the value i: from none to more than the buffers. */
#define N_SECTIONS 20

static void write_example(void)
{
    struct snapshot_writer *w;
    ck_assert_int_eq(snapshot_create(path, id, &w), OK);
    for (unsigned i = 0; i < N_SECTIONS; i++) {
        size_t len = 1000 * (size_t)i * i;
        char *data = malloc(len + 1);
        memset(data, (int)i, len);
        ck_assert_int_eq(snapshot_write(w, tag_of(i), data, len), OK);
        free(data);
    }
    ck_assert_int_eq(snapshot_finish(&w), OK);
    ck_assert_ptr_null(w);
    ck_assert_int_eq(access(temporary, F_OK), -1);
}

/* Reads to the end; NOT_FOUND: all sections came and are right. */
static enum status read_example(unsigned *n_out)
{
    struct snapshot_reader *r;
    uint32_t tag;
    const void *data;
    size_t len;
    *n_out = 0;
    enum status st = snapshot_open(path, id, &r);
    while (st == OK && (st = snapshot_next(r, &tag, &data, &len)) == OK) {
        unsigned i = (*n_out)++;
        ck_assert_uint_eq(tag, tag_of(i));
        ck_assert_uint_eq(len, 1000 * (size_t)i * i);
        const uint8_t *bytes = data;
        size_t n_wrong = 0;
        for (size_t k = 0; k < len; k++) {
            n_wrong += bytes[k] != i;
        }
        ck_assert_uint_eq(n_wrong, 0);
    }
    snapshot_close(&r);
    return st;
}

START_TEST(round_trip)
{
    unsigned n;
    struct snapshot_writer *w;
    begin();
    ck_assert_int_eq(snapshot_create(path, id, &w), OK);
    ck_assert_int_eq(access(path, F_OK), -1); /* not before it is complete */
    ck_assert_int_eq(snapshot_finish(&w), OK);
    ck_assert_int_eq(read_example(&n), NOT_FOUND);
    ck_assert_uint_eq(n, 0);
    write_example();
    ck_assert_int_eq(read_example(&n), NOT_FOUND);
    ck_assert_uint_eq(n, N_SECTIONS);
    write_example(); /* replaces */
    ck_assert_int_eq(read_example(&n), NOT_FOUND);
    end();
}
END_TEST

START_TEST(refusals)
{
    struct snapshot_reader *r;
    struct snapshot_writer *w;
    uint8_t other[16] = "other";
    begin();
    ck_assert_int_eq(snapshot_open(path, id, &r), NOT_FOUND);
    ck_assert_ptr_null(r);
    write_example();
    ck_assert_int_eq(snapshot_open(path, other, &r), CORRUPT);
    ck_assert_int_eq(snapshot_create(path, id, &w), OK);
    snapshot_abort(&w);
    ck_assert_ptr_null(w);
    ck_assert_int_eq(access(temporary, F_OK), -1);
    ck_assert_int_eq(snapshot_create(path, id, &w), OK);
    ck_assert_int_eq(snapshot_write(w, 0x21444e45, "x", 1), INVALID); /* the end's own tag */
    snapshot_abort(&w);
    ck_assert_int_eq(snapshot_create("/nowhere/at/all", id, &w), IO);
    end();
}
END_TEST

START_TEST(truncated)
{
    struct stat info;
    unsigned n;
    begin();
    write_example();
    ck_assert_int_eq(stat(path, &info), 0);
    for (off_t len = info.st_size - 1; len >= 0; len = len > 200 ? len - len / 7 : len - 1) {
        ck_assert_int_eq(truncate(path, len), 0);
        ck_assert_int_eq(read_example(&n), CORRUPT);
    }
    end();
}
END_TEST

START_TEST(flipped_or_longer)
{
    struct stat info;
    unsigned n;
    begin();
    write_example();
    ck_assert_int_eq(stat(path, &info), 0);
    int fd = open(path, O_RDWR);
    for (off_t at = 0; at < info.st_size; at += at < 300 ? 1 : 19999) {
        uint8_t byte, flipped;
        ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
        flipped = byte ^ (uint8_t)(1 << at % 8);
        ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
        enum status st = read_example(&n);
        ck_assert_msg(st == CORRUPT || st == NO_MEMORY, "byte %ld", (long)at);
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    }
    ck_assert_int_eq(read_example(&n), NOT_FOUND);
    ck_assert_int_eq(pwrite(fd, "x", 1, info.st_size), 1);
    ck_assert_int_eq(read_example(&n), CORRUPT);
    close(fd);
    end();
}
END_TEST

START_TEST(disk_full)
{
    struct snapshot_writer *w;
    char *data = calloc(1, 1 << 20);
    begin();
    /* A device that is always full. */
    snprintf(path, sizeof(path), "%s/snap", dir);
    ck_assert_int_eq(symlink("/dev/full", temporary), 0);
    ck_assert_int_eq(snapshot_create(path, id, &w), OK);
    ck_assert_int_eq(snapshot_write(w, 1, data, 1 << 20), NO_SPACE);
    ck_assert_int_eq(snapshot_write(w, 2, data, 10), NO_SPACE);
    ck_assert_int_eq(snapshot_finish(&w), NO_SPACE);
    ck_assert_int_eq(access(path, F_OK), -1);
    free(data);
    end();
}
END_TEST

START_TEST(allocations)
{
    begin();
    for (unsigned n = 1;; n++) {
        char spec[40];
        struct snapshot_writer *w;
        unsigned n_read = 0;
        snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%u", n);
        ck_assert_int_eq(fault_arm(spec), OK);
        enum status st = snapshot_create(path, id, &w);
        if (st == OK) {
            char section[1000 * (N_SECTIONS - 1)];
            memset(section, 0, sizeof(section));
            st = snapshot_write(w, tag_of(0), section, 0);
            enum status finished = snapshot_finish(&w);
            st = st == OK ? finished : st;
        }
        if (st == OK) {
            st = read_example(&n_read);
        }
        ck_assert_int_eq(fault_arm(NULL), OK);
        ck_assert(st == NO_MEMORY || (st == NOT_FOUND && n_read == 1));
        if (st == NOT_FOUND && n > 6) {
            break;
        }
    }
    end();
}
END_TEST

UNIT_MAIN("snapshot", {round_trip}, {refusals}, {truncated}, {flipped_or_longer}, {disk_full},
          {allocations})
