#include "cli/version.h"

#include <bzlib.h>
#include <cyaml/cyaml.h>
#include <jansson.h>
#include <lz4.h>
#include <lzma.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <sqlite3.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

#include "cli/build.h"
#include "cli/release.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

const char *version_text(void) { return HOLDFAST_RELEASE; }

void version_each(VersionVisit *visit, void *ctx) {
  visit(ctx, "version", HOLDFAST_RELEASE);
  visit(ctx, "build", HOLDFAST_BUILD);
  visit(ctx, "compiler", COMPILER);
  visit(ctx, "OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING));
  visit(ctx, "libsodium", sodium_version_string());
  visit(ctx, "SQLite", sqlite3_libversion());
  visit(ctx, "zstd", ZSTD_versionString());
  visit(ctx, "lz4", LZ4_versionString());
  visit(ctx, "zlib", zlibVersion());
  visit(ctx, "bzip2", BZ2_bzlibVersion());
  visit(ctx, "liblzma", lzma_version_string());
  visit(ctx, "jansson", jansson_version_str());
  visit(ctx, "libcyaml", cyaml_version_str);
  visit(ctx, "libyaml", yaml_get_version_string());
}

static void describe_part(void *ctx, const char *name, const char *version) {
  if (strcmp(name, "version") == 0 || strcmp(name, "build") == 0) return;
  buf_printf((Buf *)ctx, "  %s %s\n", name, version);
}

void version_describe(bool verbose, Buf *out) {
  buf_printf(out, "holdfast %s (%s)\n", HOLDFAST_RELEASE, HOLDFAST_BUILD);
  if (verbose) version_each(describe_part, out);
}
