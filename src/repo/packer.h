/* packer.h: writes packs as streams. Worker threads seal frames straight into preallocated parts; writer threads of the
 * packer send finished parts to the store, close packs at their target size and report each pack once it is durable.
 *
 * Memory: `parts` buffers of `part_size`, whatever the pack size.
 */
#ifndef HF_REPO_PACKER_H
#define HF_REPO_PACKER_H

#include "repo/pack.h"
#include "repo/repo.h"

typedef struct Packer Packer;

/* A pack that is durable in the store. Borrowed, for the duration of the call. */
typedef struct PackDone {
  Uuid id;
  uint64_t size;
  PackKey key;
  const PackFrame *frames;
  size_t frames_len;
} PackDone;

typedef struct PackerOptions {
  PackKeyKind kind;
  Uuid series;
  uint32_t epoch;
  uint8_t ref[16];           /* PACK_KEY_DATA: the data key's id; PACK_KEY_META: the series */
  uint8_t base_key[KEY_LEN]; /* data key, or metadata class key */
  uint8_t meta_key[KEY_LEN]; /* for the footer */
  uint64_t target_size;
  size_t part_size; /* > FRAME_RAW_MAX + 4096 where large frames may come */
  unsigned parts;   /* >= 2 */
  unsigned writers; /* threads */
  /* Called from a writer thread, one at a time for one packer. */
  Error *(*done)(void *ctx, const PackDone *pack);
  void *ctx;
} PackerOptions;

Error *packer_new(Repo *repo, const PackerOptions *options, Cancel *cancel, Packer **out) NODISCARD;

/* One a worker thread: its cipher context. */
typedef struct Sealer Sealer;
Sealer *sealer_new(void);
void sealer_free(Sealer *take);

/* Seals a frame (payload: raw or compressed) and gives it a place. Waits for a part while the store is behind.
 * Thread-safe, but a Sealer belongs to one thread. Fails with a copy of the packer's first error once it has failed. */
Error *packer_put(Packer *packer, Sealer *sealer, FrameType type, const FrameId *id, Codec codec, uint32_t raw,
                  Bytes payload) NODISCARD;
/* Closes the open pack and waits until everything put so far is durable. More may be put afterwards. */
Error *packer_flush(Packer *packer) NODISCARD;
uint64_t packer_stored_bytes(Packer *packer); /* bytes of durable packs, footers included */
/* Ends the threads; what was not flushed is dropped (its puts are aborted). */
void packer_free(Packer *take);

#endif
