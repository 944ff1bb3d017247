/* log.h: one event a line on a descriptor, `key=value` text or JSON. Only ops/, cli/ and server/ log; everything below
 * returns errors. A Log is thread-safe. */
#ifndef HF_BASE_LOG_H
#define HF_BASE_LOG_H

#include "base/base.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;
typedef enum LogFormat { LOG_TEXT, LOG_JSON } LogFormat;
typedef struct Log Log;

/* Writes to `fd` (borrowed) what is at or above `level`. */
Log *log_new(int fd, LogLevel level, LogFormat format);
void log_free(Log *take);
/* `fields` is "key", "value" pairs ended by NULL; values may be any text and are quoted as needed. */
void log_event(Log *log, LogLevel level, const char *event, const char *message, ...) __attribute__((sentinel));
bool log_level_parse(const char *text, LogLevel *out);

#endif
