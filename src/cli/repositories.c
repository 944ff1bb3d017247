#include "cli/repositories.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "codec/secret.h"
#include "ops/address.h"
#include "repo/marker.h"
#include "store/store_meter.h"
#include "sys/fs.h"

enum { PATIENCE_MS = 60 * 1000, KEY_FILE_BYTES = 32 };

/* ---- which ---------------------------------------------------------------------------------------------------------
 */

static void place_free(RepositoryPlace *place) {
  free(place->name);
  free(place->path);
}

void repository_places_free(RepositoryPlaces *places) {
  for (size_t i = 0; i < places->len; i++) place_free(&places->items[i]);
  free(places->items);
  *places = (RepositoryPlaces){0};
}

/* A path that is a configured repository's gets its name and key. */
static const ConfigRepository *find_by_path(const Config *config, const char *path) {
  for (size_t i = 0; i < config_repository_count(config); i++) {
    const ConfigRepository *r = config_repository_at(config, i);
    AUTO_FREE char *its = NULL;
    Error *err = repository_path(r->url, &its);
    bool same = !err && strcmp(its, path) == 0;
    err_free(err);
    if (same) return r;
  }
  return NULL;
}

static Error *add_place(Workspace *w, const char *text, RepositoryPlaces *out) {
  const ConfigRepository *config = config_repository_find(w->config, text);
  RepositoryPlace place = {.config = config};
  TRY(err_wrap(repository_path(config ? config->url : text, &place.path), "repository %s", text));
  if (!config) place.config = find_by_path(w->config, place.path);
  for (size_t i = 0; i < out->len; i++) {
    if (strcmp(out->items[i].path, place.path) != 0) continue;
    Error *err = err_new(ERR_USAGE, "repository %s is named twice", place.path);
    place_free(&place);
    return err;
  }
  place.name = mem_strdup(place.config ? place.config->name : place.path);
  out->items = (RepositoryPlace *)mem_resize(out->items, out->len + 1, sizeof *out->items);
  out->items[out->len++] = place;
  return NULL;
}

static Error *add_places(Workspace *w, const StrList *names, RepositoryPlaces *out) {
  const StrList *given = args_list(w->ctx->args, OPT_REPO);
  if (given->len) names = given;
  if (names && names->len) {
    for (size_t i = 0; i < names->len; i++) TRY(add_place(w, names->items[i], out));
    return NULL;
  }
  for (size_t i = 0; i < config_repository_count(w->config); i++)
    TRY(add_place(w, config_repository_at(w->config, i)->name, out));
  if (out->len) return NULL;
  return err_hint(err_new(ERR_USAGE, "no repository is named"),
                  "say which with --repo PATH, HOLDFAST_REPO or `repositories:` in the configuration");
}

Error *repository_places(Workspace *w, const StrList *names, RepositoryPlaces *out) {
  *out = (RepositoryPlaces){0};
  Error *err = add_places(w, names, out);
  if (err) repository_places_free(out);
  return err;
}

/* ---- secrets -------------------------------------------------------------------------------------------------------
 */

size_t secrets_unlocks(const CliSecrets *secrets, Unlock out[CLI_SECRETS_MAX]) {
  for (size_t i = 0; i < secrets->len; i++) {
    const CliSecret *secret = &secrets->list[i];
    out[i] = (Unlock){.kind = secret->kind == CLI_SECRET_KEY_FILE ? SLOT_KEY_FILE : SLOT_PASSPHRASE,
                      .secret = bytes(secret->data, secret->len)};
  }
  return secrets->len;
}

static Error *write_key(const char *path, Sys *sys) {
  uint8_t key[KEY_FILE_BYTES];
  char text[2 * KEY_FILE_BYTES + 1];
  AUTO_FD int fd = -1;
  TRY(fs_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd));
  sys_random(sys, key, sizeof key);
  hex_encode(key, sizeof key, text);
  Error *err = fs_write(fd, path, text, sizeof text - 1);
  secret_wipe(key, sizeof key);
  secret_wipe(text, sizeof text);
  if (!err) err = fs_sync(fd, path);
  return err;
}

/* Gives a file its name, unless that is taken. */
static Error *name_key(const char *temporary, const char *path) {
  if (link(temporary, path) == 0) return NULL;
  bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS;
  if (no_links && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0) return NULL;
  return err_errno(errno, "creating %s", path);
}

/* An interrupted run must not leave half a key under the name that the next one would then use. */
Error *key_file_make(CliContext *ctx, const char *path) {
  AUTO_FREE char *whole = NULL;
  TRY(fs_absolute(path, &whole));
  char *slash = strrchr(whole, '/');
  AUTO_FREE char *parent = slash == whole ? mem_strdup("/") : mem_strndup(whole, (size_t)(slash - whole));
  TRY(fs_make_dirs(parent, 0700));
  uint64_t random;
  sys_random(ctx->sys, &random, sizeof random);
  AUTO_FREE char *name = mem_printf(".holdfast-%016llx.tmp", (unsigned long long)random);
  AUTO_FREE char *temporary = fs_join(parent, name);
  Error *err = write_key(temporary, ctx->sys);
  if (!err) {
    err = name_key(temporary, whole);
    bool named = !err;
    if (named) err = fs_sync_dir(parent);
    if (named && err) unlink(whole);
  }
  unlink(temporary);
  return err_wrap(err, "making a key file");
}

