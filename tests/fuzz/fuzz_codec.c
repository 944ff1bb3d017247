/* Bytes that come out of a repository: frames to decompress and to decrypt, and sealed boxes. The first byte chooses
 * what is done, the next three a length; the rest is the input. Outputs are allocated to the byte, so that a sanitizer
 * sees the first one too many. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/aead.h"
#include "codec/compress.h"
#include "codec/kdf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAW_LEN_MAX = 1 << 20, ACTIONS = CODEC_COUNT + 4 };

static void fuzz_decompress(Codec codec, Bytes src, size_t raw_len) {
  Decompressor *d = decompressor_new();
  uint8_t *raw = malloc(raw_len ? raw_len : 1);
  CHECK(raw != NULL);
  for (int repeat = 0; repeat < 2; repeat++) { /* a context that has failed once must work again */
    Error *err = decompressor_run(d, codec, src, raw, raw_len);
    CHECK(!err || err_code(err) == ERR_CORRUPT || err_code(err) == ERR_UNSUPPORTED);
    err_free(err);
  }
  free(raw);
  decompressor_free(d);
}

/* What the fuzzer's bytes compress to must come back. */
static void fuzz_round_trip(Bytes src, unsigned choice) {
  static const char *const SETTINGS[] = {"zstd:1", "zstd:5", "lz4", "gzip:1", "bzip2:1", "xz:0"};
  Compression setting;
  CHECK(compression_parse(SETTINGS[choice % NELEMS(SETTINGS)], &setting) == NULL);
  Compressor *c = compressor_new(setting);
  Decompressor *d = decompressor_new();
  size_t cap = compressor_bound(src.len);
  uint8_t *packed = mem_alloc(cap + 1);
  uint8_t *raw = mem_alloc(src.len + 1);
  Codec used;
  size_t n = compressor_run(c, src.data, src.len, packed, cap, &used);
  if (used != CODEC_NONE) {
    CHECK(decompressor_run(d, used, bytes(packed, n), raw, src.len) == NULL);
    CHECK(memcmp(raw, src.data, src.len) == 0);
  }
  free(packed);
  free(raw);
  compressor_free(c);
  decompressor_free(d);
}

static void fuzz_aead(Bytes src, uint64_t number) {
  static const uint8_t key[AEAD_KEY_LEN] = {42};
  Aead *a = aead_new();
  aead_set_key(a, key);
  uint8_t *out = malloc(src.len > AEAD_TAG_LEN ? src.len - AEAD_TAG_LEN : 1);
  CHECK(out != NULL);
  err_free(aead_open(a, number, bytes_str("fuzz"), src, out));
  free(out);
  aead_free(a);
}

static void fuzz_box(Bytes src) {
  static const uint8_t seed[KEY_LEN] = {43};
  uint8_t public_key[BOX_PUBLIC_LEN];
  uint8_t secret_key[BOX_SECRET_LEN];
  box_keypair(seed, public_key, secret_key);
  uint8_t *out = malloc(src.len > BOX_OVERHEAD ? src.len - BOX_OVERHEAD : 1);
  CHECK(out != NULL);
  err_free(box_open(public_key, secret_key, src, out));
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Cursor c = cursor(bytes(data, size));
  unsigned action = cursor_u8(&c) % ACTIONS;
  size_t number = cursor_u8(&c) | (size_t)cursor_u16(&c) << 8;
  Bytes rest = cursor_take(&c, cursor_left(&c));
  if (c.failed) return 0;
  if (action <= CODEC_COUNT) /* one of them does not exist */
    fuzz_decompress((Codec)action, rest, number % (RAW_LEN_MAX + 1));
  else if (action == CODEC_COUNT + 1)
    fuzz_round_trip(rest, (unsigned)number);
  else if (action == CODEC_COUNT + 2)
    fuzz_aead(rest, number);
  else
    fuzz_box(rest);
  return 0;
}
