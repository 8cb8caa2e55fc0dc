/* The log when the device, the catalogue or memory fail, and across restarts. */
#include "tests/unit/tiers/log_fixture.h"

#include "engine/base/clock.h"

static int64_t mono_us = 1;

static int64_t stored_mono(void *arg)
{
    return mono_us;
}

static void stop_clock(void)
{
    static const struct clock_source source = {stored_mono, stored_mono, NULL};
    clock_set_source(&source);
}

static enum status append_now(struct fixture *f)
{
    return fixture_append(f, 20, 1000, 1, RECORD_NO_EXPIRY);
}

static uint32_t segment_of(uint64_t location)
{
    return (uint32_t)(location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT);
}

/* ---- writes that fail ---- */

START_TEST(failed_block_moves)
{
    struct fixture f;
    struct log_stats stats;
    fixture_begin(&f, 12);
    uint64_t promised[30];
    for (int i = 0; i < 30; i++) {
        ck_assert_int_eq(append_now(&f), OK);
        promised[i] = f.shadow[i].location;
    }
    ck_assert_int_eq(fault_arm("dev.write=IO@1"), OK);
    fixture_flush(&f);
    ck_assert_int_eq(log_health(f.log), LOG_OK); /* degraded meanwhile, healed by the second try */
    ck_assert_uint_eq(f.n_done, 30);
    for (int i = 0; i < 30; i++) { /* all moved, to another segment */
        ck_assert_int_eq(f.shadow[i].st, OK);
        ck_assert_uint_ne(segment_of(f.shadow[i].location), segment_of(promised[i]));
    }
    fixture_read_all(&f);
    /* The quarantined segment is empty; it is sealed and may be reclaimed. */
    ck_assert_int_eq(log_maintain(f.log), OK);
    log_stats(f.log, &stats);
    ck_assert_uint_eq(stats.n_sealed, 1);
    ck_assert_uint_eq(log_segment_blocks(f.log, segment_of(promised[0])), 0);
    ck_assert_uint_eq(log_segment_blocks(f.log, segment_of(f.shadow[0].location)), 1);
    ck_assert_uint_eq(stats.used_bytes, f.log->segments[1].blocks[0].pages * (uint64_t)LOG_PAGE);
    uint32_t victim;
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &victim), OK);
    ck_assert_uint_eq(victim, segment_of(promised[0]));
    ck_assert_int_eq(log_reclaim_finish(f.log, victim), OK);
    fixture_end(&f);
}
END_TEST

