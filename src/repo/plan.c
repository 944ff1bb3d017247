#include "repo/plan.h"

#include "repo/names.h"

enum { PLAN_PACKS_MAX = 1 << 20 };

void plan_encode(const Uuid *packs, size_t len, Buf *out) {
  buf_put_u32(out, (uint32_t)len);
  buf_add(out, packs, len * sizeof *packs);
}

Error *plan_decode(Bytes in, UuidSet *io) {
  Cursor c = cursor(in);
  uint32_t count = cursor_u32(&c);
  if (c.failed || count > PLAN_PACKS_MAX || cursor_left(&c) != (size_t)count * sizeof(Uuid))
    return err_new(ERR_CORRUPT, "plan: malformed");
  Uuid last = {0};
  for (uint32_t i = 0; i < count; i++) {
    Uuid pack;
    cursor_copy(&c, &pack, sizeof pack);
    if (i && memcmp(&last, &pack, sizeof pack) >= 0) return err_new(ERR_CORRUPT, "plan: not in order");
    uuid_set_add(io, &pack);
    last = pack;
  }
  return cursor_end(&c, "plan");
}

Error *plans_load(Repo *repo, UuidSet *out, Cancel *cancel) {
  AUTO_STRLIST StrList names = {0};
  TRY(repo_list_keys(repo, "plans/", &names, cancel));
  UuidSet condemned = {0};
  Error *err = NULL;
  for (size_t i = 0; i < names.len && !err; i++) {
    AUTO_BUF Buf body = {0};
    if (!name_is_object(names.items[i])) continue;
    err = repo_get_object(repo, OBJECT_PLAN, names.items[i], &body, NULL, cancel);
    if (!err) err = err_wrap(plan_decode(buf_bytes(&body), &condemned), "%s", names.items[i]);
  }
  if (err) {
    uuid_set_free(&condemned);
    return err_hint(err,
                    "which packs are about to be removed is unknown without it, so nothing may be written: copy it "
                    "back from a copy of the repository; restores go on without it");
  }
  uuid_set_sort(&condemned);
  *out = condemned;
  return NULL;
}
