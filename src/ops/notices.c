#include "base/mem.h"
#include "ops/ops.h"

static void report(Notices *notices, NoticeLevel level, Bytes path, const char *message) {
  NoticeList *list = (NoticeList *)notices;
  AUTO_FREE char *name = str_printable(path);
  char *text = path.len ? mem_printf("%s: %s", name, message) : mem_strdup(message);
  list->ops->notice(list->ops->notice_ctx, level, path, message);
  LOCKED(&list->lock);
  if (level == NOTICE_WARNING) list->warnings++;
  if (level == NOTICE_PARTIAL) list->partial++;
  if (level == NOTICE_INFO || list->len == NOTICES_KEPT) {
    free(text);
    return;
  }
  if (!list->texts) list->texts = NEW_ARRAY(char *, NOTICES_KEPT);
  list->texts[list->len++] = text;
}

void notice_list_init(NoticeList *list, const Ops *ops) {
  *list = (NoticeList){.base = {.report = report}, .ops = ops};
  mutex_init(&list->lock, ops->sys);
}

void notice_list_free(NoticeList *list) {
  for (size_t i = 0; i < list->len; i++) free(list->texts[i]);
  free(list->texts);
  mutex_free(&list->lock);
}
