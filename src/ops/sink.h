/* sink.h: the engine's sink over one or several repository writers: the source is read once and written to all. */
#ifndef HF_OPS_SINK_H
#define HF_OPS_SINK_H

#include "ops/ops.h"
#include "repo/writer.h"

/* Writers and notices are borrowed. Owned; free after the engine's backup returned. */
Sink *ops_sink_new(const Ops *ops, Writer *const *writers, size_t len, Notices *notices);
void ops_sink_free(Sink *take);

#endif
