#include "cli/pick.h"

#include "base/mem.h"
#include "cli/args.h"
#include "cli/sources.h"
#include "ops/select.h"

void picked_free(Picked *picked) {
  snapshot_free(&picked->snapshot);
  *picked = (Picked){0};
}

/* What a repository answered: better answers take the place of earlier ones. False: do not ask further. */
static bool consider(Picked *io, const OpenRepository *from, Snapshot *found, Error *take, Error **first) {
  if (take) {
    bool stop = err_code(take) == ERR_CANCELLED;
    *first = err_first(*first, take);
    return !stop;
  }
  if (io->from && found->time_ns <= io->snapshot.time_ns) {
    snapshot_free(found);
    return true;
  }
  snapshot_free(&io->snapshot);
  *io = (Picked){.from = from, .snapshot = *found};
  return true;
}

Error *pick_snapshot(Workspace *w, const Repositories *repositories, const char *text, Picked *out) {
  AUTO_FREE char *selector = NULL;
  TRY(cli_source_selector(w, text, &selector));
  Picked best = {0};
  Error *first = NULL;
  for (size_t i = 0; i < repositories->len; i++) {
    const OpenRepository *r = &repositories->items[i];
    Snapshot found = {0};
    if (!r->repo) continue;
    Error *err = ops_find_snapshot(&w->ops, r->repo, selector, &found);
    if (!consider(&best, r, &found, err, &first)) break;
  }
  if (!best.from) return first;
  err_free(first);
  *out = best;
  return NULL;
}

Error *pick_two(Workspace *w, const Repositories *repositories, const char *text_a, const char *text_b, Picked *out_a,
                Picked *out_b) {
  AUTO_FREE char *a = NULL;
  AUTO_FREE char *b = NULL;
  TRY(cli_source_selector(w, text_a, &a));
  TRY(cli_source_selector(w, text_b, &b));
  Error *first = NULL;
  for (size_t i = 0; i < repositories->len; i++) {
    const OpenRepository *r = &repositories->items[i];
    Picked pa = {.from = r}, pb = {.from = r};
    if (!r->repo) continue;
    Error *err = ops_find_snapshot(&w->ops, r->repo, a, &pa.snapshot);
    if (!err) err = ops_find_snapshot(&w->ops, r->repo, b, &pb.snapshot);
    if (!err) {
      err_free(first);
      *out_a = pa;
      *out_b = pb;
      return NULL;
    }
    picked_free(&pa);
    first = err_first(first, err);
    if (err_is(first, ERR_CANCELLED)) break;
  }
  return first;
}

/* Up to the next comma that no backslash takes its meaning from. The pattern keeps its backslashes: it knows them. */
static size_t part_len(const char *text) {
  size_t len = 0;
  while (text[len] && text[len] != ',') len += text[len] == '\\' && text[len + 1] ? 2 : 1;
  return len;
}

void pick_only(const Args *args, StrList *out) {
  const StrList *given = args_list(args, OPT_ONLY);
  for (size_t i = 0; i < given->len; i++) {
    for (const char *at = given->items[i]; *at;) {
      size_t len = part_len(at);
      AUTO_FREE char *part = mem_strndup(at, len);
      if (len) strlist_add(out, part);
      at += len + (at[len] == ',');
    }
  }
}
