/* The log without faults: what is appended reads back, segments live and die, blocks can be walked. */
#include "tests/unit/tiers/log_fixture.h"

/* ---- writing and reading ---- */

START_TEST(appended_reads_back)
{
    struct fixture f;
    uint64_t random = 1;
    fixture_begin(&f, 12);
    for (int i = 0; i < 3000; i++) {
        uint32_t key_len = fixture_random(&random) % 60, kind = fixture_random(&random) % 16;
        uint32_t value_len = fixture_random(&random) % (kind == 0 ? 60000 : 2000);
        fixture_append_ok(&f, key_len, value_len, i % 3 == 0 ? 0 : 1);
    }
    fixture_flush(&f);
    ck_assert_uint_eq(f.n_done, 3000);
    fixture_read_all(&f);
    double raw = metric_value(M_RAW_BYTES), stored = metric_value(M_STORED_BYTES);
    ck_assert(stored > raw * 0.4 && stored < raw * 0.9);
    struct log_stats stats;
    log_stats(f.log, &stats);
    ck_assert(stats.used_bytes >= stats.live_bytes && stats.live_bytes > 0);
    ck_assert((double)stats.used_bytes == metric_value(M_DEVICE_WRITE_BYTES));
    fixture_end(&f);
}
END_TEST

START_TEST(sizes_at_the_edges)
{
    static const uint32_t keys[] = {0, 1, RECORD_KEY_MAX};
    static const uint32_t values[] = {
        0, 1, 63, 64, 4000, 4096, 31000, 32768, 65536, RECORD_STORED_MAX - 1, RECORD_STORED_MAX,
    };
    struct fixture f;
    fixture_begin(&f, 64);
    for (size_t k = 0; k < 3; k++) {
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            fixture_append_ok(&f, keys[k], values[v], (int)(v + k) % 2);
        }
    }
    fixture_flush(&f);
    fixture_read_all(&f);
    ck_assert_int_eq(fixture_append(&f, 1, RECORD_STORED_MAX + 1, 1, RECORD_NO_EXPIRY), TOO_BIG);
    ck_assert_int_eq(fixture_append(&f, RECORD_KEY_MAX + 1, 1, 1, RECORD_NO_EXPIRY), TOO_BIG);
    fixture_end(&f);
}
END_TEST

START_TEST(sync_reads)
{
    struct fixture f;
    struct record r;
    void *buffer;
    fixture_begin(&f, 12);
    fixture_append_ok(&f, 10, 5000, 1);
    fixture_flush(&f);
    const struct shadow *s = &f.shadow[0];
    ck_assert_int_eq(log_read_sync(f.log, s->location, index_class(s->bytes), &r, &buffer), OK);
    fixture_check_record(&f, s, &r);
    free(buffer);
    /* A class too small for the record: less is read, and less does not verify. */
    ck_assert_int_eq(log_read_sync(f.log, s->location + 8, index_class(64), &r, &buffer), CORRUPT);
    ck_assert_ptr_null(buffer);
    uint64_t outside = f.device_bytes / INDEX_UNIT_BYTES;
    ck_assert_int_eq(log_read_sync(f.log, outside, 0, &r, &buffer), INVALID);
    ck_assert_int_eq(log_read_sync(f.log, UINT64_MAX, 0, &r, &buffer), INVALID);
    /* In a segment that holds nothing. */
    ck_assert_int_eq(log_read_sync(f.log, outside - 1, 0, &r, &buffer), INVALID);
    fixture_end(&f);
}
END_TEST

