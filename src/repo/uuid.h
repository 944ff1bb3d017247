/* uuid.h: random identifiers and their text. */
#ifndef HF_REPO_UUID_H
#define HF_REPO_UUID_H

#include "repo/format.h"
#include "sys/sys.h"

enum { UUID_TEXT_LEN = 33 }; /* 32 hex digits and the end */

Uuid uuid_new(Sys *sys);
char *uuid_text(const Uuid *id, char out[UUID_TEXT_LEN]); /* returns out */
bool uuid_parse(const char *text, Uuid *out);             /* exactly 32 lower-case hex digits */

#endif