START_TEST(large_block_moves)
{
    struct fixture f;
    fixture_begin(&f, 12);
    ck_assert_int_eq(fault_arm("dev.write=IO@1"), OK);
    ck_assert_int_eq(fixture_append(&f, 20, 500000, 1, 99), OK);
    fixture_flush(&f);
    ck_assert_int_eq(f.shadow[0].st, OK);
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

START_TEST(second_failure_is_told)
{
    struct fixture f;
    fixture_begin(&f, 12);
    ck_assert_int_eq(append_now(&f), OK);
    ck_assert_int_eq(fault_arm("dev.write=IO@1,dev.write=IO@1+"), OK);
    fixture_flush(&f);
    ck_assert_int_eq(f.shadow[0].st, IO);
    ck_assert_int_eq(log_health(f.log), LOG_DEGRADED);
    ck_assert(metric_value(M_DEVICE_STATE) == LOG_DEGRADED);
    ck_assert_int_eq(fault_arm("dev.write=NO_SPACE@1+"), OK);
    ck_assert_int_eq(log_maintain(f.log), OK);
    ck_assert_int_eq(append_now(&f), OK); /* degraded still tries */
    fixture_flush(&f);
    ck_assert_int_eq(f.shadow[1].st, NO_SPACE);
    ck_assert_int_eq(log_health(f.log), LOG_FAILED);
    fixture_end(&f);
}
END_TEST

START_TEST(failed_device_is_probed)
{
    struct fixture f;
    struct log_stats before, after;
    stop_clock();
    fixture_begin(&f, 12);
    ck_assert_int_eq(append_now(&f), OK);
    fixture_flush(&f);
    ck_assert_int_eq(fault_arm("dev.write=IO@1+"), OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(append_now(&f), OK);
        fixture_flush(&f);
        (void)!log_maintain(f.log);
    }
    ck_assert_int_eq(log_health(f.log), LOG_FAILED);
    ck_assert(metric_value(M_DEVICE_STATE) == LOG_FAILED);
    ck_assert_int_eq(append_now(&f), IO);
    log_stats(f.log, &before);
    for (int i = 0; i < 100;
         i++) { /* a hundred seconds: one probe each, no segment is lost to them */
        mono_us += 1000000;
        uint32_t n = f.n_shadow;
        ck_assert_int_eq(append_now(&f), OK);
        ck_assert_int_eq(append_now(&f), IO);
        ck_assert_uint_eq(log_writer_blocks_in_flight(f.writer), 1);
        fixture_pump(&f);
        ck_assert_int_eq(f.shadow[n].st, IO);
        (void)!log_maintain(f.log);
    }
    log_stats(f.log, &after);
    ck_assert_uint_eq(before.n_free, after.n_free);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK); /* reading goes on */

    ck_assert_int_eq(fault_arm(NULL), OK);
    ck_assert_int_eq(append_now(&f), IO); /* not before the next probe */
    mono_us += 1000000;
    ck_assert_int_eq(append_now(&f), OK);
    fixture_pump(&f);
    ck_assert_int_eq(log_health(f.log), LOG_OK);
    ck_assert(metric_value(M_DEVICE_STATE) == LOG_OK);
    for (int i = 0; i < 100; i++) {
        fixture_append_ok(&f, 20, 1000, 1);
    }
    fixture_flush(&f);
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

/* No done is lost and no record is wrong, whichever write fails. */
START_TEST(any_write_may_fail)
{
    for (unsigned n = 1;; n++) {
        char spec[64];
        struct fixture f;
        fixture_begin(&f, 16);
        snprintf(spec, sizeof(spec), "dev.write=IO@%u", n);
        ck_assert_int_eq(fault_arm(spec), OK);
        for (int i = 0; i < 400; i++) {
            fixture_append_ok(&f, 20, i % 50 == 0 ? 70000 : 3000, 1);
        }
        fixture_flush(&f);
        bool was_hit = fault_passages(FAULT_DEV_WRITE) >= n;
        ck_assert_uint_eq(f.n_done, 400);
        ck_assert_int_eq(fault_arm(NULL), OK);
        for (uint32_t i = 0; i < f.n_shadow; i++) {
            ck_assert_int_eq(f.shadow[i].st, OK);
        }
        fixture_read_all(&f);
        fixture_end(&f);
        if (!was_hit) {
            break;
        }
    }
}
END_TEST

/* ---- reads that fail ---- */

START_TEST(read_errors_degrade)
{
    struct fixture f;
    stop_clock();
    fixture_begin(&f, 12);
    ck_assert_int_eq(append_now(&f), OK);
    fixture_flush(&f);
    ck_assert_int_eq(fault_arm("dev.read=IO@1+"), OK);
    for (int i = 0; i < 7; i++) {
        ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), IO);
        ck_assert_int_eq(log_health(f.log), LOG_OK);
    }
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), IO);
    ck_assert_int_eq(log_health(f.log), LOG_DEGRADED);
    ck_assert_int_eq(append_now(&f), OK);
    for (int i = 0; i < 60; i++) {
        ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), IO);
    }
    ck_assert_int_eq(log_health(f.log), LOG_FAILED);
    ck_assert_int_eq(fault_arm(NULL), OK);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK);
    ck_assert_int_eq(log_health(f.log), LOG_DEGRADED); /* until it has been quiet for a while */
    mono_us += 11000000;
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK);
    ck_assert_int_eq(log_health(f.log), LOG_OK);
    fixture_end(&f);
}
END_TEST

