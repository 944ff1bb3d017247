/* state.h: the state directory: what this machine keeps between runs, and who this machine is.
 *
 *   <state>/catalog.db   what happened (catalog.h)
 *   <state>/cache/       parts of repositories that can be fetched again
 *   <state>/spool/       log segments and packs on their way to a repository
 *   <state>/scratch/     private copies while a backup or a restore runs
 *   <state>/conf.d/      sources and repositories added by command
 *   <state>/host_id      32 random hex digits, made once
 *
 * Directories made here are 0700 and files 0600, whatever the umask. A State is immutable and thread-safe.
 */
#ifndef HF_CATALOG_STATE_H
#define HF_CATALOG_STATE_H

#include "sys/sys.h"

enum { HOST_ID_RANDOM_LEN = 16, HOST_ID_TEXT_LEN = 66 }; /* two times 32 hex digits, a dot, the end */

typedef struct State State;

/* /var/lib/holdfast for root; else $XDG_STATE_HOME/holdfast or $HOME/.local/state/holdfast (only absolute values count;
 * without a home /var/lib/holdfast again, for service accounts). Owned. */
char *state_dir_default(void);
/* Makes what is missing. A directory that was there keeps its mode, but the four in it, if they are ours, become 0700.
 * ERR_DENIED, ERR_NO_SPACE, ERR_IO; ERR_CORRUPT when host_id is not what was written. */
Error *state_open(Sys *sys, const char *path, State **out) NODISCARD;
void state_free(State *take);

/* Absolute, borrowed. */
const char *state_path(const State *state);
const char *state_cache_dir(const State *state);
const char *state_spool_dir(const State *state);
const char *state_scratch_dir(const State *state);
const char *state_conf_dir(const State *state);
/* Who this machine is, "MACHINE.STATE": a hash of /etc/machine-id (no machine id: one of nothing but zeros) and a hash
 * of host_id. Both are the machine's own; see state_host_is_same. */
const char *state_host_id(const State *state);

/* How it is made; pure. A machine id that is not 32 hex digits (a line end may follow) counts as none. `random` NULL:
 * there is no state directory. */
void state_host_id_derive(const uint8_t *random, Bytes machine_id, char out[HOST_ID_TEXT_LEN]);

/* Who a host says it is: its id and its name. */
typedef struct HostIdentity {
  const char *id, *name;
} HostIdentity;
/* The same machine as before: of another machine id never (a copied state directory); else of the same state directory,
 * or of the same name (the state directory was lost). Without machine ids the state directory must be the same. */
bool state_host_is_same(HostIdentity before, HostIdentity now);

#endif
