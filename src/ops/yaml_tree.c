#include "ops/yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#include "base/mem.h"
#include "base/str.h"

typedef struct Builder {
  yaml_parser_t parser;
  const char *name;
  YamlNode *stack[YAML_DEPTH_MAX]; /* open mappings and sequences, borrowed from their parents */
  size_t depth;
  size_t nodes;
  YamlNode *root;
  char *key; /* of the open mapping, read and waiting for its value */
  unsigned key_line;
} Builder;

void yaml_tree_free(YamlNode *take) {
  if (!take) return;
  for (size_t i = 0; i < take->len; i++) yaml_tree_free(take->items[i]); /* at most YAML_DEPTH_MAX deep */
  free(take->items);
  free(take->key);
  free(take->text);
  free(take);
}

const YamlNode *yaml_get(const YamlNode *node, const char *key) {
  if (!node || node->kind != YAML_MAPPING) return NULL;
  for (size_t i = 0; i < node->len; i++)
    if (strcmp(node->items[i]->key, key) == 0) return node->items[i];
  return NULL;
}

static unsigned line_of(yaml_mark_t mark) { return (unsigned)mark.line + 1; }

static Error *bad(const Builder *b, unsigned line, const char *what) {
  return err_new(ERR_USAGE, "%s:%u: %s", b->name, line, what);
}

static Error *parser_error(const Builder *b) {
  const yaml_parser_t *p = &b->parser;
  AUTO_FREE char *problem = str_printable(bytes_str(p->problem ? p->problem : "not YAML"));
  unsigned line = line_of(p->error == YAML_READER_ERROR ? p->mark : p->problem_mark);
  if (p->error == YAML_MEMORY_ERROR) return err_new(ERR_LIMIT, "%s: too large", b->name);
  if (!p->context) return bad(b, line, problem);
  return err_new(ERR_USAGE, "%s:%u: %s (%s that begins in line %u)", b->name, line, problem, p->context,
                 line_of(p->context_mark));
}

static void append(YamlNode *parent, YamlNode *take) {
  MEM_ROOM(parent->items, parent->len, parent->cap, 4);
  parent->items[parent->len++] = take;
}

/* Puts a new node in its place. *out is borrowed from the tree. */
static Error *place(Builder *b, YamlKind kind, unsigned line, YamlNode **out) {
  if (++b->nodes > YAML_NODES_MAX) return err_new(ERR_LIMIT, "%s:%u: too many values", b->name, line);
  YamlNode *node = NEW(YamlNode);
  node->kind = kind;
  node->line = line;
  if (b->depth == 0) {
    b->root = node;
  } else {
    YamlNode *parent = b->stack[b->depth - 1];
    if (parent->kind == YAML_MAPPING) {
      node->key = STEAL(b->key);
      node->line = b->key_line;
    }
    append(parent, node);
  }
  *out = node;
  return NULL;
}

static Error *open_node(Builder *b, YamlKind kind, unsigned line) {
  if (b->depth > 0 && b->stack[b->depth - 1]->kind == YAML_MAPPING && !b->key)
    return bad(b, line, "a key must be a plain word");
  if (b->depth == YAML_DEPTH_MAX) return err_new(ERR_LIMIT, "%s:%u: nested too deep", b->name, line);
  YamlNode *node = NULL;
  TRY(place(b, kind, line, &node));
  b->stack[b->depth++] = node;
  return NULL;
}

static Error *take_key(Builder *b, const char *text, unsigned line) {
  /* Linear search would be quadratic over a hostile file; the schema has no mapping of more than a few dozen keys. */
  enum { KEYS_MAX = 256 };
  YamlNode *parent = b->stack[b->depth - 1];
  AUTO_FREE char *shown = str_printable(bytes_str(text));
  if (parent->len >= KEYS_MAX) return err_new(ERR_LIMIT, "%s:%u: too many keys", b->name, line);
  const YamlNode *before = yaml_get(parent, text);
  if (before)
    return err_new(ERR_USAGE, "%s:%u: \"%s\" is there already, in line %u", b->name, line, shown, before->line);
  b->key = mem_strdup(text);
  b->key_line = line;
  return NULL;
}

