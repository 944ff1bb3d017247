/* calendar.h: when something is due, as people write it:
 *
 *   hourly | daily [HH:MM] | weekly [DAY [HH:MM]] | monthly [1-31 [HH:MM]] | every DURATION
 *   cron MINUTE HOUR DAY MONTH WEEKDAY        (fields of *, a, a-b, a,b and /step; names of months and days)
 */
#ifndef HF_OPS_CALENDAR_H
#define HF_OPS_CALENDAR_H

#include "base/error.h"

/* NULL when the text is one of the above; ERR_USAGE says what is wrong. */
Error *calendar_check(const char *text) NODISCARD;

/* The longest time between two of its moments (clock changes left aside), for deciding that one was missed. 0 for a
 * text that calendar_check does not accept, or a cron line that never comes. */
uint64_t calendar_longest_gap_ns(const char *text);

#endif
