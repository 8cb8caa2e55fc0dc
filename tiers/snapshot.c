/*
 * Design: header, sections, end section; each section's CRC covers its head and bytes and is seeded with
 *   the one before it, so a section cannot be lost, doubled or moved.
 *
 *      header   | magic 8 | format 4 | crc32c 4 | id 16 |
 *      section  | tag 4 | crc32c 4 | len 8 | bytes |         repeated
 *      end      | "END!" 4 | crc32c 4 | number of sections 8 |
 *
 * Invariants
 *   1. The file appears under its name complete or not at all: temporary name, fsync, rename, fsync of
 *      the folder.
 *   2. The first error of a writer sticks: snapshot_finish reports it and leaves no file.
 *   3. A reader allocates for a section only what the file still holds.
 */
#include "tiers/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "tiers/crc32c.h"

#define SNAPSHOT_FORMAT 1
#define BUFFER_BYTES (64u << 10)

static const uint64_t snapshot_magic = UINT64_C(0x50414e5348545248); /* "HRTHSNAP" */
static const uint32_t tag_end = 0x21444e45;                          /* "END!" */

struct header {
    uint64_t magic;
    uint32_t format;
    uint32_t crc32c; /* of the id, seeded with format */
    uint8_t id[16];
};
static_assert(sizeof(struct header) == 32, "on disk");

struct section {
    uint32_t tag;
    uint32_t
        crc32c;   /* of tag, len and bytes, seeded with the previous one's (first: the header's) */
    uint64_t len; /* end section: number of sections before it */
};
static_assert(sizeof(struct section) == 16, "on disk");

static uint32_t section_crc(uint32_t seed, const struct section *s, const void *data, size_t len)
{
    uint32_t crc = crc32c(seed, &s->tag, sizeof(s->tag));
    crc = crc32c(crc, &s->len, sizeof(s->len));
    return crc32c(crc, data, len);
}

/* ---- writing ---- */

struct snapshot_writer {
    int fd;
    char *path, *temporary;
    enum status st; /* the first error */
    uint32_t crc;
    uint64_t n_sections;
    size_t used;
    char buffer[BUFFER_BYTES];
};

static enum status write_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? status_from_errno(errno) : IO;
        }
        p += n;
        len -= (size_t)n;
    }
    return OK;
}

static void put_bytes(struct snapshot_writer *w, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0 && w->st == OK) {
        size_t n = BUFFER_BYTES - w->used < len ? BUFFER_BYTES - w->used : len;
        memcpy(w->buffer + w->used, p, n);
        w->used += n;
        p += n;
        len -= n;
        if (w->used == BUFFER_BYTES) {
            w->st = write_all(w->fd, w->buffer, w->used);
            w->used = 0;
        }
    }
}

static void writer_free(struct snapshot_writer **writer)
{
    struct snapshot_writer *w = *writer;
    *writer = NULL;
    if (w == NULL) {
        return;
    }
    if (w->fd >= 0) {
        close(w->fd);
    }
    mem_free(w->path);
    mem_free(w->temporary);
    mem_free(w);
}

enum status snapshot_create(const char *path, const uint8_t id[16], struct snapshot_writer **out)
{
    enum status st = OK;
    *out = NULL;
    struct snapshot_writer *w = mem_alloc(sizeof(*w));
    if (w == NULL) {
        return NO_MEMORY;
    }
    *w = (struct snapshot_writer){.fd = -1, .path = strdup(path)};
    if (asprintf(&w->temporary, "%s.tmp", path) < 0) {
        w->temporary = NULL;
    }
    if (w->path == NULL || w->temporary == NULL) {
        st = NO_MEMORY;
        goto out;
    }
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0) {
        st = status_from_errno(errno);
        st = st == NOT_FOUND ? IO : st; /* the folder is missing */
        goto out;
    }
    struct header h = {.magic = snapshot_magic, .format = SNAPSHOT_FORMAT};
    memcpy(h.id, id, sizeof(h.id));
    h.crc32c = crc32c(SNAPSHOT_FORMAT, h.id, sizeof(h.id));
    w->crc = h.crc32c;
    put_bytes(w, &h, sizeof(h));
    *out = w;
    w = NULL;
out:
    writer_free(&w);
    return st;
}

static void section_put(struct snapshot_writer *w, uint32_t tag, uint64_t len, const void *data,
                        size_t n)
{
    struct section s = {.tag = tag, .len = len};
    s.crc32c = w->crc = section_crc(w->crc, &s, data, n);
    put_bytes(w, &s, sizeof(s));
    put_bytes(w, data, n);
}

enum status snapshot_write(struct snapshot_writer *w, uint32_t tag, const void *data, size_t len)
{
    if (tag == tag_end) {
        return INVALID;
    }
    section_put(w, tag, len, data, len);
    w->n_sections++;
    return w->st;
}

