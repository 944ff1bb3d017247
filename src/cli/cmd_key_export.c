#include "base/mem.h"
#include "base/shell.h"
#include "base/timefmt.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/key_secret.h"
#include "cli/repositories.h"
#include "cli/version.h"
#include "codec/secret.h"
#include "ops/export_file.h"
#include "repo/uuid.h"
#include "sys/fs.h"

typedef struct KitCommand {
  CliContext *ctx;
  Workspace w;
  Repositories repositories;
  Repo *repo;
  char *target; /* NULL: standard output */
} KitCommand;

static void write_kit(const KitCommand *k, const NewSecret *code, const Slot *slot, Buf *out) {
  char repo[UUID_TEXT_LEN], slot_id[SHORT_ID_LEN], when[36];
  const RepositoryPlace *place = &k->repositories.items[0].place;
  AUTO_FREE char *path = str_printable(bytes_str(place->path));
  AUTO_FREE char *word = shell_quote(path);
  AUTO_FREE char *host = str_printable(bytes_str(k->w.host));
  buf_printf(out,
             "holdfast recovery kit\n"
             "=====================\n\n"
             "Repository   %s\n"
             "Address      %s\n"
             "             as seen from %s\n"
             "Printed      %s, by holdfast %s\n"
             "Key slot     %s\n\n"
             "Recovery code\n\n"
             "    %s\n\n"
             "Whoever has this code and a copy of the repository can read every backup in it.\n"
             "Keep it on paper, away from the machines it protects.\n\n"
             "To recover on a new machine\n\n"
             "  1. Install holdfast (this version or a newer one) and make the repository reachable.\n"
             "  2. Give it a key of the new machine's own:\n"
             "         holdfast key recover --repo %s --new-key-file /etc/holdfast/key\n"
             "     It asks for the code above.\n"
             "  3. See what there is, and bring it back:\n"
             "         holdfast ls --repo %s --key-file /etc/holdfast/key\n"
             "         holdfast restore SRC --to PATH --repo %s --key-file /etc/holdfast/key\n\n"
             "If this sheet is lost or was seen by others: print a new one, then `holdfast key rm %s --confirm %s`.\n",
             uuid_text(&k->repo->keys->repo, repo), path, host, time_format_local(sys_now_ns(k->ctx->sys), when),
             version_text(), short_id(&slot->id, slot_id), (const char *)code->data, word, word, word, slot_id,
             slot_id);
}

/* With a file, the code is there and nowhere else. */
static void print_json(const KitCommand *k, const NewSecret *code, const Slot *slot) {
  const RepositoryPlace *place = &k->repositories.items[0].place;
  json_t *doc = output_document("recovery_kit");
  json_object_set_new(doc, "repository", json_uuid(&k->repo->keys->repo));
  output_json_set_name(doc, "address", bytes_str(place->path));
  json_object_set_new(doc, "slot", json_uuid(&slot->id));
  json_object_set_new(doc, "file", json_text_or_null(k->target));
  json_object_set_new(doc, "recovery_code", k->target ? json_null() : json_string((const char *)code->data));
  output_json(k->ctx->output, doc);
}

static Error *write_file(ExportFile *take, Bytes text) {
  uint64_t written;
  Error *err = export_file_write(take, text);
  if (err) {
    export_file_abort(take);
    return err;
  }
  return export_file_finish(take, &written);
}

static Error *deliver(KitCommand *k, ExportFile *take, const NewSecret *code, const Slot *slot) {
  if (!take && output_json_mode(k->ctx->output)) {
    print_json(k, code, slot);
    return NULL;
  }
  AUTO_BUF Buf text = {0};
  buf_reserve(&text, 8192); /* one piece of memory, so that one wipe is enough */
  write_kit(k, code, slot, &text);
  Error *err = NULL;
  if (take)
    err = write_file(take, buf_bytes(&text));
  else
    output_bytes(k->ctx->output, buf_bytes(&text));
  secret_wipe(text.data, text.len);
  return err;
}

/* The file is begun before the slot is added: a name that is taken costs nothing. */
static Error *export_kit(KitCommand *k, const NewSecret *code) {
  ExportFile *file = NULL;
  Slot slot;
  Compression none = {.codec = CODEC_NONE};
  if (k->target) TRY(export_file_create(k->ctx->sys, k->target, none, &file));
  Error *err =
      repo_slot_add(k->repo, SLOT_RECOVERY, bytes(code->data, code->len), "recovery kit", &slot, k->ctx->cancel);
  if (err) {
    export_file_abort(file);
    return err;
  }
  err = deliver(k, file, code, &slot);
  if (err) return err_first(err, repo_slot_remove(k->repo, &slot.id, NULL));
  if (k->target && output_json_mode(k->ctx->output)) print_json(k, code, &slot);
  if (k->target)
    output_note(k->ctx->output, VERBOSITY_NORMAL, "wrote %s: print it, keep the paper safe, and remove the file",
                k->target);
  return NULL;
}

static Error *run(KitCommand *k) {
  const char *to = args_text(k->ctx->args, OPT_TO_FILE);
  if (to && strcmp(to, "-") != 0) TRY(fs_absolute(to, &k->target));
  TRY(repositories_open_one(&k->w, &k->repositories, &k->repo));
  NewSecret code = {0};
  new_secret_code(k->ctx->sys, &code);
  Error *err = export_kit(k, &code);
  new_secret_free(&code, false);
  return err;
}

Error *cmd_key_export(CliContext *ctx, const Args *args UNUSED) {
  KitCommand k = {.ctx = ctx};
  TRY(workspace_open(ctx, &k.w));
  Error *err = run(&k);
  repositories_close(&k.repositories);
  workspace_close(&k.w);
  free(k.target);
  return err;
}