START_TEST(records_cross_few_pages)
{
    struct fixture f;
    uint64_t random = 3, gap = 0, total = 0;
    uint32_t n_more = 0, n_unmoved = 0;
    fixture_begin(&f, 12);
    for (int i = 0; i < 4000; i++) {
        fixture_append_ok(&f, 20, 200 + fixture_random(&random) % 6000, 0);
    }
    fixture_flush(&f);
    for (uint32_t i = 0; i < f.n_shadow; i++) {
        uint64_t at = f.shadow[i].location * INDEX_UNIT_BYTES;
        uint64_t n_pages = (at + f.shadow[i].bytes - 1) / LOG_PAGE - at / LOG_PAGE + 1;
        uint64_t n_least = (f.shadow[i].bytes + LOG_PAGE - 1) / LOG_PAGE;
        total += f.shadow[i].bytes;
        n_more += n_pages > n_least;
        /* A cheap gap was not taken: only where the block had no room for it, at its end. */
        n_unmoved += n_pages > n_least && LOG_PAGE - at % LOG_PAGE <= f.shadow[i].bytes / 8;
        if (i > 0 && at > f.shadow[i - 1].location * INDEX_UNIT_BYTES) {
            uint64_t end = f.shadow[i - 1].location * INDEX_UNIT_BYTES + f.shadow[i - 1].bytes;
            gap += at - end <= LOG_PAGE ? at - end : 0;
        }
    }
    ck_assert_uint_gt(n_more, 0);
    ck_assert_uint_lt(n_unmoved, total / FIXTURE_BLOCK / 10);
    ck_assert_uint_lt(gap, total / 20);
    fixture_end(&f);
}
END_TEST

static bool is_zero(const char *from, const char *to)
{
    while (from < to && *from == 0) {
        from++;
    }
    return from >= to;
}

/* Buffers are used again; what they held before must not reach the device. */
START_TEST(gaps_are_zeros)
{
    struct fixture f;
    uint64_t random = 9;
    struct log_position pos = {0};
    struct log_block block = {0};
    struct log_footer_entry e;
    uint32_t segment, n_gap_bytes = 0;
    fixture_begin(&f, 12);
    for (int i = 0; i < 3000; i++) {
        fixture_append_ok(&f, 20, fixture_random(&random) % 7000, i % 2);
    }
    fixture_flush(&f);
    while (log_block_find(f.log, &pos, &segment)) {
        ck_assert_int_eq(log_block_read(f.log, segment, pos.block++, false, LOG_REASON_SCAN,
                                        &block),
                         OK);
        const char *end = block.bytes + sizeof(struct log_block_header);
        while (log_block_next(&block, &e)) {
            const char *record = block.bytes + (e.location * INDEX_UNIT_BYTES - block.offset);
            ck_assert(record >= end && is_zero(end, record));
            n_gap_bytes += (uint32_t)(record - end);
            end = record + e.record_bytes;
        }
        ck_assert(is_zero(end, block.footer));
    }
    ck_assert_uint_gt(n_gap_bytes, 1000);
    log_block_free(&block);
    fixture_end(&f);
}
END_TEST

START_TEST(device_bytes_per_user_byte)
{
    struct fixture f;
    fixture_begin(&f, 32);
    for (int i = 0; i < 20000; i++) {
        fixture_append_ok(&f, 20, 1000, 1);
    }
    fixture_flush(&f);
    double ratio = metric_value(M_DEVICE_WRITE_BYTES) / (20000.0 * 1000);
    ck_assert_msg(ratio < 0.80, "ratio %.3f", ratio); /* half compressible */
    fixture_end(&f);
}
END_TEST

START_TEST(entries_carry_expiry_and_kind)
{
    struct fixture f;
    struct log_block block = {0};
    struct log_footer_entry e;
    struct record r;
    fixture_begin(&f, 12);
    ck_assert_int_eq(fixture_append(&f, 5, 100, 1, 1234567890123), OK);
    ck_assert_int_eq(fixture_append(&f, 5, 100, 1, RECORD_NO_EXPIRY), OK);
    fixture_flush(&f);
    ck_assert_int_eq(log_block_read(f.log, 0, 0, false, LOG_REASON_SCAN, &block), OK);
    ck_assert(log_block_next(&block, &e));
    ck_assert_int_eq(e.expire_at_ms, 1234567890123);
    ck_assert_uint_eq(e.seq, 1);
    ck_assert_uint_eq(e.ns, 42);
    ck_assert_uint_eq(e.kind, RECORD_VALUE);
    ck_assert_uint_eq(e.hash, f.shadow[0].seed * UINT64_C(0x9e3779b97f4a7c15));
    ck_assert_int_eq(log_block_record(f.log, &block, &e, &r), OK);
    ck_assert_int_eq(r.expire_at_ms, 1234567890123);
    ck_assert_uint_eq(r.hash, e.hash);
    ck_assert(log_block_next(&block, &e));
    ck_assert_int_eq(e.expire_at_ms, RECORD_NO_EXPIRY);
    ck_assert(!log_block_next(&block, &e));
    ck_assert(!log_block_next(&block, &e));
    log_block_free(&block);
    fixture_end(&f);
}
END_TEST

