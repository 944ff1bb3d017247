/* info_facts.h: an engine's record of a snapshot, for people: names and values, indented; lists of the same things as
 * a table. */
#ifndef HF_CLI_INFO_FACTS_H
#define HF_CLI_INFO_FACTS_H

#include <jansson.h>

#include "base/buf.h"

/* Appends lines that begin with two blanks. */
void info_facts_print(const json_t *facts, Buf *out);

#endif
