/* A byte of flags, then a snapshot file. With flag 1 the CRCs are made right, section by section; with
 * flag 2 the segments' generations are made to agree. Sections go to log_load, as at a warm start: a log
 * that believes them must then walk and find its victims within bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "tiers/crc32c.h"
#include "tiers/log_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define N_SEGMENTS 8
#define SEGMENT_BYTES (UINT64_C(2) << 20)
#define FLOOR 100
#define FILE_HEADER 32
#define SECTION_HEADER 16
#define TAG_END 0x21444e45u
#define TAG_SEGMENT 0x47455353u

static const uint8_t id[16] = "fuzz-snapshot-i";

static void must(int is_true)
{
    if (!is_true) {
        abort();
    }
}

static void repair(uint8_t *bytes, size_t len)
{
    uint64_t n = 0;
    if (len < FILE_HEADER) {
        return;
    }
    memcpy(bytes + 16, id, sizeof(id));
    uint32_t crc = crc32c(1, id, sizeof(id));
    memcpy(bytes + 12, &crc, sizeof(crc));
    for (size_t at = FILE_HEADER; at + SECTION_HEADER <= len; n++) {
        uint32_t tag;
        uint64_t bytes_len;
        memcpy(&tag, bytes + at, sizeof(tag));
        if (tag == TAG_END) {
            memcpy(bytes + at + 8, &n, sizeof(n));
        }
        memcpy(&bytes_len, bytes + at + 8, sizeof(bytes_len));
        uint64_t rest = tag == TAG_END ? 0 : bytes_len;
        if (rest > len - at - SECTION_HEADER) {
            return;
        }
        crc = crc32c(crc, bytes + at, 4);
        crc = crc32c(crc, bytes + at + 8, 8);
        crc = crc32c(crc, bytes + at + SECTION_HEADER, rest);
        memcpy(bytes + at + 4, &crc, sizeof(crc));
        at += SECTION_HEADER + rest;
    }
}

static void log_prepare(struct log *log)
{
    *log = (struct log){
        .config = {.segment_bytes = SEGMENT_BYTES, .block_bytes = 64 << 10},
        .n_segments = N_SEGMENTS,
        .generation_floor = FLOOR,
        .segments = calloc(N_SEGMENTS, sizeof(struct log_segment)),
        .order = calloc(N_SEGMENTS, sizeof(uint32_t)),
        .open = LOG_NONE,
        .n_to_load = LOG_NONE,
    };
    memcpy(log->config.uuid, "fuzz-uuid-16byt", 16);
    lock_init(&log->lock, LOCK_RANK_LOG);
    atomic_store(&log->n_state[LOG_SEG_FREE], N_SEGMENTS);
    for (unsigned i = 0; i < N_SEGMENTS; i++) {
        log->segments[i].row_state = LOG_SEG_SEALED;
        atomic_store(&log->segments[i].generation, FLOOR);
    }
}

/* The catalogue would say what the section says. */
static void agree(struct log *log, const char *data, size_t len)
{
    uint32_t segment, generation;
    if (len >= 20) {
        memcpy(&segment, data, sizeof(segment));
        memcpy(&generation, data + 16, sizeof(generation));
        atomic_store(&log->segments[segment % N_SEGMENTS].generation, generation);
    }
}

static void walk(struct log *log)
{
    struct log_position pos = {0};
    struct log_stats stats;
    uint32_t segment, n = 0;
    while (log_block_find(log, &pos, &segment)) {
        const struct log_block_ref *ref = &log->segments[segment].blocks[pos.block];
        must(segment < N_SEGMENTS && pos.block < log_segment_blocks(log, segment));
        must((uint64_t)(ref->page + ref->pages) * LOG_PAGE <= SEGMENT_BYTES);
        must(ref->footer_len <= ref->pages * LOG_PAGE);
        pos.block++;
        must(++n <= N_SEGMENTS * SEGMENT_BYTES / LOG_PAGE);
    }
    log_stats(log, &stats);
    must(stats.used_bytes <= N_SEGMENTS * SEGMENT_BYTES);
    must(log_end(log).segment_seq == log->next_seq);
    must(log_reclaim_begin(log, LOG_VICTIM_LEAST_LIVE, &segment) == OK || log->n_order == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct snapshot_reader *r;
    struct log log;
    uint32_t tag;
    const void *data;
    size_t len;
    if (size < 1) {
        return 0;
    }
    log_set_level(LOG_ERROR);
    uint8_t *bytes = malloc(size);
    must(bytes != NULL);
    memcpy(bytes, input + 1, size - 1);
    if ((input[0] & 1) != 0) {
        repair(bytes, size - 1);
    }
    char path[40];
    int fd = memfd_create("snapshot", 0);
    must(fd >= 0 && write(fd, bytes, size - 1) == (ssize_t)(size - 1));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    log_prepare(&log);
    enum status st = snapshot_open(path, id, &r);
    while (st == OK && (st = snapshot_next(r, &tag, &data, &len)) == OK) {
        if (tag == TAG_SEGMENT && (input[0] & 2) != 0) {
            agree(&log, data, len);
        }
        st = log_load(&log, tag, data, len);
    }
    if (atomic_load(&log.is_loaded)) {
        walk(&log);
    }
    snapshot_close(&r);
    for (unsigned i = 0; i < N_SEGMENTS; i++) {
        free(log.segments[i].blocks);
    }
    free(log.segments);
    free(log.order);
    free(bytes);
    close(fd);
    return 0;
}
