#include "base/mem.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/key_secret.h"
#include "cli/repositories.h"
#include "repo/uuid.h"

typedef struct KeyCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Repo *repo;
} KeyCommand;

static Error *key_begin(CliContext *ctx, KeyCommand *out) {
  *out = (KeyCommand){.ctx = ctx};
  TRY(workspace_open(ctx, &out->w));
  Error *err = repositories_open_one(&out->w, &out->repositories, &out->repo);
  if (err) workspace_close(&out->w);
  return err;
}

static Error *key_end(KeyCommand *k, Error *err) {
  repositories_close(&k->repositories);
  workspace_close(&k->w);
  return err;
}

/* ---- ls ------------------------------------------------------------------------------------------------------------
 */

typedef struct SlotRows {
  KeyCommand *k;
  Table *table; /* NULL: JSON */
} SlotRows;

static Error *show_slot(void *ctx, const Slot *slot) {
  SlotRows *rows = (SlotRows *)ctx;
  char text[36];
  bool used = uuid_equal(&slot->id, &rows->k->repo->slot);
  if (!rows->table) {
    json_t *doc = output_document("slot");
    json_object_set_new(doc, "id", json_uuid(&slot->id));
    json_object_set_new(doc, "kind", json_string(slot_kind_name(slot->kind)));
    output_json_set_name(doc, "name", bytes_str(slot->label));
    json_object_set_new(doc, "created", json_time(slot->created_ns));
    json_object_set_new(doc, "opened_with", json_boolean(used));
    output_json(rows->k->ctx->output, doc);
    return NULL;
  }
  table_cell(rows->table, short_id(&slot->id, text));
  table_cell(rows->table, slot_kind_name(slot->kind));
  table_cell(rows->table, slot->label);
  table_cell(rows->table, time_format_local(slot->created_ns, text));
  table_cell(rows->table, used ? "opened with this" : "");
  return NULL;
}

Error *cmd_key_ls(CliContext *ctx, const Args *args UNUSED) {
  static const char *const headings[] = {"SLOT", "KIND", "NAME", "MADE", ""};
  KeyCommand k;
  TRY(key_begin(ctx, &k));
  SlotRows rows = {.k = &k};
  if (!output_json_mode(ctx->output)) {
    rows.table = table_new(NELEMS(headings));
    for (size_t i = 0; i < NELEMS(headings); i++) table_column(rows.table, i, headings[i], ALIGN_LEFT);
  }
  Error *err = repo_slots(k.repo, show_slot, &rows, ctx->cancel);
  if (!err && rows.table) output_table(ctx->output, rows.table);
  table_free(rows.table);
  return key_end(&k, err);
}

/* ---- add, recover --------------------------------------------------------------------------------------------------
 */

static Error *add_slot(CliContext *ctx, Repo *repo, const NewSecret *secret) {
  const char *name = args_text(ctx->args, OPT_SLOT_NAME);
  Slot slot;
  char id[SHORT_ID_LEN];
  AUTO_FREE char *label = name ? mem_strdup(name) : mem_printf("added by %s", args_command(ctx->args)->name);
  TRY(repo_slot_add(repo, secret->kind, bytes(secret->data, secret->len), label, &slot, ctx->cancel));
  if (output_json_mode(ctx->output)) {
    json_t *doc = output_document("slot");
    json_object_set_new(doc, "id", json_uuid(&slot.id));
    json_object_set_new(doc, "kind", json_string(slot_kind_name(slot.kind)));
    output_json_set_name(doc, "name", bytes_str(slot.label));
    if (secret->kind == SLOT_RECOVERY)
      json_object_set_new(doc, "recovery_code", json_string((const char *)secret->data));
    output_json(ctx->output, doc);
    return NULL;
  }
  output_text(ctx->output, "added slot %s: %s\n", short_id(&slot.id, id), slot_kind_name(slot.kind));
  if (secret->kind != SLOT_RECOVERY) return NULL;
  output_text(ctx->output,
              "\n  Recovery code, shown this once:\n\n    %s\n\nWrite it down and keep it away from this "
              "machine.\n",
              (const char *)secret->data);
  return NULL;
}

Error *cmd_key_add(CliContext *ctx, const Args *args UNUSED) {
  KeyCommand k;
  NewSecret secret = {0};
  TRY(key_begin(ctx, &k));
  Error *err = new_secret_read(ctx, &secret);
  if (!err) err = add_slot(ctx, k.repo, &secret);
  new_secret_free(&secret, err != NULL);
  return key_end(&k, err);
}

static Error *open_with_code(Workspace *w, Repo **out) {
  RepositoryPlaces places;
  TRY(repository_places(w, NULL, &places));
  uint8_t *code = NULL;
  size_t len = 0;
  Store *store = NULL;
  Error *err = places.len == 1 ? NULL
                               : err_hint(err_new(ERR_USAGE, "this works on one repository, there are %zu", places.len),
                                          "name it with --repo");
  if (!err) err = repository_store(w, &places.items[0], false, &store);
  if (!err) err = recovery_code_read(w->ctx, &code, &len);
  if (!err) {
    Unlock unlock = {.kind = SLOT_RECOVERY, .secret = bytes(code, len)};
    err = repo_open(w->ctx->sys, STEAL(store), &unlock, 1, w->ops.cache_dir, out, w->ctx->cancel);
  }
  if (err_is(err, ERR_WRONG_KEY))
    err = err_hint(err, "the code is well-formed but of another repository, or its slot was removed");
  recovery_code_wipe(code);
  store_free(store);
  repository_places_free(&places);
  return err;
}

