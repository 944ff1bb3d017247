/* lockguard.h: keeps plain descriptors away from files that this process has locked.
 *
 * POSIX record locks, which SQLite's are, belong to the process and the file: closing any descriptor of the file drops
 * every lock the process has on it, through whatever descriptor they were taken. Whoever opens a database through
 * SQLite therefore holds its files here before the first lock, and whoever opens files that are not his own with plain
 * descriptors enters each before opening and leaves after closing it.
 *
 * All of it is thread-safe. The table is the process's, as the locks are.
 */
#ifndef HF_SYS_LOCKGUARD_H
#define HF_SYS_LOCKGUARD_H

#include <sys/stat.h>

#include "sys/cancel.h"

typedef enum LockGuard {
  LOCKGUARD_FREE,
  LOCKGUARD_SOURCE, /* a database that is being backed up, restored over or checked */
  LOCKGUARD_OWN,    /* a database of holdfast's own */
} LockGuard;

/* Waits until nobody has it entered: ERR_UNREACHABLE after wait_ms. Held as often as this is called. */
Error *lockguard_hold(Sys *sys, const struct stat *file, LockGuard why, uint64_t wait_ms, Cancel *cancel) NODISCARD;
void lockguard_release(const struct stat *file);

/* LOCKGUARD_FREE: entered. Otherwise it must not be opened, and is not entered. */
LockGuard lockguard_enter(const struct stat *file);
void lockguard_leave(const struct stat *file);

#endif
