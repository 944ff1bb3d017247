/* timefmt.h: UTC nanoseconds since 1970 to and from text. Moments inside holdfast are always uint64_t ns UTC. */
#ifndef HF_BASE_TIMEFMT_H
#define HF_BASE_TIMEFMT_H

#include "base/error.h"

#define NS_PER_SECOND UINT64_C(1000000000)

/* "2026-11-20T09:30:00Z" (fraction only when not zero, up to 9 digits). out >= 36 bytes; returned. */
char *time_format_utc(uint64_t ns, char out[36]);
/* "2026-11-20 10:30:00" in the local zone, for people. */
char *time_format_local(uint64_t ns, char out[36]);
/* "20261120T093000.123456789Z": sorts as text, safe in object names. */
char *time_format_key(uint64_t ns, char out[36]);
bool time_parse_key(const char *text, uint64_t *out_ns);
/* RFC 3339 ("2026-11-20T09:30:00+01:00", 'T' or blank), or the same without zone, date alone, or date and HH:MM: local
 * time (DST fold: the earlier). "-15m", "-2h", "-3d" is relative to now_ns. ERR_USAGE otherwise. */
Error *time_parse(const char *text, uint64_t now_ns, uint64_t *out_ns) NODISCARD;
/* The local zone's offset at that moment, minutes east. */
int32_t time_zone_minutes(uint64_t ns);

#endif
