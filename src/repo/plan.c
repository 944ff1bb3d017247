#include "repo/plan.h"

#include "base/mem.h"
#include "repo/names.h"

enum { PLAN_PACKS_MAX = 1 << 20 };

void plan_encode(const Uuid *packs, size_t len, Buf *out) {
  buf_put_u32(out, (uint32_t)len);
  buf_add(out, packs, len * sizeof *packs);
}

Error *plan_decode(Bytes in, Plans *io) {
  Cursor c = cursor(in);
  uint32_t count = cursor_u32(&c);
  if (c.failed || count > PLAN_PACKS_MAX || cursor_left(&c) != (size_t)count * sizeof(Uuid))
    return err_new(ERR_CORRUPT, "plan: malformed");
  io->packs = (Uuid *)mem_resize(io->packs, io->len + count, sizeof(Uuid));
  cursor_copy(&c, io->packs + io->len, (size_t)count * sizeof(Uuid));
  for (size_t i = io->len + 1; i < io->len + count; i++)
    if (memcmp(&io->packs[i - 1], &io->packs[i], sizeof(Uuid)) >= 0) return err_new(ERR_CORRUPT, "plan: not in order");
  io->len += count;
  return cursor_end(&c, "plan");
}

static int uuid_order(const void *a, const void *b) { return memcmp(a, b, sizeof(Uuid)); }

Error *plans_load(Repo *repo, Plans *out, Cancel *cancel) {
  AUTO_STRLIST StrList names = {0};
  TRY(repo_list_keys(repo, "plans/", &names, cancel));
  Plans plans = {0};
  Error *err = NULL;
  for (size_t i = 0; i < names.len && !err; i++) {
    AUTO_BUF Buf body = {0};
    if (!name_is_object(names.items[i])) continue;
    err = repo_get_object(repo, OBJECT_PLAN, names.items[i], &body, NULL, cancel);
    if (!err) err = err_wrap(plan_decode(buf_bytes(&body), &plans), "%s", names.items[i]);
  }
  if (err) {
    plans_free(&plans);
    return err;
  }
  if (plans.len) qsort(plans.packs, plans.len, sizeof(Uuid), uuid_order);
  *out = plans;
  return NULL;
}

void plans_free(Plans *plans) {
  free(plans->packs);
  *plans = (Plans){0};
}

bool plans_condemn(const Plans *plans, const Uuid *pack) {
  return plans->len && bsearch(pack, plans->packs, plans->len, sizeof(Uuid), uuid_order);
}
