#include "repo/content_runs.h"

#include "base/mem.h"

typedef struct RunState {
  ContentRunVisit *visit;
  void *ctx;
  uint64_t at, size;
} RunState;

static Error *emit(RunState *s, uint64_t len, uint32_t frame_offset, const FrameId *id) {
  if (len == 0 || len > s->size - s->at) return err_new(ERR_CORRUPT, "content map: longer than the file");
  ContentRun run = {.file_offset = s->at, .len = len, .frame_offset = frame_offset, .id = *id};
  s->at += len;
  return s->visit(s->ctx, &run);
}

static Error *emit_pieces(RunState *s, const ContentPiece *pieces, size_t len) {
  for (size_t i = 0; i < len; i++) {
    const ContentPiece *p = &pieces[i];
    TRY(p->hole_len ? emit(s, p->hole_len, 0, &(FrameId){0}) : emit(s, p->len, 0, &p->id));
  }
  return NULL;
}

static Error *emit_page_run(void *ctx, const PageRun *run) {
  RunState *s = (RunState *)ctx;
  if (run->file_offset != s->at) return err_new(ERR_CORRUPT, "page map: runs do not follow each other");
  return emit(s, run->len, run->frame_offset, &run->id);
}

static Error *emit_pages(FrameSource *source, const FrameId *root, RunState *s) {
  AUTO_FREE PageMap *map = NEW(PageMap);
  TRY(pagemap_load(source, root, map));
  if (map->size != s->size) return err_new(ERR_CORRUPT, "page map: of another size than the file");
  return pagemap_runs(source, map, emit_page_run, s);
}

/* Calls `leaf` with the pieces of each leaf of a frame list. */
static Error *seq_leaves(FrameSource *source, const SeqRoot *root,
                         Error *(*leaf)(void *ctx, const FrameId *id, const ContentPiece *pieces, size_t len),
                         void *ctx) {
  SeqCursor *cursor = seq_cursor_new(source, root);
  AUTO_FREE ContentPiece *pieces = NEW_ARRAY(ContentPiece, CONTENT_LEAF_MAX);
  AUTO_BUF Buf raw = {0};
  Error *err = NULL;
  for (bool found = true; !err;) {
    uint64_t key;
    FrameId id;
    size_t len;
    err = seq_cursor_next(cursor, &key, &id, &found);
    if (err || !found) break;
    err = source->get(source, FRAME_MAP, &id, &raw);
    if (!err) err = content_leaf_decode(buf_bytes(&raw), pieces, CONTENT_LEAF_MAX, &len);
    if (!err) err = leaf(ctx, &id, pieces, len);
  }
  seq_cursor_free(cursor);
  return err;
}

static Error *emit_leaf(void *ctx, const FrameId *id UNUSED, const ContentPiece *pieces, size_t len) {
  return emit_pieces((RunState *)ctx, pieces, len);
}

Error *content_runs(FrameSource *source, const Content *c, uint64_t size, ContentRunVisit *visit, void *ctx) {
  if (size > FILE_SIZE_MAX) return err_new(ERR_LIMIT, "file of %llu bytes", (unsigned long long)size);
  RunState s = {.visit = visit, .ctx = ctx, .size = size};
  switch (c->kind) {
    case CONTENT_NONE: break;
    case CONTENT_SLICE: TRY(emit(&s, c->slice.len, c->slice.offset, &c->slice.id)); break;
    case CONTENT_LIST: TRY(emit_pieces(&s, c->list.pieces, c->list.len)); break;
    case CONTENT_SEQ: TRY(seq_leaves(source, &c->seq, emit_leaf, &s)); break;
    case CONTENT_PAGES: TRY(emit_pages(source, &c->pages, &s)); break;
  }
  return s.at == size ? NULL : err_new(ERR_CORRUPT, "content map: shorter than the file");
}

/* ---- what it needs
 * ------------------------------------------------------------------------------------------------------- */

typedef struct VisitState {
  Error *(*visit)(void *ctx, FrameType type, const FrameId *id);
  void *ctx;
} VisitState;

static Error *visit_pieces(VisitState *s, const ContentPiece *pieces, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!pieces[i].hole_len) TRY(s->visit(s->ctx, FRAME_DATA, &pieces[i].id));
  return NULL;
}

static Error *visit_leaf(void *ctx, const FrameId *id, const ContentPiece *pieces, size_t len) {
  VisitState *s = (VisitState *)ctx;
  TRY(s->visit(s->ctx, FRAME_MAP, id));
  return visit_pieces(s, pieces, len);
}

static Error *visit_node(void *ctx, const FrameId *id) {
  VisitState *s = (VisitState *)ctx;
  return s->visit(s->ctx, FRAME_MAP, id);
}

static Error *visit_pages(FrameSource *source, const FrameId *root, VisitState *s) {
  AUTO_FREE PageMap *map = NEW(PageMap);
  TRY(s->visit(s->ctx, FRAME_MAP, root));
  TRY(pagemap_load(source, root, map));
  return pagemap_visit(source, map, s->visit, s->ctx);
}

Error *content_visit(FrameSource *source, const Content *c,
                     Error *(*visit)(void *ctx, FrameType type, const FrameId *id), void *ctx) {
  VisitState s = {.visit = visit, .ctx = ctx};
  switch (c->kind) {
    case CONTENT_NONE: return NULL;
    case CONTENT_SLICE: return visit(ctx, FRAME_DATA, &c->slice.id);
    case CONTENT_LIST: return visit_pieces(&s, c->list.pieces, c->list.len);
    case CONTENT_SEQ:
      TRY(seq_visit_nodes(source, &c->seq, visit_node, &s));
      return seq_leaves(source, &c->seq, visit_leaf, &s);
    case CONTENT_PAGES: return visit_pages(source, &c->pages, &s);
  }
  return err_new(ERR_CORRUPT, "content map: unknown kind");
}
