/* marker.h: holdfast.json, the one object in the clear: what this directory is, which format and features it uses. Its
 * MAC under the root key binds it, so nobody without a key can turn features off or swap repositories. */
#ifndef HF_REPO_MARKER_H
#define HF_REPO_MARKER_H

#include "base/buf.h"
#include "repo/keys.h"

#define MARKER_KEY "holdfast.json"
enum { MARKER_SIZE_MAX = 64 * 1024, FEATURES_MAX = 64 };

typedef struct Marker {
  uint64_t format;
  Uuid repo;
  uint64_t created_ns;
  bool read_only; /* has a feature that this program can only read */
  uint8_t mac[32];
  Buf unsigned_text; /* what the MAC covers; owned */
} Marker;

void marker_free(Marker *marker);
/* The text of a new holdfast.json. */
void marker_create(const Keys *keys, uint64_t created_ns, Buf *out);
/* ERR_CORRUPT when malformed, ERR_UNSUPPORTED for another version or an unknown incompatible feature. */
Error *marker_parse(Bytes text, Marker *out) NODISCARD;
/* ERR_CORRUPT when the MAC is not the root key's. */
Error *marker_verify(const Marker *marker, const Keys *keys) NODISCARD;

#endif