/* ---- buffers ---- */

START_TEST(buffers_are_bounded)
{
    struct fixture f;
    enum status st;
    fixture_begin(&f, 12);
    while ((st = fixture_append(&f, 20, 1000, 0, RECORD_NO_EXPIRY)) == OK) {
    }
    ck_assert_int_eq(st, AGAIN);
    ck_assert_uint_eq(log_writer_blocks_in_flight(f.writer), 4);
    ck_assert_uint_eq(log_writer_pending(f.writer), f.n_shadow);
    ck_assert_uint_gt(f.n_shadow, 4 * 60);
    ck_assert_uint_le(f.n_shadow, 5 * 64);
    ck_assert_int_eq(log_flush(f.writer), AGAIN);
    ck_assert_int_ne(log_writer_oldest_us(f.writer), 0);
    struct log_stats stats;
    log_stats(f.log, &stats);
    ck_assert_uint_lt(stats.memory_bytes, 5 * FIXTURE_BLOCK + (200 << 10));
    fixture_pump(&f);
    ck_assert_int_eq(fixture_append(&f, 20, 1000, 0, RECORD_NO_EXPIRY), OK);
    fixture_flush(&f);
    ck_assert_uint_eq(log_writer_blocks_in_flight(f.writer), 0);
    ck_assert_int_eq(log_writer_oldest_us(f.writer), 0);
    ck_assert_int_eq(log_flush(f.writer), OK); /* empty: nothing */
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

START_TEST(large_records_count_as_buffers)
{
    struct fixture f;
    fixture_begin(&f, 12);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(fixture_append(&f, 9, 100000, 0, RECORD_NO_EXPIRY), OK);
    }
    ck_assert_int_eq(fixture_append(&f, 9, 100000, 0, RECORD_NO_EXPIRY), AGAIN);
    ck_assert_uint_eq(log_writer_blocks_in_flight(f.writer), 4);
    fixture_pump(&f);
    fixture_read_all(&f);
    struct log_stats stats;
    log_stats(f.log, &stats);
    /* 100,000 and the block's own bytes, to the next page. */
    ck_assert_uint_eq(stats.used_bytes, 4 * 25 * LOG_PAGE);
    ck_assert_uint_lt(stats.memory_bytes, 200 << 10); /* their buffers are gone */
    fixture_end(&f);
}
END_TEST

START_TEST(destroy_tells_what_was_not_written)
{
    struct fixture f;
    fixture_begin(&f, 12);
    fixture_append_ok(&f, 9, 1000, 0);
    ck_assert_int_eq(log_flush(f.writer), OK);
    fixture_append_ok(&f, 9, 1000, 0);
    log_writer_destroy(&f.writer);
    ck_assert_int_eq(f.shadow[0].st, OK);
    ck_assert_int_eq(f.shadow[1].st, CLOSED);
    fixture_start_writer(&f, 1);
    fixture_end(&f);
}
END_TEST

