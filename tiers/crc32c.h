/*
 * Purpose: CRC-32C (Castagnoli, RFC 3720 appendix B.4), SSE4.2 when the CPU has it, else a table.
 * Threads: any. Errors: none.
 */
#ifndef HEARTH_TIERS_CRC32C_H
#define HEARTH_TIERS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc of a seed chain: crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same by table, whatever the CPU: what the tests compare with. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
