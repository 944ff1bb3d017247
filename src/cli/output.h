/* output.h: everything a command prints. Data goes to standard output, everything else to standard error.
 *
 * A command prints its result either as text and tables or, with --json, as JSON documents; `output_json_mode` says
 * which. Notes, warnings and errors are never data. An Output is thread-safe: whole lines, never mixed, and a progress
 * bar on the terminal is taken away before a line is written there.
 */
#ifndef HF_CLI_OUTPUT_H
#define HF_CLI_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"

typedef struct Output Output;

typedef enum Verbosity { VERBOSITY_QUIET, VERBOSITY_NORMAL, VERBOSITY_VERBOSE, VERBOSITY_DEBUG } Verbosity;

typedef struct OutputOptions {
  FILE *data;  /* borrowed; standard output */
  FILE *notes; /* borrowed; standard error */
  bool json;
  Verbosity verbosity;
} OutputOptions;

Output *output_new(const OutputOptions *options);
void output_free(Output *take);
bool output_json_mode(const Output *out);
Verbosity output_verbosity(const Output *out);

/* ---- data ----------------------------------------------------------------------------------------------------------
 */

/* Text as it is; no line end is added. */
void output_text(Output *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
void output_bytes(Output *out, Bytes data);

/* A JSON object with "type" and "v" set; owned. Every document starts with it. */
json_t *output_document(const char *type);
/* One line, one document. */
void output_json(Output *out, json_t *take);
/* Names of any bytes as a JSON string, escaped like in text. Owned. */
json_t *output_json_name(Bytes name);
/* Sets `key` to the name. Escaping loses the difference between a byte and the text of its escape: where something was
 * escaped, KEY_hex holds the bytes. So without KEY_hex, KEY is the name itself. */
void output_json_set_name(json_t *object, const char *key, Bytes name);

/* Aligned columns for people. Cells are escaped (str_printable) and never cut or wrapped. */
typedef struct Table Table;
typedef enum Align { ALIGN_LEFT, ALIGN_RIGHT } Align;
Table *table_new(size_t columns);
void table_free(Table *take);
/* NULL: a column without heading; no headings at all: no heading line. */
void table_column(Table *table, size_t column, const char *heading, Align align);
/* One cell after the other, row by row; NULL is an empty cell. */
void table_cell(Table *table, const char *text);
void table_cell_bytes(Table *table, Bytes text);
void table_cellf(Table *table, const char *fmt, ...) PRINTF_LIKE(2, 3);
void output_table(Output *out, const Table *table);

/* Flushes standard output; ERR_IO or ERR_NO_SPACE when anything written to it was lost, unless its reader left. */
Error *output_finish(Output *out) NODISCARD;

/* ---- everything else -----------------------------------------------------------------------------------------------
 */

/* A line on standard error, from this verbosity on. */
void output_note(Output *out, Verbosity from, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "holdfast: warning: …", unless quiet. */
void output_warning(Output *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "holdfast: doing: what: why" and "hint: …"; with --json
 * {"type":"error","v":1,"code":…,"message":…,"hint":…,"exit":…}, on standard error. */
void output_error(Output *out, const Error *err, int exit_code);

/* One line of JSON on standard error, unless quiet. */
void output_json_note(Output *out, json_t *take);

/* For the progress bar: replaces the last line of the terminal; NULL takes it away. */
void output_bar(Output *out, const char *line);

/* Columns a text takes on a terminal: combining marks none, wide characters two. */
size_t text_width(const char *text);

#endif
