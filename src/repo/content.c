#include "repo/content.h"

#include "base/mem.h"
#include "repo/nodeio.h"

/* Leaves end where the id of their last piece says so, so that a piece more or less moves one leaf's end only. */
enum { CONTENT_LEAF_MIN = 64, CONTENT_CUT_MASK = 255 };

/* ---- pieces: their lengths, then the ids of those that are not holes ----------------------------------------------
 */

static void pieces_encode(const ContentPiece *pieces, size_t len, Buf *out) {
  for (size_t i = 0; i < len; i++)
    buf_put_var(out, pieces[i].hole_len ? pieces[i].hole_len << 1 | 1 : (uint64_t)pieces[i].len << 1);
  for (size_t i = 0; i < len; i++)
    if (!pieces[i].hole_len) buf_add(out, pieces[i].id.b, sizeof pieces[i].id.b);
}

static void piece_decode_len(Cursor *c, ContentPiece *out) {
  *out = (ContentPiece){0};
  uint64_t head = cursor_var(c);
  uint64_t len = head >> 1;
  bool hole = head & 1;
  if (len == 0 || len > (hole ? FILE_SIZE_MAX : FRAME_RAW_MAX)) c->failed = true;
  if (hole)
    out->hole_len = len;
  else
    out->len = (uint32_t)len;
}

static uint64_t piece_len(const ContentPiece *piece) { return piece->hole_len ? piece->hole_len : piece->len; }

static void pieces_decode(Cursor *c, ContentPiece *out, size_t len) {
  uint64_t total = 0;
  for (size_t i = 0; i < len && !c->failed; i++) {
    piece_decode_len(c, &out[i]);
    bool two_holes = i > 0 && out[i].hole_len && out[i - 1].hole_len;
    total += piece_len(&out[i]); /* both are at most 2^62 */
    if (two_holes || total > FILE_SIZE_MAX) c->failed = true;
  }
  for (size_t i = 0; i < len && !c->failed; i++) {
    if (out[i].hole_len) continue;
    cursor_copy(c, out[i].id.b, sizeof out[i].id.b);
    if (frame_id_is_hole(&out[i].id)) c->failed = true;
  }
}

void content_leaf_encode(const ContentPiece *pieces, size_t len, Buf *out) {
  CHECK(len > 0 && len <= CONTENT_LEAF_MAX);
  buf_put_u8(out, MAP_CONTENT_LEAF);
  buf_put_var(out, len);
  pieces_encode(pieces, len, out);
}

Error *content_leaf_decode(Bytes raw, ContentPiece *out, size_t cap, size_t *out_len) {
  Cursor c = map_cursor(raw, MAP_CONTENT_LEAF);
  size_t len = (size_t)cursor_var_max(&c, CONTENT_LEAF_MAX);
  if (len == 0 || len > cap) c.failed = true;
  if (!c.failed) pieces_decode(&c, out, len);
  TRY(cursor_end(&c, "content leaf"));
  *out_len = len;
  return NULL;
}

/* ---- the descriptor -----------------------------------------------------------------------------------------------
 */

void content_encode(const Content *content, Buf *out) {
  buf_put_u8(out, (uint8_t)content->kind);
  switch (content->kind) {
    case CONTENT_NONE: return;
    case CONTENT_SLICE:
      buf_add(out, content->slice.id.b, sizeof content->slice.id.b);
      buf_put_var(out, content->slice.offset);
      buf_put_var(out, content->slice.len);
      buf_add(out, content->slice.hash, sizeof content->slice.hash);
      return;
    case CONTENT_LIST:
      CHECK(content->list.len > 0 && content->list.len <= CONTENT_LIST_MAX);
      buf_put_var(out, content->list.len);
      pieces_encode(content->list.pieces, content->list.len, out);
      return;
    case CONTENT_SEQ: seq_root_encode(&content->seq, out); return;
    case CONTENT_PAGES: buf_add(out, content->pages.b, sizeof content->pages.b); return;
  }
  CHECK(false && "content kind");
}

static void slice_decode(Cursor *c, Content *out) {
  cursor_copy(c, out->slice.id.b, sizeof out->slice.id.b);
  out->slice.offset = (uint32_t)cursor_var_max(c, FRAME_RAW_MAX);
  out->slice.len = (uint32_t)cursor_var_max(c, FRAME_RAW_MAX);
  cursor_copy(c, out->slice.hash, sizeof out->slice.hash);
  if (out->slice.len == 0 || out->slice.offset + out->slice.len > FRAME_RAW_MAX) c->failed = true;
  if (frame_id_is_hole(&out->slice.id)) c->failed = true;
}

