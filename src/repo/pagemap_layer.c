#include "repo/pagemap_layer.h"

#include "base/mem.h"
#include "repo/nodeio.h"

/* A leaf of frames or their prints ends at a multiple of its size, so that leaves of equal frames are equal whatever
 * stands before them; but not when it would stay nearly empty. */
enum { ALIGNED_LEAF_MIN_PART = 8 };

struct LayerWriter {
  FrameSink *sink;
  PageLayer layer; /* the counts so far */
  SeqBuilder *frames_seq, *frame_prints_seq, *pages_seq, *page_prints_seq, *deltas_seq;
  Buf raw;
  size_t frames_len, frame_prints_len, pages_len, deltas_len; /* items in the leaves not written yet */
  MapFrame frames[FRAMES_LEAF_MAX];
  MapFramePrints frame_prints[FRAME_PRINTS_LEAF_MAX];
  MapPage pages[PAGES_LEAF_MAX];
  uint64_t page_prints[PAGES_LEAF_MAX];
  MapDelta deltas[DELTAS_LEAF_MAX];
};

LayerWriter *layer_writer_new(FrameSink *sink) {
  LayerWriter *w = NEW(LayerWriter);
  w->sink = sink;
  w->frames_seq = seq_builder_new(sink);
  w->frame_prints_seq = seq_builder_new(sink);
  w->pages_seq = seq_builder_new(sink);
  w->page_prints_seq = seq_builder_new(sink);
  w->deltas_seq = seq_builder_new(sink);
  return w;
}

void layer_writer_free(LayerWriter *take) {
  if (!take) return;
  seq_builder_free(take->frames_seq);
  seq_builder_free(take->frame_prints_seq);
  seq_builder_free(take->pages_seq);
  seq_builder_free(take->page_prints_seq);
  seq_builder_free(take->deltas_seq);
  buf_free(&take->raw);
  free(take);
}

/* Stores the leaf in raw and adds it to its sequence. */
static Error *put_leaf(LayerWriter *w, SeqBuilder *seq, uint64_t key) {
  FrameId id;
  TRY(node_put(w->sink, FRAME_MAP, buf_bytes(&w->raw), "a leaf of a page map", &id));
  buf_clear(&w->raw);
  return seq_builder_add(seq, key, &id);
}

static Error *flush_frames(LayerWriter *w) {
  if (w->frames_len == 0) return NULL;
  frames_leaf_encode(w->frames, w->frames_len, &w->raw);
  w->frames_len = 0;
  return put_leaf(w, w->frames_seq, w->frames[0].frame);
}

static Error *flush_frame_prints(LayerWriter *w) {
  if (w->frame_prints_len == 0) return NULL;
  frame_prints_leaf_encode(w->frame_prints, w->frame_prints_len, &w->raw);
  w->frame_prints_len = 0;
  return put_leaf(w, w->frame_prints_seq, w->frame_prints[0].frame);
}

static Error *flush_pages(LayerWriter *w) {
  if (w->pages_len == 0) return NULL;
  pages_leaf_encode(w->pages, w->pages_len, &w->raw);
  TRY(put_leaf(w, w->pages_seq, w->pages[0].page));
  page_prints_leaf_encode(w->pages[0].page, w->page_prints, w->pages_len, &w->raw);
  w->pages_len = 0;
  return put_leaf(w, w->page_prints_seq, w->pages[0].page);
}

static Error *flush_deltas(LayerWriter *w) {
  if (w->deltas_len == 0) return NULL;
  uint64_t first = w->layer.deltas_len - w->deltas_len;
  deltas_leaf_encode(first, w->deltas, w->deltas_len, &w->raw);
  w->deltas_len = 0;
  return put_leaf(w, w->deltas_seq, first);
}

static bool leaf_ends(uint64_t last, uint64_t next, size_t len, size_t max) {
  return len == max || (len >= max / ALIGNED_LEAF_MIN_PART && last / max != next / max);
}

Error *layer_writer_frame(LayerWriter *w, const MapFrame *f, const MapFramePrints *prints) {
  if (w->frames_len && leaf_ends(w->frames[w->frames_len - 1].frame, f->frame, w->frames_len, FRAMES_LEAF_MAX))
    TRY(flush_frames(w));
  if (w->frame_prints_len &&
      leaf_ends(w->frame_prints[w->frame_prints_len - 1].frame, f->frame, w->frame_prints_len, FRAME_PRINTS_LEAF_MAX))
    TRY(flush_frame_prints(w));
  w->frames[w->frames_len++] = *f;
  w->frame_prints[w->frame_prints_len++] = *prints;
  w->layer.frames_len++;
  return NULL;
}

Error *layer_writer_page(LayerWriter *w, const MapPage *page, uint64_t print) {
  if (w->pages_len == PAGES_LEAF_MAX) TRY(flush_pages(w));
  w->page_prints[w->pages_len] = print;
  w->pages[w->pages_len++] = *page;
  w->layer.pages_len++;
  return NULL;
}

Error *layer_writer_delta(LayerWriter *w, const MapDelta *delta) {
  if (w->layer.deltas_len == DELTAS_MAX) return err_new(ERR_LIMIT, "writing a page map: too many delta frames");
  if (w->deltas_len == DELTAS_LEAF_MAX) TRY(flush_deltas(w));
  w->deltas[w->deltas_len++] = *delta;
  w->layer.deltas_len++;
  return NULL;
}

Error *layer_writer_finish(LayerWriter *w, PageLayer *out) {
  TRY(flush_frames(w));
  TRY(flush_frame_prints(w));
  TRY(flush_pages(w));
  TRY(flush_deltas(w));
  TRY(seq_builder_finish(w->frames_seq, &w->layer.frames));
  TRY(seq_builder_finish(w->frame_prints_seq, &w->layer.frame_prints));
  TRY(seq_builder_finish(w->pages_seq, &w->layer.pages));
  TRY(seq_builder_finish(w->page_prints_seq, &w->layer.page_prints));
  TRY(seq_builder_finish(w->deltas_seq, &w->layer.deltas));
  *out = w->layer;
  return NULL;
}