/* Slow errors, one a minute, are no burst. */
START_TEST(rare_read_errors_do_not)
{
    struct fixture f;
    stop_clock();
    fixture_begin(&f, 12);
    ck_assert_int_eq(append_now(&f), OK);
    fixture_flush(&f);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(fault_arm("dev.read=IO@1"), OK);
        ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), IO);
        ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK);
        ck_assert_int_eq(log_health(f.log), LOG_OK);
        mono_us += 60000000;
    }
    fixture_end(&f);
}
END_TEST

START_TEST(damaged_bytes)
{
    struct fixture f;
    struct log_block block = {0};
    fixture_begin(&f, 12);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(append_now(&f), OK);
    }
    fixture_flush(&f);
    double checksum = metric_value(M_DEVICE_ERRORS_CHECKSUM);
    for (int i = 0; i < 20; i++) {
        const struct shadow *s = &f.shadow[i];
        uint64_t at = s->location * INDEX_UNIT_BYTES + (unsigned)i * 37u % s->bytes;
        f.backing[at] = (char)(f.backing[at] ^ 4);
        ck_assert_int_eq(fixture_read(&f, s), CORRUPT);
        f.backing[at] = (char)(f.backing[at] ^ 4);
        ck_assert(metric_value(M_DEVICE_ERRORS_CHECKSUM) == checksum + i + 1);
    }
    fixture_read_all(&f);

    uint32_t total = (uint32_t)f.log->segments[0].blocks[0].pages * LOG_PAGE;
    uint32_t footer = f.log->segments[0].blocks[0].footer_len;
    for (uint32_t at = 0; at < total; at += at < 64 || at > total - footer ? 1 : 97) {
        bool is_header = at < sizeof(struct log_block_header), is_footer = at >= total - footer;
        f.backing[at] = (char)(f.backing[at] ^ 0x40);
        ck_assert_int_eq(log_block_read(f.log, 0, 0, false, LOG_REASON_SCAN, &block),
                         is_header || is_footer ? CORRUPT : OK);
        ck_assert_int_eq(log_block_read(f.log, 0, 0, true, LOG_REASON_SCAN, &block),
                         is_footer ? CORRUPT : OK);
        f.backing[at] = (char)(f.backing[at] ^ 0x40);
    }
    f.log->config.uuid[5] ^= 1; /* another data directory's */
    ck_assert_int_eq(log_block_read(f.log, 0, 0, false, LOG_REASON_SCAN, &block), CORRUPT);
    log_block_free(&block);
    fixture_end(&f);
}
END_TEST

/* A record of one place, put bit by bit to another, is not that one's. */
START_TEST(misdirected_write)
{
    struct fixture f;
    fixture_begin(&f, 12);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(append_now(&f), OK);
    }
    fixture_flush(&f);
    const struct shadow *a = &f.shadow[2], *b = &f.shadow[5];
    memcpy(f.backing + b->location * INDEX_UNIT_BYTES, f.backing + a->location * INDEX_UNIT_BYTES,
           a->bytes);
    ck_assert_int_eq(fixture_read(&f, a), OK);
    ck_assert_int_eq(fixture_read(&f, b), CORRUPT);
    fixture_end(&f);
}
END_TEST

/* ---- catalogue and memory ---- */

START_TEST(catalogue_refuses)
{
    struct fixture f;
    enum status st;
    fixture_begin(&f, 12);
    ck_assert_int_eq(fault_arm("catalog.write=IO@1+"), OK);
    do { /* the segments that were READY are filled */
        st = append_now(&f);
        if (st == AGAIN) {
            bool was_idle = log_writer_blocks_in_flight(f.writer) == 0;
            fixture_pump(&f);
            st = was_idle ? log_maintain(f.log) : OK;
        }
    } while (st == OK);
    ck_assert_int_eq(st, IO);
    ck_assert_int_eq(append_now(&f), IO); /* nobody waits for a catalogue that refuses */
    fixture_read_all(&f);
    ck_assert_int_eq(fault_arm(NULL), OK);
    ck_assert_int_eq(log_maintain(f.log), OK);
    ck_assert_int_eq(append_now(&f), OK);
    fixture_flush(&f);
    fixture_read_all(&f);

    uint32_t segment;
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    ck_assert_int_eq(fault_arm("catalog.write=IO@1"), OK);
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), IO);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK); /* still RECLAIMING */
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), INVALID);
    fixture_end(&f);
}
END_TEST

