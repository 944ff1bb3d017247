/* golden.h: what the generator and the test of golden repositories agree on. The keys are for these repositories only.
 */
#ifndef HF_TESTS_GOLDEN_H
#define HF_TESTS_GOLDEN_H

#include "base/mem.h"

#include "repo_tools.h"

/* Small, with every kind of content. */
static inline Model golden_model(uint64_t *seed) {
  Model model = {0};
  tools_add_random(&model, "a/empty", false, 0, seed);
  tools_add_random(&model, "a/one", false, 700, seed);
  tools_add_random(&model, "a/two", false, 3000, seed);
  tools_add_random(&model, "db", true, 131072 + 4096 + 17, seed);
  tools_add_random(&model, "list", false, 70 * 1000, seed);
  uint8_t *long_data = NEW_ARRAY(uint8_t, 2 * MIB); /* mostly holes: a long list of pieces in few bytes */
  for (size_t i = 0; i < 16; i++) model_fill(long_data + i * 128 * KIB, 1000, seed);
  model_set(&model, "long", false, long_data, 2 * MIB);
  free(long_data);
  return model;
}

#define GOLDEN_PASSPHRASE "the passphrase of the golden repository"

#endif
