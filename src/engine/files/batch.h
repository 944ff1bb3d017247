/* batch.h: files found by the walk, handed to reader threads a few at a time.
 *
 * With fewer than two readers everything happens in the calling thread. A Dispatch belongs to the walking thread. */
#ifndef HF_ENGINE_FILES_BATCH_H
#define HF_ENGINE_FILES_BATCH_H

#include "engine/files/read.h"

typedef struct Dispatch Dispatch;

/* `shared` is borrowed. */
Error *dispatch_new(Sys *sys, ReadShared *shared, unsigned readers, Dispatch **out) NODISCARD;
/* Queues the file (or stores it at once). Fails once any reader has. */
Error *dispatch_file(Dispatch *dispatch, const ReadItem *item) NODISCARD;
/* Stores it in this thread, whatever is queued, to know the outcome. */
Error *dispatch_now(Dispatch *dispatch, const ReadItem *item, bool *stored) NODISCARD;
/* The walking thread's own reader, for what needs no queue. */
Reader *dispatch_reader(Dispatch *dispatch);
/* Waits for all readers; the first error of any. */
Error *dispatch_finish(Dispatch *take) NODISCARD;

#endif
