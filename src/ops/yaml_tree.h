/* yaml_tree.h: a YAML document as a tree that remembers lines, for messages that name them.
 *
 * Configuration is data from people and from tools: one document, UTF-8, no anchors, aliases or tags (so no document
 * grows beyond what was written), no duplicate keys, no NUL, bounded size, depth and number of nodes.
 */
#ifndef HF_OPS_YAML_TREE_H
#define HF_OPS_YAML_TREE_H

#include "base/buf.h"

enum { YAML_BYTES_MAX = 1 << 20, YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 100000 };

typedef enum YamlKind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE } YamlKind;

typedef struct YamlNode YamlNode;
struct YamlNode {
  YamlKind kind;
  unsigned line; /* from 1; of a mapping's member: its key's line */
  char *key;     /* of a mapping's member; NULL elsewhere */
  char *text;    /* of a scalar, UTF-8 */
  bool quoted;   /* of a scalar: an empty plain one is null */
  YamlNode **items;
  size_t len, cap;
};

/* *out is NULL for a document that holds nothing. ERR_USAGE "NAME:12: …"; ERR_LIMIT beyond the limits. */
Error *yaml_tree_parse(Bytes text, const char *name, YamlNode **out) NODISCARD;
void yaml_tree_free(YamlNode *take);
/* The member of a mapping; NULL when there is none, or when node is NULL or no mapping. */
const YamlNode *yaml_get(const YamlNode *node, const char *key);

/* Mistakes in one file, each with its line. */
enum { PROBLEMS_MAX = 30 };
typedef struct Problem {
  unsigned line;
  size_t order; /* of finding: equal lines stay in it */
  char *text;
} Problem;
typedef struct Problems {
  const char *file;
  Problem list[PROBLEMS_MAX];
  size_t count; /* may be above PROBLEMS_MAX: only counted then */
} Problems;
void problem_add(Problems *problems, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* NULL when there are none, else ERR_USAGE with a line each, in the order of lines. Empties the collection. */
Error *problems_finish(Problems *problems) NODISCARD;

#endif
