/* snapshot_json.h: what every JSON document about a snapshot says of it. */
#ifndef HF_CLI_SNAPSHOT_JSON_H
#define HF_CLI_SNAPSHOT_JSON_H

#include <jansson.h>

#include "repo/snapshot.h"

/* Adds id, source, engine, host, time, kind, parent, damaged, partial, description and labels. */
void snapshot_json_add(json_t *doc, const Snapshot *s);

#endif