START_TEST(blocking_writer)
{
    struct fixture f;
    fixture_begin(&f, 12);
    log_writer_destroy(&f.writer);
    ck_assert_int_eq(log_writer_create(f.log, NULL, f.codec, 1, true, fixture_done, &f, &f.writer),
                     OK);
    for (int i = 0; i < 500; i++) {
        ck_assert_int_eq(fixture_append(&f, 20, 1000, 1, RECORD_NO_EXPIRY), OK);
    }
    ck_assert_int_eq(fixture_append(&f, 20, 200000, 1, RECORD_NO_EXPIRY), OK);
    ck_assert_int_eq(log_flush(f.writer), OK);
    ck_assert_uint_eq(f.n_done, 501);
    ck_assert(metric_value(M_DEVICE_WRITE_BYTES_REINSERT) > 0);
    ck_assert(metric_value(M_DEVICE_WRITE_BYTES) == 0);
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

/* What was read once goes on as it was stored. */
START_TEST(stored_records_move)
{
    struct fixture f;
    struct record r;
    void *buffer;
    uint64_t location;
    uint32_t bytes;
    fixture_begin(&f, 12);
    fixture_append_ok(&f, 30, 3000, 1);
    fixture_flush(&f);
    struct shadow *s = &f.shadow[0];
    ck_assert_int_eq(log_read_sync(f.log, s->location, index_class(s->bytes), &r, &buffer), OK);
    struct log_put put = {
        .hash = 1,
        .seq = r.seq,
        .ns = r.ns,
        .expire_at_ms = r.expire_at_ms,
        .key = r.key,
        .key_len = r.key_len,
        .value = r.stored,
        .value_len = r.stored_len,
        .raw_len = r.raw_len,
        .codec = r.codec,
        .kind = r.kind,
        .is_stored = true,
    };
    double raw = metric_value(M_RAW_BYTES);
    uint64_t old = s->location;
    s->st = AGAIN;
    ck_assert_int_eq(log_append(f.writer, &put, (void *)0, &location, &bytes), OK);
    ck_assert_uint_eq(bytes, s->bytes);
    fixture_flush(&f);
    ck_assert_uint_eq(s->location, location);
    ck_assert_uint_ne(location, old);
    ck_assert(metric_value(M_RAW_BYTES) == raw);
    fixture_read_all(&f);
    free(buffer);
    fixture_end(&f);
}
END_TEST

/* ---- segments ---- */

static void fill_segments(struct fixture *f, uint32_t n_sealed)
{
    struct log_stats stats;
    do {
        fixture_append_ok(f, 20, 8000, 0);
        log_stats(f->log, &stats);
    } while (stats.n_sealed < n_sealed);
    fixture_flush(f);
}

START_TEST(segments_live_and_die)
{
    struct fixture f;
    struct log_stats stats;
    uint32_t segment;
    fixture_begin(&f, 12);
    log_stats(f.log, &stats);
    ck_assert_uint_eq(stats.n_segments, 12);
    ck_assert_uint_eq(stats.segment_bytes, FIXTURE_SEGMENT);
    ck_assert_uint_eq(stats.n_free, 12);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), NOT_FOUND);
    fill_segments(&f, 3);
    ck_assert_uint_gt(atomic_load(&f.n_wakes), 0);

    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    ck_assert_uint_eq(segment, f.shadow[0].location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), OK); /* still readable */
    log_reclaim_abort(f.log, segment);
    uint32_t again;
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &again), OK);
    ck_assert_uint_eq(again, segment);
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    ck_assert_int_eq(fixture_read(&f, &f.shadow[0]), INVALID);
    ck_assert(metric_value(M_SEGMENTS_RECLAIMED) == 1);
    ck_assert_uint_eq(log_segment_live_bytes(f.log, segment), 0);
    ck_assert_uint_eq(log_segment_blocks(f.log, segment), 0);
    fixture_end(&f);
}
END_TEST

START_TEST(victims)
{
    struct fixture f;
    uint32_t oldest, least, empty;
    fixture_begin(&f, 12);
    fill_segments(&f, 4);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &oldest), OK);
    log_reclaim_abort(f.log, oldest);
    uint32_t other = LOG_NONE;
    for (uint32_t i = 0; i < f.n_shadow; i++) { /* a newer one loses half, then all */
        uint32_t segment = (uint32_t)(f.shadow[i].location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT);
        if (segment != oldest && (other == LOG_NONE || segment == other)) {
            other = segment;
            if (i % 2 == 0) {
                log_note_dead(f.log, f.shadow[i].location, f.shadow[i].bytes);
            }
        }
    }
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_LEAST_LIVE, &least), OK);
    ck_assert_uint_eq(least, other);
    log_reclaim_abort(f.log, least);
    uint64_t live = log_segment_live_bytes(f.log, other);
    for (uint32_t i = 0; i < f.n_shadow; i++) {
        uint64_t segment = f.shadow[i].location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT;
        if (segment == other) {
            log_note_dead(f.log, f.shadow[i].location, (uint32_t)live);
            break;
        }
    }
    ck_assert_uint_eq(log_segment_live_bytes(f.log, other), 0);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &empty), OK);
    ck_assert_uint_eq(empty, other); /* one without live bytes comes first */
    log_reclaim_abort(f.log, empty);
    fixture_end(&f);
}
END_TEST