static enum status folder_sync(const char *path)
{
    enum status st = OK;
    char *copy = strdup(path);
    if (copy == NULL) {
        return NO_MEMORY;
    }
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        st = status_from_errno(errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    mem_free(copy);
    return st;
}

enum status snapshot_finish(struct snapshot_writer **writer)
{
    struct snapshot_writer *w = *writer;
    *writer = NULL;
    section_put(w, tag_end, w->n_sections, NULL, 0);
    enum status st = w->st;
    TRY(st);
    TRY(write_all(w->fd, w->buffer, w->used));
    if (fsync(w->fd) != 0 || rename(w->temporary, w->path) != 0) {
        st = status_from_errno(errno);
        goto out;
    }
    st = folder_sync(w->path);
out:
    if (st != OK) {
        (void)unlink(w->temporary); /* may be renamed already: then it is not there */
    }
    writer_free(&w);
    return st;
}

void snapshot_abort(struct snapshot_writer **writer)
{
    if (*writer != NULL) {
        (void)unlink((*writer)->temporary); /* a leftover would be overwritten */
        writer_free(writer);
    }
}

/* ---- reading ---- */

struct snapshot_reader {
    int fd;
    uint32_t crc;
    uint64_t n_sections;
    uint64_t rest; /* bytes of the file not yet consumed */
    bool is_ended;
    char *data;
    size_t cap;
    size_t from, used; /* unread part of the buffer */
    char buffer[BUFFER_BYTES];
};

static enum status get_bytes(struct snapshot_reader *r, void *out, size_t len)
{
    char *p = out;
    if (len > r->rest) {
        return CORRUPT;
    }
    r->rest -= len;
    while (len > 0) {
        if (r->from == r->used) {
            ssize_t n = read(r->fd, r->buffer, BUFFER_BYTES);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                return n < 0 ? status_from_errno(errno) : CORRUPT; /* shorter than it was */
            }
            r->from = 0;
            r->used = (size_t)n;
        }
        size_t n = r->used - r->from < len ? r->used - r->from : len;
        memcpy(p, r->buffer + r->from, n);
        r->from += n;
        p += n;
        len -= n;
    }
    return OK;
}

enum status snapshot_open(const char *path, const uint8_t id[16], struct snapshot_reader **out)
{
    enum status st = OK;
    struct stat info;
    struct header h;
    *out = NULL;
    struct snapshot_reader *r = mem_alloc(sizeof(*r));
    if (r == NULL) {
        return NO_MEMORY;
    }
    *r = (struct snapshot_reader){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (r->fd < 0 || fstat(r->fd, &info) != 0) {
        st = status_from_errno(errno);
        goto out;
    }
    r->rest = (uint64_t)info.st_size;
    TRY(get_bytes(r, &h, sizeof(h)));
    if (h.magic != snapshot_magic || h.format != SNAPSHOT_FORMAT ||
        h.crc32c != crc32c(SNAPSHOT_FORMAT, h.id, sizeof(h.id)) ||
        memcmp(h.id, id, sizeof(h.id)) != 0) {
        st = CORRUPT;
        goto out;
    }
    r->crc = h.crc32c;
    *out = r;
    r = NULL;
out:
    snapshot_close(&r);
    return st;
}

enum status snapshot_next(struct snapshot_reader *r, uint32_t *tag_out, const void **data_out,
                          size_t *len_out)
{
    enum status st = OK;
    struct section s;
    *tag_out = 0;
    *data_out = NULL;
    *len_out = 0;
    if (r->is_ended) {
        return NOT_FOUND;
    }
    TRY(get_bytes(r, &s, sizeof(s)));
    bool is_end = s.tag == tag_end;
    size_t len = is_end ? 0 : s.len;
    if (len > r->rest) {
        return CORRUPT;
    }
    if (len > r->cap) {
        mem_free(r->data);
        r->cap = 0;
        r->data = mem_alloc(len);
        if (r->data == NULL) {
            return NO_MEMORY;
        }
        r->cap = len;
    }
    TRY(get_bytes(r, r->data, len));
    if (s.crc32c != section_crc(r->crc, &s, r->data, len)) {
        return CORRUPT;
    }
    r->crc = s.crc32c;
    if (is_end) {
        r->is_ended = true;
        return s.len == r->n_sections && r->rest == 0 ? NOT_FOUND : CORRUPT;
    }
    r->n_sections++;
    *tag_out = s.tag;
    *data_out = r->data;
    *len_out = len;
out:
    return st;
}

void snapshot_close(struct snapshot_reader **reader)
{
    struct snapshot_reader *r = *reader;
    *reader = NULL;
    if (r == NULL) {
        return;
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    mem_free(r->data);
    mem_free(r);
}