static Error *take_scalar(Builder *b, const yaml_event_t *event) {
  unsigned line = line_of(event->start_mark);
  const char *text = (const char *)event->data.scalar.value;
  if (strlen(text) != event->data.scalar.length) return bad(b, line, "a NUL character");
  if (b->depth > 0 && b->stack[b->depth - 1]->kind == YAML_MAPPING && !b->key) return take_key(b, text, line);
  YamlNode *node = NULL;
  TRY(place(b, YAML_SCALAR, line, &node));
  CHECK(node);
  node->text = mem_strdup(text);
  node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  return NULL;
}

static bool has_anchor_or_tag(const yaml_event_t *event) {
  switch (event->type) {
    case YAML_ALIAS_EVENT: return true;
    case YAML_SCALAR_EVENT: return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_MAPPING_START_EVENT: return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    case YAML_SEQUENCE_START_EVENT: return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    default: return false;
  }
}

static Error *take_event(Builder *b, const yaml_event_t *event, bool *end) {
  unsigned line = line_of(event->start_mark);
  if (has_anchor_or_tag(event)) return bad(b, line, "anchors (&), aliases (*) and tags (!) are not allowed here");
  switch (event->type) {
    case YAML_SCALAR_EVENT: return take_scalar(b, event);
    case YAML_MAPPING_START_EVENT: return open_node(b, YAML_MAPPING, line);
    case YAML_SEQUENCE_START_EVENT: return open_node(b, YAML_SEQUENCE, line);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: b->depth--; return NULL;
    case YAML_DOCUMENT_START_EVENT: return b->root ? bad(b, line, "a second document in one file") : NULL;
    case YAML_STREAM_END_EVENT: *end = true; return NULL;
    default: return NULL;
  }
}

static Error *build(Builder *b) {
  for (bool end = false; !end;) {
    yaml_event_t event;
    if (!yaml_parser_parse(&b->parser, &event)) return parser_error(b);
    Error *err = take_event(b, &event, &end);
    yaml_event_delete(&event);
    if (err) return err;
  }
  /* "---" alone, or nothing but comments. */
  if (b->root && b->root->kind == YAML_SCALAR && !b->root->quoted && b->root->text[0] == '\0')
    yaml_tree_free(STEAL(b->root));
  return NULL;
}

Error *yaml_tree_parse(Bytes text, const char *name, YamlNode **out) {
  if (text.len > YAML_BYTES_MAX) return err_new(ERR_LIMIT, "%s: larger than 1 MiB", name);
  Builder b = {.name = name};
  if (!yaml_parser_initialize(&b.parser)) return err_new(ERR_INTERNAL, "%s: no memory for a parser", name);
  yaml_parser_set_input_string(&b.parser, text.data ? text.data : (const unsigned char *)"", text.len);
  yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
  Error *err = build(&b);
  yaml_parser_delete(&b.parser);
  free(b.key);
  if (err) {
    yaml_tree_free(b.root);
    return err;
  }
  *out = b.root;
  return NULL;
}

/* ---- problems ------------------------------------------------------------------------------------------------------
 */

void problem_add(Problems *problems, unsigned line, const char *fmt, ...) {
  size_t at = problems->count++;
  if (at >= PROBLEMS_MAX) return;
  va_list args;
  va_start(args, fmt);
  char *text = mem_vprintf(fmt, args);
  va_end(args);
  problems->list[at] = (Problem){.line = line, .order = at, .text = text};
}

static int compare_problems(const void *a, const void *b) {
  const Problem *x = (const Problem *)a, *y = (const Problem *)b;
  if (x->line != y->line) return x->line < y->line ? -1 : 1;
  return x->order < y->order ? -1 : 1;
}

Error *problems_finish(Problems *problems) {
  if (problems->count == 0) return NULL;
  size_t shown = problems->count < PROBLEMS_MAX ? problems->count : PROBLEMS_MAX;
  qsort(problems->list, shown, sizeof *problems->list, compare_problems);
  AUTO_BUF Buf text = {0};
  for (size_t i = 0; i < shown; i++) {
    Problem *p = &problems->list[i];
    buf_printf(&text, "%s%s:%u: %s", i > 0 ? "\n" : "", problems->file, p->line, p->text);
    free(p->text);
  }
  if (shown < problems->count) buf_printf(&text, "\n%s: and %zu more", problems->file, problems->count - shown);
  problems->count = 0;
  AUTO_FREE char *lines = buf_steal_str(&text);
  return err_new(ERR_USAGE, "%s", lines);
}