/* Fills until the writer must wait for reclaim. */
static void fill_device(struct fixture *f)
{
    enum status st;
    for (;;) {
        st = fixture_append(f, 20, 8000, 0, RECORD_NO_EXPIRY);
        if (st == AGAIN) {
            uint32_t n_before = log_writer_blocks_in_flight(f->writer);
            fixture_pump(f);
            st = log_maintain(f->log);
            if (n_before == 0 && st == NO_SPACE) {
                return;
            }
        } else {
            ck_assert_int_eq(st, OK);
        }
    }
}

START_TEST(last_segment_is_for_reinsertion)
{
    struct fixture f;
    struct log_writer *w;
    struct log_stats stats;
    uint32_t segment;
    fixture_begin(&f, 8);
    ck_assert(!log_wants_reclaim(f.log));
    fill_device(&f);
    ck_assert(log_wants_reclaim(f.log));
    log_stats(f.log, &stats);
    ck_assert_uint_eq(stats.n_free, 1);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    /* Another writer moves a whole segment's records while the first still may not. */
    ck_assert_int_eq(log_writer_create(f.log, NULL, f.codec, 1, true, fixture_done, &f, &w), OK);
    struct log_writer *first = f.writer;
    f.writer = w;
    for (uint32_t i = 0; i < 200; i++) {
        ck_assert_int_eq(fixture_append(&f, 20, 8000, 0, RECORD_NO_EXPIRY), OK);
    }
    ck_assert_int_eq(log_flush(w), OK);
    f.writer = first;
    ck_assert_int_eq(fixture_append(&f, 20, 8000, 0, RECORD_NO_EXPIRY), AGAIN);
    /* One segment back is that reserve again; the second is the writer's. */
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    ck_assert_int_eq(log_maintain(f.log), OK);
    ck_assert_int_eq(fixture_append(&f, 20, 8000, 0, RECORD_NO_EXPIRY), OK);
    fixture_flush(&f);
    log_writer_destroy(&w);
    fixture_end(&f);
}
END_TEST

START_TEST(reclaimed_while_read)
{
    struct fixture f;
    struct fixture_read r;
    struct record record;
    uint32_t segment;
    fixture_begin(&f, 8);
    fill_segments(&f, 3);
    struct shadow first = f.shadow[0];
    ck_assert_int_eq(fixture_read_begin(&f, &r, first.location, first.bytes), OK);
    ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
    ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    fixture_pump(&f);
    ck_assert_int_eq(r.st, OK);
    /* The bytes are still there, and would verify; the generation is gone. */
    ck_assert_int_eq(log_read_record(&r.read, &record), CORRUPT);
    log_read_finish(&r.read);
    ck_assert(metric_value(M_DEVICE_ERRORS_CHECKSUM) == 0);
    fixture_end(&f);
}
END_TEST

START_TEST(old_locations_never_verify_again)
{
    struct fixture f;
    uint32_t segment, n_overwritten = 0;
    fixture_begin(&f, 8);
    fill_segments(&f, 5);
    uint32_t n_old = f.n_shadow;
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(log_reclaim_begin(f.log, LOG_VICTIM_OLDEST, &segment), OK);
        for (uint32_t k = 0; k < n_old; k++) {
            struct shadow *s = &f.shadow[k];
            if (s->location * INDEX_UNIT_BYTES / FIXTURE_SEGMENT == segment) {
                s->st = NOT_FOUND;
            }
        }
        ck_assert_int_eq(log_reclaim_finish(f.log, segment), OK);
    }
    for (int i = 0; i < 1200;
         i++) { /* over three of them, with the same sizes at the same places */
        fixture_append_ok(&f, 20, 8000, 0);
    }
    fixture_flush(&f);
    for (uint32_t i = 0; i < n_old; i++) {
        if (f.shadow[i].st == NOT_FOUND) {
            n_overwritten += fixture_assert_gone(&f, i, n_old);
        }
    }
    ck_assert_uint_gt(n_overwritten, 100);
    fixture_read_all(&f);
    fixture_end(&f);
}
END_TEST

