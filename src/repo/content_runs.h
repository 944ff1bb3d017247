/* content_runs.h: every kind of content as one thing: runs of bytes of the file, each from a place in a frame. */
#ifndef HF_REPO_CONTENT_RUNS_H
#define HF_REPO_CONTENT_RUNS_H

#include "repo/content.h"
#include "repo/pagemap.h"

/* A hole has an all-zero id and may be any length up to FILE_SIZE_MAX. */
typedef struct ContentRun {
  uint64_t file_offset, len;
  uint32_t frame_offset;
  FrameId id; /* FRAME_DATA */
} ContentRun;

typedef Error *ContentRunVisit(void *ctx, const ContentRun *run);
/* Ascending, together exactly [0, size). ERR_CORRUPT when the content does not have that size. */
Error *content_runs(FrameSource *source, const Content *content, uint64_t size, ContentRunVisit *visit,
                    void *ctx) NODISCARD;

/* Every frame the content needs, metadata included; ids may repeat. For verification. */
Error *content_visit(FrameSource *source, const Content *content,
                     Error *(*visit)(void *ctx, FrameType type, const FrameId *id), void *ctx) NODISCARD;

#endif
