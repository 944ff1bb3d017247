#include "repo/restore_plan.h"

#include "base/mem.h"

void plan_free(Plan *plan) {
  free(plan->frames);
  free(plan->items);
  free(plan->ranges);
  *plan = (Plan){0};
}

void plan_clear(Plan *plan) { plan->frames_len = plan->items_len = plan->ranges_len = 0; }

bool plan_is_full(const Plan *plan) { return plan->frames_len >= PLAN_FRAMES_MAX || plan->items_len >= PLAN_ITEMS_MAX; }

static uint32_t add_frame(Plan *plan, const FrameId *id, const FrameLoc *loc) {
  if (plan->frames_len == plan->frames_cap) {
    plan->frames_cap = plan->frames_cap ? plan->frames_cap * 2 : 1024;
    plan->frames = (PlanFrame *)mem_resize(plan->frames, plan->frames_cap, sizeof *plan->frames);
  }
  plan->frames[plan->frames_len] = (PlanFrame){.id = *id, .loc = *loc};
  return (uint32_t)plan->frames_len++;
}

Error *plan_add(Plan *plan, Index *index, uint32_t file, const ContentRun *run, bool *found) {
  uint32_t frame;
  bool same = plan->frames_len && frame_id_equal(&plan->frames[plan->frames_len - 1].id, &run->id);
  *found = true;
  if (same) {
    frame = (uint32_t)plan->frames_len - 1;
  } else {
    FrameLoc loc;
    *found = index_find(index, FRAME_DATA, &run->id, &loc);
    if (!*found) return NULL;
    frame = add_frame(plan, &run->id, &loc);
  }
  if (run->len > FRAME_RAW_MAX || run->frame_offset + run->len > plan->frames[frame].loc.raw)
    return err_new(ERR_CORRUPT, "content map: names bytes beyond the end of a frame");
  if (plan->items_len == plan->items_cap) {
    plan->items_cap = plan->items_cap ? plan->items_cap * 2 : 4096;
    plan->items = (PlanItem *)mem_resize(plan->items, plan->items_cap, sizeof *plan->items);
  }
  plan->items[plan->items_len++] = (PlanItem){.frame = frame,
                                              .file = file,
                                              .file_offset = run->file_offset,
                                              .frame_offset = run->frame_offset,
                                              .len = (uint32_t)run->len};
  return NULL;
}

static int loc_order(const FrameLoc *a, const FrameLoc *b) {
  int c = memcmp(a->pack.b, b->pack.b, sizeof a->pack.b);
  return c ? c : (a->offset > b->offset) - (a->offset < b->offset);
}

static int item_order(const void *a, const void *b, void *ctx) {
  const Plan *plan = (const Plan *)ctx;
  const PlanItem *x = (const PlanItem *)a, *y = (const PlanItem *)b;
  int c = x->frame == y->frame ? 0 : loc_order(&plan->frames[x->frame].loc, &plan->frames[y->frame].loc);
  if (c) return c;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return (x->file_offset > y->file_offset) - (x->file_offset < y->file_offset);
}

static PlanRange *add_range(Plan *plan) {
  if (plan->ranges_len == plan->ranges_cap) {
    plan->ranges_cap = plan->ranges_cap ? plan->ranges_cap * 2 : 256;
    plan->ranges = (PlanRange *)mem_resize(plan->ranges, plan->ranges_cap, sizeof *plan->ranges);
  }
  return &plan->ranges[plan->ranges_len++];
}

void plan_order(Plan *plan) {
  if (plan->items_len) qsort_r(plan->items, plan->items_len, sizeof *plan->items, item_order, plan);
  PlanRange *range = NULL;
  const FrameLoc *last = NULL;
  for (size_t i = 0; i < plan->items_len; i++) {
    const FrameLoc *loc = &plan->frames[plan->items[i].frame].loc;
    uint64_t end = (uint64_t)loc->offset + loc->stored;
    bool joins = range && uuid_equal(&last->pack, &loc->pack) &&
                 loc->offset <= (uint64_t)range->offset + range->size + RANGE_GAP_MAX &&
                 end - range->offset <= RANGE_MAX;
    if (!joins) {
      range = add_range(plan);
      *range = (PlanRange){.first = (uint32_t)i, .offset = loc->offset, .size = loc->stored};
    } else if (end > (uint64_t)range->offset + range->size) {
      range->size = (uint32_t)(end - range->offset);
    }
    range->len++;
    last = loc;
  }
}