/* Two writers that flush after each record: the room behind small blocks is used again. */
START_TEST(trickles_share_a_segment)
{
    struct fixture f;
    struct log_stats stats;
    fixture_begin(&f, 12);
    struct log_writer *first = f.writer, *second;
    ck_assert_int_eq(log_writer_create(f.log, f.queue, f.codec, 4, false, fixture_done, &f,
                                       &second),
                     OK);
    for (int i = 0; i < 200; i++) {
        f.writer = first;
        fixture_append_ok(&f, 20, 1000, 1);
        f.writer = second;
        fixture_append_ok(&f, 20, 1000, 1);
        f.writer = first;
        fixture_flush(&f);
        f.writer = second;
        fixture_flush(&f);
    }
    f.writer = first;
    log_stats(f.log, &stats);
    ck_assert_uint_eq(stats.used_bytes, 400 * LOG_PAGE); /* 1.6 of 2 MiB */
    ck_assert_uint_eq(stats.n_free, 11);
    fixture_read_all(&f);
    log_writer_destroy(&second);
    fixture_end(&f);
}
END_TEST

/* ---- walking ---- */

static void assert_walk(struct fixture *f, bool footer_only)
{
    struct log_position pos = {0}, end = log_end(f->log);
    struct log_block block = {0};
    struct log_footer_entry e;
    struct record r;
    uint32_t segment, n = 0;
    uint64_t last_seq = 0;
    while (log_block_find(f->log, &pos, &segment)) {
        ck_assert(pos.segment_seq < end.segment_seq ||
                  (pos.segment_seq == end.segment_seq && pos.block < end.block));
        ck_assert_uint_ge(pos.segment_seq, last_seq);
        last_seq = pos.segment_seq;
        ck_assert_int_eq(log_block_read(f->log, segment, pos.block, footer_only, LOG_REASON_SCAN,
                                        &block),
                         OK);
        ck_assert_ptr_eq(footer_only ? NULL : block.buffer, block.bytes);
        while (log_block_next(&block, &e)) {
            const struct shadow *s = &f->shadow[e.seq - 1];
            char *value, *key = fixture_bytes(s, &value);
            ck_assert_uint_eq(e.location, s->location);
            ck_assert_uint_eq(e.record_bytes, s->bytes);
            ck_assert_uint_eq(e.key_len, s->key_len);
            ck_assert_int_eq(memcmp(e.key, key, e.key_len), 0);
            free(key);
            if (!footer_only) {
                ck_assert_int_eq(log_block_record(f->log, &block, &e, &r), OK);
                fixture_check_record(f, s, &r);
            }
            n++;
        }
        pos.block++;
    }
    log_block_free(&block);
    ck_assert_uint_eq(n, f->n_shadow);
}

START_TEST(walking)
{
    struct fixture f;
    uint64_t random = 5;
    fixture_begin(&f, 12);
    struct log_position pos = {0};
    uint32_t segment;
    ck_assert(!log_block_find(f.log, &pos, &segment));
    ck_assert_uint_eq(log_end(f.log).segment_seq, 1);
    for (int i = 0; i < 1500; i++) {
        uint32_t value_len = fixture_random(&random) % (i % 100 == 0 ? 150000 : 3000);
        fixture_append_ok(&f, 1 + i % 40, value_len, 1);
    }
    fixture_flush(&f);
    assert_walk(&f, true);
    assert_walk(&f, false);
    ck_assert(metric_value(M_DEVICE_READ_BYTES_SCAN) > 0);
    fixture_end(&f);
}
END_TEST

START_TEST(end_is_before_what_has_not_landed)
{
    struct fixture f;
    uint32_t segment;
    fixture_begin(&f, 12);
    fixture_append_ok(&f, 9, 1000, 0);
    fixture_flush(&f);
    struct log_position end = log_end(f.log);
    ck_assert_uint_eq(end.segment_seq, 1);
    ck_assert_uint_eq(end.block, 1);
    fixture_append_ok(&f, 9, 1000, 0);
    ck_assert_int_eq(log_flush(f.writer), OK);
    ck_assert_uint_eq(log_end(f.log).block, 1);
    struct log_position pos = end;
    ck_assert(!log_block_find(f.log, &pos, &segment));
    fixture_pump(&f);
    ck_assert(log_block_find(f.log, &pos, &segment));
    ck_assert_uint_eq(pos.block, 1);
    fixture_end(&f);
}
END_TEST

