/* content.h: where a file's bytes are: the descriptor kept in its tree entry. */
#ifndef HF_REPO_CONTENT_H
#define HF_REPO_CONTENT_H

#include "repo/seq.h"

typedef enum ContentKind {                    /* on-disk values */
                           CONTENT_NONE = 0,  /* no content: directories, links, empty files */
                           CONTENT_SLICE = 1, /* a small file inside a shared FRAME_DATA frame */
                           CONTENT_LIST = 2,  /* up to CONTENT_LIST_MAX frames, named here */
                           CONTENT_SEQ = 3, /* frames in a sequence of lists (keys: byte offsets; leaves: the same list
                                               encoding) */
                           CONTENT_PAGES = 4, /* a layered page map: pagemap.h */
} ContentKind;

enum { CONTENT_LIST_MAX = 4, CONTENT_LEAF_MAX = 1024 };

typedef struct ContentPiece {
  uint32_t len;      /* raw bytes, 1…FRAME_RAW_MAX; holes may be longer: see hole_len */
  uint64_t hole_len; /* not 0: a hole of this many bytes, len and id unused */
  FrameId id;
} ContentPiece;

typedef struct Content {
  ContentKind kind;
  union {
    struct {
      FrameId id;
      uint32_t offset, len;
      uint8_t hash[16]; /* first half of the keyed BLAKE3 (FRAME_DATA key) of the file's own bytes */
    } slice;
    struct {
      ContentPiece pieces[CONTENT_LIST_MAX];
      size_t len;
    } list;
    SeqRoot seq;
    FrameId pages; /* the page map's root: a FRAME_MAP frame */
  };
} Content;

void content_encode(const Content *content, Buf *out);
void content_decode(Cursor *c, Content *out); /* an unknown kind fails the cursor */
/* Leaves of CONTENT_SEQ. */
void content_leaf_encode(const ContentPiece *pieces, size_t len, Buf *out);
Error *content_leaf_decode(Bytes raw, ContentPiece *out, size_t cap, size_t *out_len) NODISCARD;

/* Builds the descriptor of a CONTENT_LIST or CONTENT_SEQ from pieces in order. Not thread-safe. Adjacent holes are
 * merged. */
typedef struct ContentBuilder ContentBuilder;
ContentBuilder *content_builder_new(FrameSink *sink);
void content_builder_free(ContentBuilder *take);
Error *content_builder_add(ContentBuilder *b, const ContentPiece *piece) NODISCARD;
Error *content_builder_finish(ContentBuilder *b, Content *out) NODISCARD;

#endif
