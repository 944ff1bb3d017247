/* The configuration's text: whatever comes, it is refused with an error or loaded, shown and freed. */
#include <jansson.h>

#include "ops/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Config *config = NULL;
  Error *err = config_parse(bytes(data, size), "fuzz.yaml", &config);
  if (err) {
    CHECK(err_text(err)[0] != '\0');
    err_free(err);
    return 0;
  }
  AUTO_BUF Buf shown = {0};
  config_show(config, &shown);
  json_decref(config_show_json(config));
  config_free(config);
  /* What is shown is a configuration again. */
  Error *again = config_parse(buf_bytes(&shown), "shown.yaml", &config);
  CHECK(!again || err_is(again, ERR_LIMIT));
  if (!again) config_free(config);
  err_free(again);
  return 0;
}