struct footer_read {
    struct log_footer_read read;
    enum status st;
};

static void note_footer(struct log_footer_read *read, enum status st)
{
    ((struct footer_read *)(void *)read)->st = st;
}

START_TEST(footers_asynchronously)
{
    struct fixture f;
    struct log_footer_entry e;
    struct footer_read r = {.read = {.done = note_footer}, .st = AGAIN};
    uint32_t n = 0;
    fixture_begin(&f, 12);
    ck_assert_int_eq(log_footer_read_begin(f.log, f.queue, &r.read), NOT_FOUND);
    log_footer_read_finish(&r.read); /* harmless */
    for (int i = 0; i < 50; i++) {
        fixture_append_ok(&f, 20, 1000, 0);
    }
    fixture_flush(&f);
    ck_assert_int_eq(log_footer_read_begin(f.log, f.queue, &r.read), OK);
    fixture_pump(&f);
    ck_assert_int_eq(r.st, OK);
    while (log_block_next(&r.read.result, &e)) {
        ck_assert_uint_eq(e.location, f.shadow[n].location);
        n++;
    }
    ck_assert_uint_eq(n, 50);
    log_footer_read_finish(&r.read);
    r.read.segment = 99;
    ck_assert_int_eq(log_footer_read_begin(f.log, f.queue, &r.read), INVALID);
    fixture_end(&f);
}
END_TEST

/* ---- geometry ---- */

static enum status try_geometry(uint64_t device_bytes, uint64_t segment_bytes, uint32_t block_bytes,
                                struct log_stats *stats_out)
{
    struct fixture f;
    fixture_begin(&f, 8);
    fixture_close_log(&f);
    f.device_bytes = device_bytes;
    free(f.backing);
    f.backing = NULL;
    f.config.segment_bytes = segment_bytes;
    f.config.block_bytes = block_bytes;
    enum status st = fixture_open_log(&f, true);
    if (st == OK) {
        log_stats(f.log, stats_out);
    }
    fixture_end(&f);
    return st;
}

START_TEST(geometry)
{
    struct log_stats stats;
    ck_assert_int_eq(try_geometry(16 * MIB, 0, 64 << 10, &stats), OK);
    ck_assert_uint_eq(stats.segment_bytes, 2 * MIB);
    ck_assert_int_eq(try_geometry(15 * MIB, 0, 64 << 10, &stats), INVALID);
    ck_assert_int_eq(try_geometry(64 * MIB, 0, 64 << 10, &stats), OK);
    ck_assert_uint_eq(stats.n_segments, 16);
    ck_assert_int_eq(try_geometry(512 * MIB, 0, 1 << 20, &stats), OK);
    ck_assert_uint_eq(stats.segment_bytes, 8 * MIB);
    ck_assert_int_eq(try_geometry(64 * MIB, 1 * MIB, 64 << 10, &stats), INVALID);
    ck_assert_int_eq(try_geometry(64 * MIB, 16 * MIB, 64 << 10, &stats), INVALID);
    ck_assert_int_eq(try_geometry(64 * MIB, 3 * MIB + 5, 64 << 10, &stats), OK);
    ck_assert_uint_eq(stats.segment_bytes, 3 * MIB);
    ck_assert_int_eq(try_geometry(64 * MIB, 0, 32 << 10, &stats), INVALID);
    ck_assert_int_eq(try_geometry(64 * MIB, 0, 2 << 20, &stats), INVALID);
    ck_assert_int_eq(try_geometry(64 * MIB, 0, (64 << 10) + 512, &stats), INVALID);
}
END_TEST

UNIT_MAIN("log", {appended_reads_back}, {sizes_at_the_edges}, {sync_reads},
          {records_cross_few_pages}, {gaps_are_zeros}, {device_bytes_per_user_byte},
          {entries_carry_expiry_and_kind}, {buffers_are_bounded}, {large_records_count_as_buffers},
          {destroy_tells_what_was_not_written}, {blocking_writer}, {stored_records_move},
          {segments_live_and_die}, {victims}, {last_segment_is_for_reinsertion},
          {reclaimed_while_read}, {old_locations_never_verify_again}, {trickles_share_a_segment},
          {walking}, {end_is_before_what_has_not_landed}, {footers_asynchronously}, {geometry})
