#include "repo/uuid.h"

#include "base/str.h"

Uuid uuid_new(Sys *sys) {
  Uuid id;
  sys_random(sys, id.b, sizeof id.b);
  return id;
}

char *uuid_text(const Uuid *id, char out[UUID_TEXT_LEN]) {
  hex_encode(id->b, sizeof id->b, out);
  return out;
}

bool uuid_parse(const char *text, Uuid *out) {
  if (strlen(text) != 32) return false;
  for (const char *c = text; *c; c++)
    if (!((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'f'))) return false;
  return hex_decode(text, out->b, sizeof out->b);
}
