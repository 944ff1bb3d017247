#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/repositories.h"
#include "codec/secret.h"
#include "repo/uuid.h"
#include "sys/fs.h"

/* The key file that --create-key-file names must be new; the one of --key-file is made when it is not there. */
typedef struct NewKey {
  const char *path; /* NULL: none is made */
  bool made;        /* by this run, and no repository uses it yet: removed when none comes to */
} NewKey;

/* However each is spelled, and --key-file may come from the environment. */
static Error *check_one_file(const char *create, const char *given) {
  AUTO_FREE char *a = NULL, *b = NULL;
  TRY(fs_absolute(create, &a));
  TRY(fs_absolute(given, &b));
  if (strcmp(a, b) == 0) return NULL;
  return err_hint(err_new(ERR_USAGE, "--key-file (%s) and --create-key-file (%s) name two different files", b, a),
                  "leave out one of them; --key-file may stand in HOLDFAST_KEY_FILE");
}

static Error *make_key(CliContext *ctx, NewKey *out) {
  const char *create = args_text(ctx->args, OPT_CREATE_KEY_FILE), *given = args_text(ctx->args, OPT_KEY_FILE);
  if (create && given) TRY(check_one_file(create, given));
  const char *path = create ? create : given;
  if (!path || (!create && fs_exists(path))) return NULL;
  Error *err = key_file_make(ctx, path);
  if (err_is(err, ERR_EXISTS)) err = err_hint(err, "to use the file that is there: --key-file %s", path);
  TRY(err);
  *out = (NewKey){.path = path, .made = true};
  return NULL;
}

/* A key file just made is not among the options when --create-key-file named it. */
static Error *collect(Workspace *w, const RepositoryPlace *place, CliSecrets *out) {
  const char *create = args_text(w->ctx->args, OPT_CREATE_KEY_FILE);
  bool others = args_given(w->ctx->args, OPT_KEY_FILE) || args_given(w->ctx->args, OPT_PASSPHRASE_FILE) ||
                w->ctx->passphrase || (place->config && (place->config->key || place->config->passphrase));
  if (others || !create) TRY(secrets_collect(w->ctx, place->config, true, out));
  if (!create || (args_given(w->ctx->args, OPT_KEY_FILE))) return NULL;
  CHECK(out->len < CLI_SECRETS_MAX);
  TRY(secret_from_file(w->ctx, CLI_SECRET_KEY_FILE, create, &out->list[out->len]));
  out->len++;
  return NULL;
}

static Error *make_repository(Workspace *w, const RepositoryPlace *place, char code[RECOVERY_CODE_LEN], Repo **out) {
  AUTO_SECRETS CliSecrets secrets = {0};
  TRY(collect(w, place, &secrets));
  Unlock unlocks[CLI_SECRETS_MAX];
  RepoInit init = {.unlocks = unlocks,
                   .unlocks_len = secrets_unlocks(&secrets, unlocks),
                   .label = args_text(w->ctx->args, OPT_SLOT_NAME),
                   .recovery = true};
  Store *store;
  TRY(repository_store(w, place, true, &store));
  Error *err = repo_init(w->ctx->sys, store, &init, w->ops.cache_dir, code, out, w->ctx->cancel);
  return err_is(err, ERR_EXISTS) ? err_recode(err, ERR_REFUSED) : err;
}

static void print_json(Workspace *w, const RepositoryPlace *place, const Repo *repo, const char *code,
                       const NewKey *key) {
  json_t *doc = output_document("repository");
  output_json_set_name(doc, "repository", bytes_str(place->name));
  json_object_set_new(doc, "url", output_json_name(bytes_str(place->path)));
  json_object_set_new(doc, "id", json_uuid(&repo->keys->repo));
  json_object_set_new(doc, "recovery_code", json_string(code));
  json_object_set_new(doc, "key_file", json_text_or_null(key->path));
  output_json(w->ctx->output, doc);
}

static void print_text(Workspace *w, const RepositoryPlace *place, const Repo *repo, const char *code) {
  char id[UUID_TEXT_LEN];
  AUTO_FREE char *shown = str_printable(bytes_str(place->path));
  output_text(w->ctx->output,
              "A new repository at %s (%.8s)\n\n"
              "  Recovery code, shown this once:\n\n"
              "  +-------------------------------------------------+\n"
              "  | %-47s |\n"
              "  +-------------------------------------------------+\n\n"
              "Write it down and keep it away from this machine: it opens the repository when the key file or\n"
              "the passphrase is lost (`holdfast key recover`). Whoever has it can read every backup.\n",
              shown, uuid_text(&repo->keys->repo, id), code);
}

enum { KNOWN_JOBS = 1000 };

/* The mount point of a disk that is away looks like a good place for a new repository. */
static bool knows_another(Workspace *w, const RepositoryPlace *place) {
  JobList jobs = {0};
  bool found = false;
  workspace_catalog_result(w, catalog_job_list(w->catalog, &(JobQuery){.kind = "backup", .limit = KNOWN_JOBS}, &jobs));
  for (size_t i = 0; i < jobs.len && !found; i++)
    found = jobs.items[i].snapshot && jobs.items[i].repository && strcmp(jobs.items[i].repository, place->name) == 0;
  job_list_free(&jobs);
  return found;
}

static Error *init_one(Workspace *w, const RepositoryPlace *place, NewKey *key) {
  char code[RECOVERY_CODE_LEN];
  Repo *repo;
  bool was_another = knows_another(w, place);
  TRY(make_repository(w, place, code, &repo));
  if (key->made)
    output_note(w->ctx->output, VERBOSITY_NORMAL, "made the key file %s: keep a copy of it away from this machine",
                key->path);
  key->made = false;
  if (was_another)
    output_warning(
        w->ctx->output,
        "this machine has backed up into another repository at %s: if that is on a disk which is not mounted, "
        "remove the new one before you mount it",
        place->name);
  if (output_json_mode(w->ctx->output))
    print_json(w, place, repo, code, key);
  else
    print_text(w, place, repo, code);
  secret_wipe(code, sizeof code);
  repo_free(repo);
  return err_hint(
      output_finish(w->ctx->output),
      "the repository is made, but its recovery code was not shown: make another one with `holdfast key add "
      "--new-recovery-code`");
}

static Error *init_all(Workspace *w, const RepositoryPlaces *places) {
  NewKey key = {0};
  TRY(make_key(w->ctx, &key));
  Error *err = NULL;
  for (size_t i = 0; i < places->len && !err; i++) err = init_one(w, &places->items[i], &key);
  /* Nothing opens with it but a repository that was begun and does not exist. */
  if (err && key.made) unlink(key.path);
  return err;
}

Error *cmd_init(CliContext *ctx, const Args *args UNUSED) {
  Workspace w;
  TRY(workspace_open(ctx, &w));
  RepositoryPlaces places;
  Error *err = repository_places(&w, NULL, &places);
  if (!err) {
    err = init_all(&w, &places);
    repository_places_free(&places);
  }
  workspace_close(&w);
  return err;
}
