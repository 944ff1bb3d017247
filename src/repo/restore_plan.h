/* restore_plan.h: one batch of a restore: which bytes of which frames go where, sorted for reading. */
#ifndef HF_REPO_RESTORE_PLAN_H
#define HF_REPO_RESTORE_PLAN_H

#include "repo/content_runs.h"
#include "repo/index.h"

enum {
  RANGE_MAX = 8 * 1024 * 1024,
  RANGE_GAP_MAX = 1024 * 1024,
  PLAN_FRAMES_MAX = 256 * 1024,
  PLAN_ITEMS_MAX = 1024 * 1024,
};

/* A frame to fetch. */
typedef struct PlanFrame {
  FrameId id;
  FrameLoc loc;
} PlanFrame;

/* A run of a frame that goes to a file. */
typedef struct PlanItem {
  uint32_t frame; /* in frames */
  uint32_t file;  /* the caller's number */
  uint64_t file_offset;
  uint32_t frame_offset, len;
} PlanItem;

/* Items [first, first + len) of the sorted plan lie in one stretch of one pack. */
typedef struct PlanRange {
  uint32_t first, len;
  uint32_t offset, size; /* bytes of the pack */
} PlanRange;

typedef struct Plan {
  PlanFrame *frames;
  size_t frames_len, frames_cap;
  PlanItem *items;
  size_t items_len, items_cap;
  PlanRange *ranges;
  size_t ranges_len, ranges_cap;
} Plan;

void plan_free(Plan *plan);
void plan_clear(Plan *plan);
bool plan_is_full(const Plan *plan);
/* *found false: the frame is in no pack that is present. */
Error *plan_add(Plan *plan, Index *index, uint32_t file, const ContentRun *run, bool *found) NODISCARD;
/* Sorts and forms ranges. */
void plan_order(Plan *plan);

#endif
