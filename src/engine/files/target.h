/* target.h: where a restore writes. Every path of the snapshot, which may be hostile, becomes a directory descriptor
 * and a name here and nowhere else: no component is ever followed through a symbolic link.
 *
 * Used by one thread at a time, but for target_report and target_failed. */
#ifndef HF_ENGINE_FILES_TARGET_H
#define HF_ENGINE_FILES_TARGET_H

#include "engine/engine.h"
#include "engine/files/attr.h"
#include "sys/temporary.h"

typedef struct Target Target;

/* Makes the directory, or refuses: ERR_NOT_EMPTY when it holds something and the plan does not say overwrite. `plan`
 * and `source` are borrowed. */
Error *target_open(Sys *sys, const RestorePlan *plan, Source *source, Target **out) NODISCARD;
void target_free(Target *take);

const RestorePlan *target_plan(const Target *target);
/* There was something before: names may be taken. */
bool target_is_shared(const Target *target);
bool target_is_file(const Target *target);

/* Selected by `only`, itself or by a directory above it. Reports a path that is no path. */
bool target_wants(Target *target, const Entry *entry);
/* A selected hard link needs the content of `path`: it is wanted too, from now on. */
void target_needs(Target *target, Bytes path);
uint64_t target_wanted(const Target *target); /* how many were */
/* A file is about to be made at `path`. If that is the mark of an unfinished restore, the source was one, and so is the
 * copy: the snapshot's takes the place of ours, and stays. */
void target_yield_mark(Target *target, Bytes path);

typedef struct TargetPlace {
  DirRef *dir; /* held: drop it */
  char name[ENTRY_NAME_MAX + 1];
} TargetPlace;

/* Where `path` belongs; directories above it that are missing are made. 0 or an errno. Not for the root. */
int target_place(Target *target, Bytes path, TargetPlace *out);
/* The directory at `path` itself, the root included. */
int target_directory(Target *target, Bytes path, DirRef **out);
/* A file on its way, see temporary.h. -1 with errno. */
int target_temporary(Target *target, const TargetPlace *place, char out_name[TEMPORARY_NAME_CAP]) NODISCARD;
/* Removes what restores that were killed left in a directory, if it was there before. `path` is for the notice. */
void target_sweep(Target *target, int dir_fd, Bytes path);

/* Something was left out; the restore goes on. Thread-safe. */
void target_report(Target *target, Bytes path, const char *doing, int errno_value);
void target_report_text(Target *target, NoticeLevel level, Bytes path, const char *text);
/* ERR_NO_SPACE when that is what errno_value means: nothing more can be written. Otherwise reports it, NULL. */
Error *target_failed(Target *target, Bytes path, const char *doing, int errno_value) NODISCARD;

/* Puts back what attr_apply can, and reports the rest. */
void target_apply(Target *target, const AttrPlace *place, const Entry *entry);

/* All is written: makes it durable. */
Error *target_finish(Target *target) NODISCARD;

/* ---- restore_fetch.c ---- */

/* How fetched content gets into files; the context is the Target. */
const FetchOps *target_fetch_ops(const Target *target);

#endif
