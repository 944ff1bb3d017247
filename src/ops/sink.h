/* sink.h: the engine's sink over one or several repository writers: the source is read once and written to all. */
#ifndef HF_OPS_SINK_H
#define HF_OPS_SINK_H

#include "ops/ops.h"
#include "repo/writer.h"

/* Writers and notices are borrowed. Owned; free after the engine's backup returned. A writer that fails is left behind
 * as long as another goes on: see ops_sink_error. */
Sink *ops_sink_new(const Ops *ops, Writer *const *writers, size_t len, Notices *notices);
/* Why this writer was left behind, or NULL. Borrowed. */
const Error *ops_sink_error(const Sink *sink, size_t writer);
void ops_sink_free(Sink *take);

#endif