START_TEST(any_allocation_may_fail)
{
    unsigned n_failed = 0;
    for (unsigned n = 1;; n++) {
        char spec[64];
        struct fixture f;
        fixture_begin(&f, 12);
        snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%u", n);
        ck_assert_int_eq(fault_arm(spec), OK);
        for (int i = 0; i < 120; i++) {
            enum status st;
            do {
                st = fixture_append(&f, 20, i % 40 == 0 ? 100000 : 1000, 1, RECORD_NO_EXPIRY);
                if (st == AGAIN) {
                    fixture_pump(&f);
                    enum status maintained = log_maintain(f.log);
                    ck_assert(maintained == OK || maintained == NO_MEMORY);
                }
            } while (st == AGAIN);
            ck_assert(st == OK || st == NO_MEMORY);
            n_failed += st == NO_MEMORY;
        }
        fixture_flush(&f);
        struct log_block block = {0};
        enum status st = log_block_read(f.log, 0, 0, false, LOG_REASON_SCAN, &block);
        ck_assert(st == OK || st == NO_MEMORY);
        log_block_free(&block);
        bool was_hit = fault_passages(FAULT_ALLOC) >= n;
        ck_assert_int_eq(fault_arm(NULL), OK);
        ck_assert_uint_eq(f.n_done, f.n_shadow);
        fixture_read_all(&f);
        fixture_end(&f);
        if (!was_hit) {
            break;
        }
    }
    ck_assert_uint_gt(n_failed, 5);
}
END_TEST

/* ---- restarts ---- */

static const uint8_t snapshot_id[16] = "snapshot-id-016";

static enum status save(struct fixture *f)
{
    char path[100];
    struct snapshot_writer *w;
    snprintf(path, sizeof(path), "%s/snap", f->dir);
    ck_assert_int_eq(snapshot_create(path, snapshot_id, &w), OK);
    enum status st = log_save(f->log, w);
    if (st != OK) {
        snapshot_abort(&w);
        return st;
    }
    return snapshot_finish(&w);
}

/* Opens warm and loads; the first status that is not OK. */
static enum status load(struct fixture *f)
{
    char path[100];
    struct snapshot_reader *r;
    uint32_t tag;
    const void *data;
    size_t len;
    snprintf(path, sizeof(path), "%s/snap", f->dir);
    enum status st = fixture_open_log(f, false);
    if (st != OK) {
        return st;
    }
    ck_assert_int_eq(snapshot_open(path, snapshot_id, &r), OK);
    while (st == OK && (st = snapshot_next(r, &tag, &data, &len)) == OK) {
        st = log_load(f->log, tag, data, len);
    }
    snapshot_close(&r);
    return st == NOT_FOUND ? OK : st;
}

static void fill_some(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        fixture_append_ok(f, 20, 8000, 0);
    }
    fixture_flush(f);
}

START_TEST(warm_restart)
{
    struct fixture f;
    struct log_stats before, after;
    uint32_t segment;
    fixture_begin(&f, 12);
    fill_some(&f, 900); /* 3.6 segments */
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    for (uint32_t i = 0; i < f.n_shadow; i++) {
        if (segment_of(f.shadow[i].location) == segment) {
            f.shadow[i].st = NOT_FOUND;
        }
    }
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    for (int restart = 0; restart < 3; restart++) {
        log_stats(f.log, &before);
        struct log_position end = log_end(f.log);
        ck_assert_int_eq(save(&f), OK);
        fixture_close_log(&f);
        ck_assert_int_eq(load(&f), OK);
        fixture_start_writer(&f, 4);
        log_stats(f.log, &after);
        ck_assert_uint_eq(after.used_bytes, before.used_bytes);
        ck_assert_uint_eq(after.live_bytes, before.live_bytes);
        ck_assert_uint_ge(log_end(f.log).segment_seq, end.segment_seq);
        fixture_read_all(&f);
        ck_assert_int_eq(append_now(&f), AGAIN); /* nothing READY yet, but it will be */
        fill_some(&f, 50);
        fixture_read_all(&f);
    }
    fixture_end(&f);
}
END_TEST

