#include "ops/address.h"

#include "base/mem.h"
#include "base/shell.h"
#include "base/str.h"
#include "base/suggest.h"
#include "base/timefmt.h"
#include "sys/fs.h"

static const char *const types[] = {"sqlite", "files", "command", "postgresql", "mysql"};

/* ---- sources -------------------------------------------------------------------------------------------------------
 */

/* The type that `text` begins with, and *rest behind its colon; NULL when there is none. */
static const char *type_of(const char *text, const char **rest) {
  const char *colon = strchr(text, ':');
  if (!colon) return NULL;
  for (size_t i = 0; i < NELEMS(types); i++) {
    if (!bytes_equal(bytes(text, (size_t)(colon - text)), bytes_str(types[i]))) continue;
    *rest = colon + 1;
    return types[i];
  }
  return NULL;
}

static Error *absolute(const char *path, char **out) {
  const char *home = path[0] == '~' && path[1] == '/' ? getenv("HOME") : NULL; /* no shell expands it behind "files:" */
  if (!home) return fs_absolute(path, out);
  AUTO_FREE char *full = mem_printf("%s%s", home, path + 1);
  return fs_absolute(full, out);
}

static Error *bare_path(const char *text) {
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  return err_hint(err_new(ERR_USAGE, "%s: it is not said what that is", shown),
                  "write files:%s for files, sqlite:%s for a database", shown, shown);
}

static Error *unknown_type(const char *text, size_t len) {
  AUTO_FREE char *shown = str_printable(bytes(text, len));
  Suggestion s = {0};
  for (size_t i = 0; i < NELEMS(types); i++) suggest(&s, bytes(text, len), types[i]);
  Error *err = err_new(ERR_USAGE, "%s: there is no such type of source", shown);
  if (s.best) return err_hint(err, "did you mean %s:?", s.best);
  return err_hint(err, "the types are sqlite, files, command, postgresql and mysql");
}

/* What is no address is a name: of the configuration, or as a repository has it ("db1:sqlite:/srv/app.db"). */
static Error *parse_name(const char *text, SourceAddress *out) {
  if (text[0] == '/' || text[0] == '~' || str_starts(text, "./") || str_starts(text, "../") || strcmp(text, ".") == 0)
    return bare_path(text);
  const char *colon = strchr(text, ':'), *ignored;
  if (colon && !type_of(colon + 1, &ignored)) return unknown_type(text, (size_t)(colon - text));
  *out = (SourceAddress){.rest = mem_strdup(text)};
  return NULL;
}

Error *source_address_parse(const char *text, SourceAddress *out) {
  if (text[0] == '\0') return err_new(ERR_USAGE, "the source is an empty text");
  const char *rest;
  const char *type = type_of(text, &rest);
  if (!type) return parse_name(text, out);
  if (rest[strspn(rest, " \t")] == '\0') return err_new(ERR_USAGE, "%s: nothing stands after the colon", text);
  char *owned = NULL;
  if (strcmp(type, "sqlite") == 0 || strcmp(type, "files") == 0)
    TRY(absolute(rest, &owned));
  else
    owned = mem_strdup(rest);
  *out = (SourceAddress){.type = mem_strdup(type), .rest = owned};
  return NULL;
}

void source_address_free(SourceAddress *address) {
  free(address->type);
  free(address->rest);
  *address = (SourceAddress){0};
}

char *source_command_address(const char *line) {
  AUTO_FREE char *program = shell_program(line);
  return mem_printf("command:%s", program);
}

char *source_address_text(const SourceAddress *address) {
  if (address->type && strcmp(address->type, "command") == 0) return source_command_address(address->rest);
  AUTO_FREE char *rest = str_printable(bytes_str(address->rest));
  return address->type ? mem_printf("%s:%s", address->type, rest) : STEAL(rest);
}

char *source_address_name(const char *host, const SourceAddress *address) {
  AUTO_FREE char *text = source_address_text(address);
  return address->type ? mem_printf("%s:%s", host, text) : mem_strdup(text);
}

/* ---- moments -------------------------------------------------------------------------------------------------------
 */

