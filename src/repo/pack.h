/* pack.h: the pack format, pure: bytes to structures and back.
 *
 *   header (object.h, 96 bytes) · frames (ciphertext and tag each) · footer (sealed) · stripe table · trailer (64
 * bytes)
 *
 * The footer lists the frames and the keys they are under; it is sealed under the metadata key of the series in the
 * header. The stripe table holds 16 bytes of unkeyed BLAKE3 for each 64 KiB from the header to the end of the footer,
 * so that anyone can check a pack without a key. A frame's associated data names repository, type, codec, raw length
 * and id, not the pack: frames can be moved between packs without being opened.
 */
#ifndef HF_REPO_PACK_H
#define HF_REPO_PACK_H

#include "base/buf.h"
#include "codec/compress.h"
#include "repo/object.h"

enum {
  PACK_STRIPE = 64 * 1024,
  PACK_STRIPE_HASH = 16,
  PACK_TRAILER_LEN = 64,
  PACK_KEY_LEN = 56,
  PACK_FRAME_LEN = 52,
  FRAME_AAD_LEN = 54,
  PACK_NAME_LEN = 6 + 3 + 32 + 1, /* "packs/3f/3f…" */
};

typedef enum PackKeyKind {                    /* on-disk values */
                           PACK_KEY_DATA = 1, /* ref: the data key's id */
                           PACK_KEY_META = 2, /* ref: the series */
} PackKeyKind;

/* Which key a frame is under: HKDF(base key, salt). The pack that first held the frame had that salt in its header. */
typedef struct PackKey {
  uint8_t kind;
  uint32_t epoch;
  uint8_t ref[16];
  uint8_t salt[32];
} PackKey;

typedef struct PackFrame {
  FrameId id;
  uint32_t offset; /* from the start of the pack */
  uint32_t stored; /* ciphertext and tag */
  uint32_t raw;
  uint32_t number; /* the nonce under its key */
  uint16_t key;    /* in the footer's key table */
  uint8_t type;
  uint8_t codec;
} PackFrame;

typedef struct PackFooter {
  PackKey *keys;
  size_t keys_len;
  PackFrame *frames;
  size_t frames_len;
} PackFooter;

typedef struct PackTrailer {
  uint64_t footer_offset;
  uint32_t footer_len;  /* sealed */
  uint32_t stripes_len; /* bytes of the table */
} PackTrailer;

char *pack_name(const Uuid *id, char out[PACK_NAME_LEN]); /* returns out */
bool pack_name_parse(const char *name, Uuid *out);

void pack_key_encode(const PackKey *key, Buf *out);
Error *pack_key_decode(Cursor *c, PackKey *out) NODISCARD;
void pack_footer_encode(const PackFooter *footer, Buf *out);
/* Checks every limit, that frames do not overlap and lie between header and footer_offset. */
Error *pack_footer_decode(Bytes in, uint64_t footer_offset, PackFooter *out) NODISCARD;
void pack_footer_free(PackFooter *footer);
/* stripes: the table. */
void pack_trailer_encode(const PackTrailer *trailer, Bytes stripes, uint8_t out[PACK_TRAILER_LEN]);
/* tail: the last PACK_TRAILER_LEN bytes. Checked against the pack's size; the table's hash is checked by
 * pack_stripes_verify. */
Error *pack_trailer_decode(const uint8_t tail[PACK_TRAILER_LEN], uint64_t pack_size, PackTrailer *out) NODISCARD;
Error *pack_stripes_verify(const uint8_t tail[PACK_TRAILER_LEN], Bytes stripes) NODISCARD;

void pack_footer_key(const uint8_t meta_key[KEY_LEN], const uint8_t salt[32], uint8_t out[KEY_LEN]);
void frame_aad(const Uuid *repo, FrameType type, Codec codec, uint32_t raw, const FrameId *id,
               uint8_t out[FRAME_AAD_LEN]);

#endif