START_TEST(empty_restart)
{
    struct fixture f;
    fixture_begin(&f, 8);
    ck_assert_int_eq(save(&f), OK);
    fixture_close_log(&f);
    ck_assert_int_eq(load(&f), OK);
    fixture_start_writer(&f, 4);
    fill_some(&f, 10);
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

START_TEST(not_loaded_refuses)
{
    struct fixture f;
    fixture_begin(&f, 8);
    ck_assert_int_eq(log_load(f.log, 1, "", 0), INVALID); /* a cold one is loaded */
    ck_assert_int_eq(save(&f), OK);
    fixture_close_log(&f);
    ck_assert_int_eq(fixture_open_log(&f, false), OK);
    fixture_start_writer(&f, 4);
    ck_assert_int_eq(append_now(&f), CLOSED);
    ck_assert_int_eq(log_maintain(f.log), CLOSED);
    ck_assert_int_eq(log_load(f.log, 1, "", 0), INVALID);
    ck_assert_int_eq(log_load(f.log, 0x47455353, "", 0), CORRUPT); /* before the table */
    fixture_end(&f);
}
END_TEST

START_TEST(save_waits_for_blocks)
{
    struct fixture f;
    fixture_begin(&f, 8);
    ck_assert_int_eq(append_now(&f), OK);
    ck_assert_int_eq(save(&f), AGAIN);
    fixture_flush(&f);
    ck_assert_int_eq(save(&f), OK);
    fixture_end(&f);
}
END_TEST

static bool all_sealed(struct fixture *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (atomic_load(&f->log->segments[i].state) != LOG_SEG_SEALED) {
            return false;
        }
    }
    return true;
}

/* A snapshot of other times or places is not believed. */
START_TEST(foreign_snapshots)
{
    struct fixture f;
    uint32_t segment;
    fixture_begin(&f, 8);
    fill_some(&f, 500);
    ck_assert_int_eq(save(&f), OK);
    fixture_close_log(&f);

    f.config.uuid[0] ^= 1;
    ck_assert_int_eq(load(&f), INVALID);
    fixture_close_log(&f);
    f.config.uuid[0] ^= 1;
    f.config.segment_bytes += LOG_PAGE;
    ck_assert_int_eq(load(&f), INVALID);
    fixture_close_log(&f);
    f.config.segment_bytes -= LOG_PAGE;

    /* Life goes on behind the snapshot's back: one segment is FREE, then sealed under a new generation. */
    for (int is_filled = 0; is_filled < 2; is_filled++) {
        ck_assert_int_eq(load(&f), OK);
        ck_assert_int_eq(log_maintain(f.log), OK);
        ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
        ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
        fixture_start_writer(&f, 4);
        for (uint32_t n = 0; is_filled && !(all_sealed(&f, 3) && n > 1000); n += 50) {
            uint32_t other; /* round and round, until the listed ones are sealed again */
            if (log_wants_reclaim(f.log) || n == 0) {
                ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &other), OK);
                ck_assert_int_eq(log_reclaim_finish(f.log, other), OK);
            }
            fill_some(&f, 50);
            ck_assert_int_ne(log_maintain(f.log), IO);
        }
        fixture_close_log(&f);
        ck_assert_int_eq(load(&f), CORRUPT);
        fixture_close_log(&f);
        if (!is_filled) { /* from the start again */
            ck_assert_int_eq(fixture_open_log(&f, true), OK);
            ck_assert_int_eq(log_maintain(f.log), OK);
            fixture_start_writer(&f, 4);
            fill_some(&f, 500);
            ck_assert_int_eq(save(&f), OK);
            fixture_close_log(&f);
        }
    }
    ck_assert_int_eq(fixture_open_log(&f, true), OK);
    fixture_end(&f);
}
END_TEST

