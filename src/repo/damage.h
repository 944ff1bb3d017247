/* damage.h: packs that were found damaged, noted in the repository: damaged/<pack>.
 *
 * Whoever finds a pack damaged notes it, so that no writer goes on to count on what is in it: the next backup of a
 * source stores again what it needs of it, and readers take the new copies. The name alone says it; the body tells
 * people when and why. A note is removed when the pack is found whole again (somebody put the right file back).
 */
#ifndef HF_REPO_DAMAGE_H
#define HF_REPO_DAMAGE_H

#include "repo/repo.h"
#include "repo/uuid_set.h"

enum { DAMAGE_KEY_LEN = 8 + 32 + 1, DAMAGE_REASON_MAX = 4096, DAMAGE_FRAMES_MAX = 4096 }; /* "damaged/3f…" */

typedef struct DamagedFrame {
  FrameType type;
  FrameId id;
} DamagedFrame;

typedef struct Damage {
  uint64_t time_ns;
  char *reason;         /* owned */
  bool exact;           /* everything in the pack was looked at: these frames are damaged and no others */
  DamagedFrame *frames; /* owned */
  size_t frames_len;
} Damage;

char *damage_key(const Uuid *pack, char out[DAMAGE_KEY_LEN]); /* returns out */
/* Sorted; owned. Notes are counted by their names, whether or not they open. */
Error *damage_list(Repo *repo, UuidSet *out, Cancel *cancel) NODISCARD;
/* Notes that something in the pack is damaged. Success also when it was noted before. ERR_REFUSED, ERR_DENIED, ERR_IO
 * where nothing can be written. */
Error *damage_note(Repo *repo, const Uuid *pack, const char *reason, Cancel *cancel) NODISCARD;
/* Notes just what is damaged, in place of the note that is there. At most DAMAGE_FRAMES_MAX frames. */
Error *damage_note_exact(Repo *repo, const Uuid *pack, const char *reason, const DamagedFrame *frames, size_t len,
                         Cancel *cancel) NODISCARD;
Error *damage_clear(Repo *repo, const Uuid *pack, Cancel *cancel) NODISCARD;

Error *damage_read(Repo *repo, const char *key, Damage *out, Cancel *cancel) NODISCARD;
void damage_free(Damage *damage);
/* Pure, for the fuzzer. */
Error *damage_decode(Bytes body, Damage *out) NODISCARD;

#endif