static bool parse_snapshot(const char *text, char out[65]) {
  size_t len = strlen(text);
  if (len < 4 || len > 64) return false;
  for (size_t i = 0; i < len; i++) {
    char c = text[i];
    if (c >= 'A' && c <= 'F') c = (char)(c - 'A' + 'a');
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    out[i] = c;
  }
  out[len] = '\0';
  return true;
}

Error *when_parse(const char *text, uint64_t now_ns, When *out) {
  When when = {.said = true};
  if (strcmp(text, "latest") == 0) {
    when.kind = WHEN_LATEST;
  } else if (parse_snapshot(text, when.snapshot)) {
    when.kind = WHEN_SNAPSHOT;
  } else {
    when.kind = WHEN_TIME;
    Error *err = time_parse(text, now_ns, &when.time_ns);
    if (err) {
      err_free(err);
      AUTO_FREE char *shown = str_printable(bytes_str(text));
      return err_hint(err_new(ERR_USAGE, "\"%s\" is no moment", shown),
                      "write a snapshot's id, latest, a time like 2026-11-20T09:30 or a time ago like -2h");
    }
  }
  *out = when;
  return NULL;
}

Error *source_when_split(const char *text, uint64_t now_ns, char **out_src, When *out_when, char **out_suspect) {
  When when = {.kind = WHEN_LATEST};
  const char *at = strrchr(text, '@');
  Error *no_moment = at ? when_parse(at + 1, now_ns, &when) : NULL;
  bool split = at && !no_moment;
  if (at == text && split) {
    return err_hint(err_new(ERR_USAGE, "%s: the source is missing before the @", text),
                    "a snapshot's id needs no source where a SNAPSHOT is asked for");
  }
  *out_src = split ? mem_strndup(text, (size_t)(at - text)) : mem_strdup(text);
  if (out_suspect) *out_suspect = no_moment ? mem_strdup(at + 1) : NULL;
  *out_when = when;
  err_free(no_moment);
  return NULL;
}

/* ---- repositories --------------------------------------------------------------------------------------------------
 */

static Error *decode_percent(const char *text, char **out) {
  AUTO_BUF Buf buf = {0};
  for (const char *p = text; *p; p++) {
    if (*p != '%') {
      buf_add(&buf, p, 1);
      continue;
    }
    uint8_t byte = 0;
    AUTO_FREE char *digits = mem_strndup(p + 1, 2);
    if (!hex_decode(digits, &byte, 1) || byte == 0)
      return err_hint(err_new(ERR_USAGE, "%s: %% is not followed by two hex digits", text), "write %%25 for %%");
    buf_add(&buf, &byte, 1);
    p += 2;
  }
  *out = buf_steal_str(&buf);
  return NULL;
}

/* What stands behind "file:". */
static Error *parse_file_url(const char *rest, char **out) {
  AUTO_FREE char *path = NULL;
  if (str_starts(rest, "//localhost/")) rest += strlen("//localhost");
  if (str_starts(rest, "//") && rest[2] != '/')
    return err_hint(err_new(ERR_USAGE, "file:%s: a file URL names no other host", rest), "write file:///path");
  TRY(decode_percent(rest, &path));
  CHECK(path);
  if (path[0] == '\0') return err_new(ERR_USAGE, "file: nothing stands after the colon");
  return fs_absolute(path, out);
}

/* "s3" of "s3://…": letters, digits, '+', '-', '.' before a colon and two slashes. */
static size_t scheme_len(const char *text) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
  size_t len = strspn(text, allowed);
  return len > 0 && str_starts(text + len, "://") ? len : 0;
}

Error *repository_path(const char *text, char **out) {
  if (text[0] == '\0') return err_new(ERR_USAGE, "the repository is an empty text");
  if (str_starts(text, "file:")) return parse_file_url(text + strlen("file:"), out);
  size_t scheme = scheme_len(text);
  if (scheme > 0)
    return err_hint(err_new(ERR_UNSUPPORTED, "%.*s: this build has no such store", (int)scheme, text),
                    "use a path or file:///path");
  return absolute(text, out);
}