START_TEST(cold_restart_forgets)
{
    struct fixture f;
    struct log_stats stats;
    fixture_begin(&f, 8);
    fill_some(&f, 500);
    uint32_t n_old = f.n_shadow;
    for (int restart = 0; restart < 3; restart++) {
        fixture_close_log(&f);
        if (restart == 2) { /* another geometry: places get other segment numbers */
            f.config.segment_bytes += LOG_PAGE;
            f.device_bytes += 8 * (uint64_t)LOG_PAGE;
            char *larger = aligned_alloc(DEVICE_ALIGN, f.device_bytes);
            memcpy(larger, f.backing, f.device_bytes - 8 * (uint64_t)LOG_PAGE);
            free(f.backing);
            f.backing = larger;
        }
        ck_assert_int_eq(fixture_open_log(&f, true), OK);
        log_stats(f.log, &stats);
        ck_assert_uint_eq(stats.n_free, 8);
        ck_assert_uint_eq(stats.used_bytes, 0);
        for (uint32_t i = 0; i < f.n_shadow; i++) {
            ck_assert_int_eq(fixture_read(&f, &f.shadow[i]), INVALID);
            f.shadow[i].st = NOT_FOUND;
        }
        ck_assert_int_eq(log_maintain(f.log), OK);
        fixture_start_writer(&f, 4);
        fill_some(&f, 5);
        fixture_read_all(&f);
        for (uint32_t i = 0; i < n_old; i++) { /* the old bytes, in what is open again */
            (void)fixture_assert_gone(&f, i, n_old);
        }
    }
    fixture_end(&f);
}
END_TEST

START_TEST(new_catalogue_starts_elsewhere)
{
    struct fixture f;
    fixture_begin(&f, 8);
    fill_some(&f, 20);
    struct shadow old = f.shadow[0];
    fixture_close_log(&f);
    fixture_remove_dir(f.dir);
    f.config.uuid[3] ^= 0x55; /* a new data directory on an old device */
    ck_assert_int_eq(fixture_open_log(&f, true), OK);
    ck_assert_int_eq(log_maintain(f.log), OK);
    fixture_start_writer(&f, 4);
    f.n_shadow = 0;
    fixture_append_ok(&f, 20, 100, 0);
    fixture_flush(&f);
    uint64_t far = old.location + 2 * LOG_PAGE / INDEX_UNIT_BYTES;
    struct record r;
    void *buffer;
    ck_assert_int_eq(log_read_sync(f.log, far, 20, &r, &buffer), CORRUPT);
    fixture_end(&f);
}
END_TEST

START_TEST(open_faults)
{
    struct fixture f;
    fixture_begin(&f, 8);
    fixture_close_log(&f);
    for (unsigned n = 1; n <= 12; n++) {
        char spec[64];
        snprintf(spec, sizeof(spec), "alloc=NO_MEMORY@%u,catalog.write=IO@%u", n + 8, n);
        ck_assert_int_eq(device_open_memory(f.device_bytes, f.backing, 0, &f.dev), OK);
        ck_assert_int_eq(device_queue_create(f.dev, 64, &f.queue), OK);
        ck_assert_int_eq(rocks_open(f.dir, &f.catalog), OK);
        ck_assert_int_eq(fault_arm(spec), OK);
        enum status st = log_open(&f.config, f.dev, f.catalog, true, &f.log);
        ck_assert_int_eq(fault_arm(NULL), OK);
        ck_assert(st == OK || st == IO || st == NO_MEMORY);
        ck_assert(n != 1 || st == IO);
        fixture_close_log(&f);
    }
    ck_assert_int_eq(fixture_open_log(&f, true), OK);
    fixture_end(&f);
}
END_TEST

UNIT_MAIN("log_faults", {failed_block_moves}, {large_block_moves}, {second_failure_is_told},
          {failed_device_is_probed}, {any_write_may_fail}, {read_errors_degrade},
          {rare_read_errors_do_not}, {damaged_bytes}, {misdirected_write}, {catalogue_refuses},
          {any_allocation_may_fail}, {warm_restart}, {empty_restart}, {not_loaded_refuses},
          {save_waits_for_blocks}, {foreign_snapshots}, {cold_restart_forgets},
          {new_catalogue_starts_elsewhere}, {open_faults})
