/*
 * Purpose: `hearth-trace simulate`: hit ratios of policies over a trace, as CSV.
 * Threads: none. Errors: exit codes 0, 1 (failed), 2 (usage).
 */
#ifndef HEARTH_TOOLS_SIMULATE_H
#define HEARTH_TOOLS_SIMULATE_H

int simulate_main(int argc, char **argv);

#endif