static void list_decode(Cursor *c, Content *out) {
  size_t len = (size_t)cursor_var_max(c, CONTENT_LIST_MAX);
  if (len == 0) c->failed = true;
  if (c->failed) return;
  pieces_decode(c, out->list.pieces, len);
  out->list.len = len;
}

void content_decode(Cursor *c, Content *out) {
  memset(out, 0, sizeof *out);
  uint8_t kind = cursor_u8(c);
  switch (kind) {
    case CONTENT_NONE: break;
    case CONTENT_SLICE: slice_decode(c, out); break;
    case CONTENT_LIST: list_decode(c, out); break;
    case CONTENT_SEQ:
      seq_root_decode(c, &out->seq);
      if (out->seq.count == 0) c->failed = true;
      break;
    case CONTENT_PAGES:
      cursor_copy(c, out->pages.b, sizeof out->pages.b);
      if (frame_id_is_hole(&out->pages)) c->failed = true;
      break;
    default: c->failed = true; break;
  }
  if (c->failed)
    memset(out, 0, sizeof *out);
  else
    out->kind = (ContentKind)kind;
}

/* ---- building -----------------------------------------------------------------------------------------------------
 */

struct ContentBuilder {
  FrameSink *sink;
  SeqBuilder *seq;
  uint64_t start; /* where the pending pieces begin in the file */
  uint64_t end;   /* and end */
  bool leaves;    /* one was written: it is a sequence */
  ContentPiece pieces[CONTENT_LEAF_MAX];
  size_t len;
};

ContentBuilder *content_builder_new(FrameSink *sink) {
  ContentBuilder *b = NEW(ContentBuilder);
  b->sink = sink;
  b->seq = seq_builder_new(sink);
  return b;
}

void content_builder_free(ContentBuilder *take) {
  if (!take) return;
  seq_builder_free(take->seq);
  free(take);
}

static Error *content_flush(ContentBuilder *b) {
  Buf raw AUTO_BUF = {0};
  content_leaf_encode(b->pieces, b->len, &raw);
  FrameId id;
  TRY(node_put(b->sink, FRAME_MAP, buf_bytes(&raw), "a content leaf", &id));
  TRY(seq_builder_add(b->seq, b->start, &id));
  b->leaves = true;
  b->start = b->end;
  b->len = 0;
  return NULL;
}

/* Asked before a piece is added behind the pending ones: a hole at the end may still grow until then. */
static bool content_leaf_full(const ContentBuilder *b) {
  if (b->len == CONTENT_LEAF_MAX) return true;
  const ContentPiece *last = &b->pieces[b->len ? b->len - 1 : 0];
  return b->len >= CONTENT_LEAF_MIN && !last->hole_len && (last->id.b[0] & CONTENT_CUT_MASK) == 0;
}

Error *content_builder_add(ContentBuilder *b, const ContentPiece *piece) {
  if (piece->hole_len == 0 && (piece->len == 0 || piece->len > FRAME_RAW_MAX || frame_id_is_hole(&piece->id)))
    return err_new(ERR_INTERNAL, "building a content map: a piece of %u bytes", piece->len);
  uint64_t end;
  if (ADD_OVERFLOWS(b->end, piece_len(piece), &end) || end > FILE_SIZE_MAX)
    return err_new(ERR_LIMIT, "building a content map: the file is too large");
  ContentPiece *last = b->len ? &b->pieces[b->len - 1] : NULL;
  if (piece->hole_len && last && last->hole_len) {
    last->hole_len += piece->hole_len;
  } else {
    if (content_leaf_full(b)) TRY(content_flush(b));
    b->pieces[b->len++] = piece->hole_len ? (ContentPiece){.hole_len = piece->hole_len}
                                          : (ContentPiece){.len = piece->len, .id = piece->id};
  }
  b->end = end;
  return NULL;
}

Error *content_builder_finish(ContentBuilder *b, Content *out) {
  Content content;
  memset(&content, 0, sizeof content);
  if (!b->leaves && b->len == 0) {
    content.kind = CONTENT_NONE;
  } else if (!b->leaves && b->len <= CONTENT_LIST_MAX) {
    content.kind = CONTENT_LIST;
    memcpy(content.list.pieces, b->pieces, b->len * sizeof b->pieces[0]);
    content.list.len = b->len;
  } else {
    if (b->len) TRY(content_flush(b));
    content.kind = CONTENT_SEQ;
    TRY(seq_builder_finish(b->seq, &content.seq));
  }
  *out = content;
  return NULL;
}
