#include "cli/entry_text.h"

#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timefmt.h"

const char *entry_type_name(EntryType type) {
  switch (type) {
    case ENTRY_FILE: return "file";
    case ENTRY_DIR: return "directory";
    case ENTRY_SYMLINK: return "symlink";
    case ENTRY_HARDLINK: return "hardlink";
    case ENTRY_FIFO: return "fifo";
    case ENTRY_SOCKET: return "socket";
    case ENTRY_CHAR: return "char";
    case ENTRY_BLOCK: return "block";
  }
  return "unknown";
}

char *entry_mode_text(const Entry *e) {
  static const char letters[] = {
      [ENTRY_FILE] = '-', [ENTRY_DIR] = 'd',    [ENTRY_SYMLINK] = 'l', [ENTRY_HARDLINK] = 'h',
      [ENTRY_FIFO] = 'p', [ENTRY_SOCKET] = 's', [ENTRY_CHAR] = 'c',    [ENTRY_BLOCK] = 'b'};
  char text[11] = "?rwxrwxrwx";
  text[0] = letters[e->type];
  for (unsigned i = 0; i < 9; i++)
    if (!(e->mode & (1U << (8 - i)))) text[i + 1] = '-';
  if (e->mode & 04000) text[3] = text[3] == 'x' ? 's' : 'S';
  if (e->mode & 02000) text[6] = text[6] == 'x' ? 's' : 'S';
  if (e->mode & 01000) text[9] = text[9] == 'x' ? 't' : 'T';
  return mem_strdup(text);
}

char *entry_owner_text(Bytes name, uint32_t id) { return name.len ? str_printable(name) : mem_printf("%u", id); }

char *entry_mtime_text(int64_t ns) {
  time_t seconds = (time_t)(ns / (int64_t)NS_PER_SECOND - (ns % (int64_t)NS_PER_SECOND < 0));
  struct tm parts;
  char text[64] = "?";
  if (localtime_r(&seconds, &parts)) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return mem_strdup(text);
}

char *entry_path_text(const Entry *e) {
  AUTO_FREE char *printable = str_printable(e->path.len ? e->path : bytes_str("."));
  return mem_printf("%s%s", printable, e->type == ENTRY_DIR && e->path.len ? "/" : "");
}
