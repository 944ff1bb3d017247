/* object.h: the envelope of every encrypted object: a 96-byte header in the clear, then what was sealed under a key
 * made for this object alone. Small objects (segments, snapshots, sessions, series) are one sealed body; packs have
 * their own inside. */
#ifndef HF_REPO_OBJECT_H
#define HF_REPO_OBJECT_H

#include "base/buf.h"
#include "repo/keys.h"
#include "sys/sys.h"

enum { OBJECT_HEADER_LEN = 96 };

typedef struct ObjectHeader {
  ObjectType type;
  uint32_t epoch;
  Uuid repo;
  Uuid series;     /* zeros where the object belongs to none */
  uint8_t ref[16]; /* packs of content: the data key's id; else zeros */
  uint8_t salt[32];
} ObjectHeader;

void object_header_encode(const ObjectHeader *header, uint8_t out[OBJECT_HEADER_LEN]);
/* ERR_CORRUPT: not ours, another type; ERR_UNSUPPORTED: newer version. */
Error *object_header_decode(Bytes in, ObjectType expect, ObjectHeader *out) NODISCARD;

/* Seals body into *out (replaced). `name` is the object's key in the store: an object under another name does not open.
 */
Error *object_seal(Sys *sys, const Keys *keys, ObjectType type, const Uuid *series, const char *name, Bytes body,
                   Buf *out) NODISCARD;
/* *body is replaced. ERR_CORRUPT names the object. out_header may be NULL. */
Error *object_open(const Keys *keys, ObjectType type, const char *name, Bytes sealed, Buf *body,
                   ObjectHeader *out_header) NODISCARD;

#endif
