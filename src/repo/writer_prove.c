/* The last step before a commit: everything the snapshot names, kept content included, must be findable. A parent whose
 * index segment or pack was lost is found out here, not at the restore. */
#include "repo/content_runs.h"
#include "repo/writer_impl.h"

static Error *prove_frame(void *ctx, FrameType type, const FrameId *id) {
  Writer *w = (Writer *)ctx;
  if (frame_id_is_hole(id) || index_find(w->index, type, id, NULL)) return NULL;
  return err_hint(err_new(ERR_CORRUPT, "content taken over from the parent snapshot is missing in the repository"),
                  "back up once with --full: what is missing is stored again");
}

static Error *prove_entry(void *ctx, const TreeEntry *entry) {
  Writer *w = (Writer *)ctx;
  TRY(cancel_check(w->cancel));
  return content_visit(frame_reader_source(w->reader), &entry->content, prove_frame, w);
}

static bool skip_nothing(void *ctx UNUSED, const FrameId *node UNUSED) { return false; }

Error *writer_prove(Writer *w, const TreeRoot *root) {
  static const TreeWalk walk = {.skip = skip_nothing, .entry = prove_entry};
  return err_wrap(tree_walk(frame_reader_source(w->reader), root, &walk, w),
                  "checking the snapshot before it is committed");
}
