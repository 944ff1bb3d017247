#include "repo/names.h"

#include "base/timefmt.h"
#include "repo/marker.h"
#include "repo/pack.h"
#include "repo/uuid.h"

enum { NUMBER_DIGITS = 8, TEXT_MAX = 64 };

/* The component at *at as a text; *at moves behind it and its slash. Empty when it is none that we give. */
static void component(const char **at, char out[TEXT_MAX]) {
  size_t len = strcspn(*at, "/");
  out[0] = '\0';
  if (len < TEXT_MAX) {
    memcpy(out, *at, len);
    out[len] = '\0';
  }
  *at += len;
  if (**at == '/') ++*at;
}

static bool take_uuid(const char **at) {
  char text[TEXT_MAX];
  Uuid id;
  component(at, text);
  return uuid_parse(text, &id);
}

static bool take_number(const char **at) {
  char text[TEXT_MAX];
  component(at, text);
  return strlen(text) == NUMBER_DIGITS && strspn(text, "0123456789") == NUMBER_DIGITS;
}

/* "<time>-<uuid>" */
static bool take_moment(const char **at) {
  char text[TEXT_MAX];
  uint64_t ns;
  Uuid id;
  component(at, text);
  char *dash = strrchr(text, '-');
  if (!dash || !uuid_parse(dash + 1, &id)) return false;
  *dash = '\0';
  return time_parse_key(text, &ns);
}

static bool take_record(const char **at) {
  char text[TEXT_MAX];
  component(at, text);
  if (strcmp(text, "begin") == 0 || strcmp(text, "end") == 0) return true;
  const char *number = text + strlen("beat-");
  return strncmp(text, "beat-", 5) == 0 && *number && strspn(number, "0123456789") == strlen(number);
}

static bool take_keyring(const char **at) {
  char kind[TEXT_MAX];
  if (!take_number(at)) return false;
  component(at, kind);
  if (strcmp(kind, "grant") == 0) return true;
  return (strcmp(kind, "slots") == 0 || strcmp(kind, "data") == 0) && take_uuid(at); /* a data key's id is as long */
}

static bool take_two(const char **at, bool (*first)(const char **), bool (*second)(const char **)) {
  return first(at) && second(at);
}

bool name_is_object(const char *key) {
  char folder[TEXT_MAX];
  Uuid id;
  if (strcmp(key, MARKER_KEY) == 0) return true;
  const char *at = key;
  component(&at, folder);
  bool good = false;
  if (strcmp(folder, "packs") == 0) return pack_name_parse(key, &id);
  if (strcmp(folder, "keys") == 0 || strcmp(folder, "index") == 0 || strcmp(folder, "damaged") == 0)
    good = take_uuid(&at);
  if (strcmp(folder, "plans") == 0) good = take_number(&at);
  if (strcmp(folder, "keyring") == 0) good = take_keyring(&at);
  if (strcmp(folder, "series") == 0) good = take_two(&at, take_uuid, take_number);
  if (strcmp(folder, "sessions") == 0) good = take_two(&at, take_uuid, take_record);
  if (strcmp(folder, "snapshots") == 0) good = take_two(&at, take_uuid, take_moment);
  return good && *at == '\0' && key[strlen(key) - 1] != '/';
}