/* ---- opening -------------------------------------------------------------------------------------------------------
 */

Error *repository_store(Workspace *w, const RepositoryPlace *place, bool create, Store **out) {
  Store *store;
  Error *err = store_open(w->ctx->sys, place->path, create, &store);
  if (!create && err_is(err, ERR_NOT_FOUND)) err = err_recode(err, ERR_NO_REPOSITORY);
  TRY(err);
  MeterOptions options = {.write_bytes_per_second = w->settings.upload_bytes_per_second, .patience_ms = PATIENCE_MS};
  *out = store_meter_new(w->ctx->sys, store, &options);
  return NULL;
}

/* Nobody is asked for the passphrase of what is not there. */
static Error *is_there(Workspace *w, Store *store, bool *out) {
  StoreStat stat;
  Error *err = store_stat(store, MARKER_KEY, &stat, w->ctx->cancel);
  *out = !err;
  if (!err_is(err, ERR_NOT_FOUND)) return err;
  err_free(err);
  return NULL;
}

Error *repository_open(Workspace *w, const RepositoryPlace *place, Repo **out) {
  Store *store;
  TRY(repository_store(w, place, false, &store));
  AUTO_SECRETS CliSecrets secrets = {0};
  bool there;
  Error *err = is_there(w, store, &there);
  if (!err && there) err = err_wrap(secrets_collect(w->ctx, place->config, false, &secrets), "opening %s", place->name);
  if (err) {
    store_free(store);
    return err;
  }
  Unlock unlocks[CLI_SECRETS_MAX];
  size_t len = secrets_unlocks(&secrets, unlocks);
  return repo_open(w->ctx->sys, store, unlocks, len, w->ops.cache_dir, out, w->ctx->cancel);
}

static Error *open_all(Workspace *w, RepositoriesNeed need, Repositories *io) {
  size_t opened = 0;
  for (size_t i = 0; i < io->len; i++) {
    OpenRepository *r = &io->items[i];
    Error *err = repository_open(w, &r->place, &r->repo);
    if (err && (need == REPOSITORIES_ALL || err_code(err) == ERR_CANCELLED)) return err;
    r->err = err;
    if (!err) opened++;
  }
  return opened || need == REPOSITORIES_EACH ? NULL : repositories_failure(io);
}

void repositories_warn(Workspace *w, const Repositories *repositories) {
  for (size_t i = 0; i < repositories->len; i++) {
    const OpenRepository *r = &repositories->items[i];
    if (r->err) output_warning(w->ctx->output, "repository %s is left out: %s", r->place.name, err_text(r->err));
  }
}

Error *repositories_failure(Repositories *repositories) {
  for (size_t i = 0; i < repositories->len; i++)
    if (repositories->items[i].err) return STEAL(repositories->items[i].err);
  return NULL;
}

Error *repositories_open(Workspace *w, const StrList *names, RepositoriesNeed need, Repositories *out) {
  RepositoryPlaces places;
  TRY(repository_places(w, names, &places));
  *out = (Repositories){.items = NEW_ARRAY(OpenRepository, places.len), .len = places.len};
  for (size_t i = 0; i < places.len; i++) out->items[i].place = places.items[i];
  free(places.items);
  Error *err = open_all(w, need, out);
  if (err) repositories_close(out);
  return err;
}

Error *repositories_open_one(Workspace *w, Repositories *out, Repo **out_repo) {
  TRY(repositories_open(w, NULL, REPOSITORIES_ALL, out));
  if (out->len > 1) {
    Error *err = err_hint(err_new(ERR_USAGE, "this works on one repository, there are %zu", out->len),
                          "name it with --repo: %s, %s, …", out->items[0].place.name, out->items[1].place.name);
    repositories_close(out);
    return err;
  }
  *out_repo = out->items[0].repo;
  return NULL;
}

/* The folder that is there, without links, of the path of something that may be made. */
static char *standing_folder(const char *target) {
  AUTO_FREE char *path = mem_strdup(target);
  for (;;) {
    char *real = realpath(path, NULL);
    char *slash = strrchr(path, '/');
    if (real || !slash || slash == path) return real ? real : mem_strdup("/");
    *slash = '\0';
  }
}

static bool is_within(char *folder, const struct stat *dir) {
  struct stat st;
  for (char *slash; (slash = strrchr(folder, '/'));) {
    if (stat(folder, &st) == 0 && st.st_dev == dir->st_dev && st.st_ino == dir->st_ino) return true;
    *slash = '\0';
  }
  return false;
}

Error *repositories_spare(const Repositories *repositories, const char *target) {
  for (size_t i = 0; i < repositories->len; i++) {
    struct stat dir;
    AUTO_FREE char *folder = standing_folder(target);
    const RepositoryPlace *place = &repositories->items[i].place;
    if (stat(place->path, &dir) != 0 || !is_within(folder, &dir)) continue;
    return err_hint(err_new(ERR_REFUSED, "%s is in the folder of repository %s, where only holdfast's own files belong",
                            target, place->name),
                    "choose another place");
  }
  return NULL;
}

void repositories_close(Repositories *repositories) {
  for (size_t i = 0; i < repositories->len; i++) {
    place_free(&repositories->items[i].place);
    repo_free(repositories->items[i].repo);
    err_free(repositories->items[i].err);
  }
  free(repositories->items);
  *repositories = (Repositories){0};
}