Error *cmd_key_recover(CliContext *ctx, const Args *args UNUSED) {
  Workspace w;
  Repo *repo = NULL;
  NewSecret secret = {0};
  TRY(workspace_open(ctx, &w));
  Error *err = open_with_code(&w, &repo);
  if (!err) err = new_secret_read(ctx, &secret);
  if (!err) err = add_slot(ctx, repo, &secret);
  new_secret_free(&secret, err != NULL);
  repo_free(repo);
  workspace_close(&w);
  return err;
}

/* ---- rm, rotate ----------------------------------------------------------------------------------------------------
 */

typedef struct SlotChoice {
  const char *wanted;
  Slot slot;
  size_t matches, total;
} SlotChoice;

static Error *match_slot(void *ctx, const Slot *slot) {
  SlotChoice *choice = (SlotChoice *)ctx;
  char id[UUID_TEXT_LEN];
  choice->total++;
  if (!str_starts(uuid_text(&slot->id, id), choice->wanted) && strcmp(slot->label, choice->wanted) != 0) return NULL;
  choice->matches++;
  choice->slot = *slot;
  return NULL;
}

static Error *choose_slot(KeyCommand *k, SlotChoice *out) {
  AUTO_FREE char *shown = str_printable(bytes_str(out->wanted));
  TRY(repo_slots(k->repo, match_slot, out, k->ctx->cancel));
  if (out->matches == 0)
    return err_hint(err_new(ERR_NOT_FOUND, "no key slot %s", shown), "`holdfast key ls` lists them");
  if (out->matches > 1)
    return err_hint(err_new(ERR_USAGE, "%zu key slots fit %s", out->matches, shown), "give more digits of the id");
  if (out->total == 1)
    return err_hint(err_new(ERR_REFUSED, "this is the last key slot: without it nobody could open the repository"),
                    "add another first: `holdfast key add`");
  return NULL;
}

/* The id or the name, in full or as `key ls` shows it. */
static bool is_confirmed(const KeyCommand *k, const Slot *slot) {
  const char *typed = args_text(k->ctx->args, OPT_CONFIRM);
  char id[UUID_TEXT_LEN], brief[SHORT_ID_LEN];
  return typed && (strcmp(typed, uuid_text(&slot->id, id)) == 0 || strcmp(typed, short_id(&slot->id, brief)) == 0 ||
                   (slot->label[0] && strcmp(typed, slot->label) == 0));
}

static void say_removal(const KeyCommand *k, const SlotChoice *choice, bool done) {
  char id[SHORT_ID_LEN];
  AUTO_FREE char *label = str_printable(bytes_str(choice->slot.label));
  if (output_json_mode(k->ctx->output)) {
    json_t *doc = output_document("slot_removal");
    json_object_set_new(doc, "id", json_uuid(&choice->slot.id));
    json_object_set_new(doc, "kind", json_string(slot_kind_name(choice->slot.kind)));
    json_object_set_new(doc, "removed", json_boolean(done));
    json_object_set_new(doc, "slots_left", json_count(choice->total - 1));
    output_json(k->ctx->output, doc);
    return;
  }
  output_text(k->ctx->output,
              "%s slot %s (%s, \"%s\"); %zu slot%s %s.\nA new key epoch %s: what is written from then on does not open "
              "with it. What was written before\nstill does, for who has the secret and a copy of the repository.\n",
              done ? "removed" : "would remove", short_id(&choice->slot.id, id), slot_kind_name(choice->slot.kind),
              label, choice->total - 1, choice->total == 2 ? "" : "s", done ? "left" : "would be left",
              done ? "began" : "would begin");
  if (!done && uuid_equal(&choice->slot.id, &k->repo->slot))
    output_text(k->ctx->output, "This is the slot that opened the repository just now.\n");
}

static Error *remove_slot(KeyCommand *k) {
  char id[SHORT_ID_LEN];
  SlotChoice choice = {.wanted = args_operand(k->ctx->args, 0)};
  TRY(choose_slot(k, &choice));
  bool plan = args_given(k->ctx->args, OPT_PLAN);
  if (!plan && !is_confirmed(k, &choice.slot))
    return err_hint(
        err_new(ERR_USAGE, "slot %s would be removed: its name was not typed", short_id(&choice.slot.id, id)),
        "add --confirm %s when this is meant; --plan shows what would happen", short_id(&choice.slot.id, id));
  if (!plan) TRY(repo_slot_remove(k->repo, &choice.slot.id, k->ctx->cancel));
  say_removal(k, &choice, !plan);
  return NULL;
}

Error *cmd_key_rm(CliContext *ctx, const Args *args UNUSED) {
  KeyCommand k;
  TRY(key_begin(ctx, &k));
  return key_end(&k, remove_slot(&k));
}

Error *cmd_key_rotate(CliContext *ctx, const Args *args UNUSED) {
  KeyCommand k;
  TRY(key_begin(ctx, &k));
  Error *err = repo_epoch_new(k.repo, ctx->cancel);
  uint32_t epoch = k.repo->keys->epochs - 1;
  if (!err && output_json_mode(ctx->output)) {
    json_t *doc = output_document("epoch");
    json_object_set_new(doc, "epoch", json_integer((json_int_t)epoch));
    output_json(ctx->output, doc);
  } else if (!err) {
    output_text(ctx->output, "key epoch %u began: what is written from now on is under new keys\n", epoch);
  }
  return key_end(&k, err);
}
