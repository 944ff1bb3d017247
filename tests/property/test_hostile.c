/* A repository made by somebody who has the keys and means harm: frames that decode to more than they say, counts that
 * nothing stands behind, trees that are too deep or lead out of the target, an index that lies. Reading it ends in an
 * error that names something, writes nothing outside a file's own length, and takes no more memory than reading an
 * honest one. */
#include <sys/resource.h>

#include "base/mem.h"
#include "codec/secret.h"
#include "repo/frames.h"
#include "repo/packer.h"
#include "repo/pagemap.h"
#include "repo/restore.h"
#include "repo/tree_node.h"
#include "repo/uuid.h"
#include "store/store_memory.h"

#include "repo_tools.h"
#include "testing.h"

enum { FORGE_PART = FRAME_RAW_MAX + 64 * 1024, MEMORY_KIB = 160 * 1024 };

/* ---- forging
 * --------------------------------------------------------------------------------------------------------------- */

typedef struct Forge {
  Store *store;
  Repo *repo;
  Session session;
  Packer *data, *meta;
  Sealer *sealers[2];
  SegmentBuilder *segment;
} Forge;

static Error *forge_pack_done(void *ctx, const PackDone *pack) {
  Forge *f = (Forge *)ctx;
  segment_builder_add(f->segment, &pack->id, pack->size, &pack->key, 1, pack->frames, pack->frames_len);
  return NULL;
}

static Packer *forge_packer(Forge *f, PackKeyKind kind) {
  Packer *packer;
  PackerOptions o = {.kind = kind,
                     .series = f->session.series,
                     .target_size = PACK_SIZE_MAX,
                     .part_size = FORGE_PART,
                     .parts = 4,
                     .writers = 1,
                     .done = forge_pack_done,
                     .ctx = f};
  assert_ok(keys_class(f->repo->keys, 0, KEY_CLASS_META, &o.series, o.meta_key));
  memcpy(o.ref, o.series.b, sizeof o.ref);
  memcpy(o.base_key, o.meta_key, sizeof o.base_key);
  if (kind == PACK_KEY_DATA) assert_ok(repo_data_key_new(f->repo, o.ref, o.base_key, NULL));
  assert_ok(packer_new(f->repo, &o, NULL, &packer));
  return packer;
}

static Forge forge_new(void) {
  Forge f = {.store = store_memory_new(sys_real())};
  f.repo = tools_init(sys_real(), f.store, NULL);
  Series series = {.name = mem_strdup("m"),
                   .engine = mem_strdup("files"),
                   .address = mem_strdup("files:/m"),
                   .host = mem_strdup("h"),
                   .host_id = mem_strdup("h"),
                   .identity = mem_strdup("")};
  assert_ok(series_create(f.repo, &series, NULL));
  assert_ok(session_begin(f.repo, &series.id, "h", &f.session, NULL));
  series_free(&series);
  f.segment = segment_builder_new();
  f.sealers[0] = sealer_new();
  f.sealers[1] = sealer_new();
  return f;
}

static void forge_free(Forge *f) {
  sealer_free(f->sealers[0]);
  sealer_free(f->sealers[1]);
  segment_builder_free(f->segment);
  repo_free(f->repo);
  store_free(f->store);
}

/* The packers hold what they point to: the forge must not move any more. */
static void forge_frame(Forge *f, FrameType type, const FrameId *id, Codec codec, size_t raw, Bytes payload) {
  if (!f->data) f->data = forge_packer(f, PACK_KEY_DATA);
  if (!f->meta) f->meta = forge_packer(f, PACK_KEY_META);
  bool data = type == FRAME_DATA;
  assert_ok(packer_put(data ? f->data : f->meta, f->sealers[data], type, id, codec, (uint32_t)raw, payload));
}

/* An honest frame around whatever bytes. */
static FrameId forge_raw(Forge *f, FrameType type, Bytes raw) {
  FrameId id = keys_frame_id(f->repo->keys, type, raw);
  forge_frame(f, type, &id, CODEC_NONE, raw.len, raw);
  return id;
}

static void forge_flush(Forge *f) {
  Packer *packers[] = {f->data, f->meta};
  for (size_t i = 0; i < NELEMS(packers); i++) {
    if (packers[i]) assert_ok(packer_flush(packers[i]));
    packer_free(packers[i]);
  }
  f->data = f->meta = NULL;
}

static void forge_publish(Forge *f) {
  Index *index;
  uint64_t bytes_out = 0;
  assert_ok(index_open(f->repo, &index, NULL));
  assert_ok(index_publish(index, f->segment, &bytes_out, NULL));
  index_free(index);
}

static void forge_commit(Forge *f, const TreeRoot *root) {
  forge_flush(f);
  forge_publish(f);
  char name[] = "m", engine[] = "files", facts[] = "{}";
  Snapshot s = {.id = f->session.snapshot,
                .series = f->session.series,
                .source = name,
                .engine = engine,
                .facts_json = facts,
                .time_ns = f->session.started_ns,
                .root = *root};
  assert_ok(snapshot_commit(f->repo, &f->session, &s, NULL));
}

/* A leaf of one file of this size and content. */
static TreeRoot forge_file(Forge *f, uint64_t size, const Content *content) {
  TreeEntry entry = {.entry = {.type = ENTRY_FILE, .mode = 0644, .size = size}, .content = *content};
  AUTO_BUF Buf leaf = {0};
  buf_put_u8(&leaf, 0);
  buf_put_var(&leaf, 1);
  buf_put_var(&leaf, 0);
  buf_put_bytes(&leaf, bytes_str("file"));
  tree_entry_encode(&entry, &(TreeContext){0}, &leaf);
  return (TreeRoot){.id = forge_raw(f, FRAME_TREE, buf_bytes(&leaf)), .entries = 1, .bytes = size};
}

static Content one_piece(const FrameId *id, size_t len) {
  Content c = {.kind = CONTENT_LIST};
  c.list.len = 1;
  c.list.pieces[0] = (ContentPiece){.len = (uint32_t)len, .id = *id};
  return c;
}

/* ---- reading it
 * ------------------------------------------------------------------------------------------------------------ */

typedef struct Reading {
  unsigned created, failed, good;
  uint64_t written;
  bool astray;
} Reading;

typedef struct ReadFile {
  uint64_t size;
} ReadFile;

static bool select_all(void *ctx UNUSED, const Entry *entry) {
  /* What an engine is asked for stays below its target. */
  CHECK(entry_path_valid(entry->path));
  return true;
}

static Error *create_file(void *ctx, const Entry *entry, void **out) {
  ReadFile *file = NEW(ReadFile);
  file->size = entry->size;
  ((Reading *)ctx)->created++;
  *out = file;
  return NULL;
}

static Error *write_file(void *ctx, void *handle, uint64_t offset, Bytes data) {
  Reading *r = (Reading *)ctx;
  uint64_t size = ((ReadFile *)handle)->size;
  if (offset > size || data.len > size - offset) __atomic_store_n(&r->astray, true, __ATOMIC_RELAXED);
  __atomic_add_fetch(&r->written, data.len, __ATOMIC_RELAXED);
  return NULL;
}

static Error *finish_file(void *ctx, void *handle, const Error *failed) {
  Reading *r = (Reading *)ctx;
  if (failed)
    r->failed++;
  else
    r->good++;
  free(handle);
  return NULL;
}

static Error *restore_root(Repo *repo, const TreeRoot *root, Reading *r) {
  static const RestoreOps ops = {
      .select = select_all, .create = create_file, .write = write_file, .finish = finish_file};
  Index *index;
  TRY(index_open_reading(repo, &index, NULL));
  RestoreOptions options = {.workers = 2};
  RestoreStats stats;
  Error *err = restore_fetch(repo, index, root, &ops, r, &options, &stats, NULL);
  index_free(index);
  assert_false(r->astray);
  return err;
}

/* A sanitizer keeps memory of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

static void expect_little_memory(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  if (!HAS_SANITIZER && usage.ru_maxrss > MEMORY_KIB) fail_msg("%ld KiB of memory", usage.ru_maxrss);
}

/* Restoring fails, verification at this level says so, and both leave memory as it was. */
static void expect_refused(Forge *f, const TreeRoot *root, unsigned level) {
  forge_commit(f, root);
  Reading r = {0};
  Error *err = restore_root(f->repo, root, &r);
  assert_non_null(err);
  if (!err_is(err, ERR_CORRUPT) && !err_is(err, ERR_LIMIT)) fail_msg("%s", err_text(err));
  assert_int_equal(r.good, 0);
  err_free(err);
  uint64_t damaged = 0;
  AUTO_FREE char *first = NULL;
  assert_ok(model_verify(f->repo, level, &damaged, &first));
  if (damaged == 0) fail_msg("verification at level %u finds nothing", level);
  assert_true(str_starts(first, "snapshots/") || str_starts(first, "packs/"));
  forge_free(f);
  expect_little_memory();
}

/* ---- frames
 * ---------------------------------------------------------------------------------------------------------------- */

static const char *const codecs[] = {"zstd:1", "lz4", "gzip:1", "bzip2:1", "xz:0"};

/* `real` zeros, compressed. */
static Buf compressed_zeros(const char *setting, size_t real, Codec *codec) {
  Compression c;
  assert_ok(compression_parse(setting, &c));
  Compressor *compressor = compressor_new(c);
  AUTO_FREE uint8_t *zeros = (uint8_t *)mem_alloc(real);
  memset(zeros, 0, real);
  Buf out = {0};
  size_t cap = compressor_bound(real);
  uint8_t *at = buf_grow(&out, cap);
  out.len = compressor_run(compressor, zeros, real, at, cap, codec);
  assert_int_not_equal(*codec, CODEC_NONE);
  compressor_free(compressor);
  return out;
}

/* A frame of `claimed` bytes that decodes to `real`. */
static void check_bomb(const char *setting, size_t claimed, size_t real) {
  Forge f = forge_new();
  Codec codec;
  AUTO_BUF Buf payload = compressed_zeros(setting, real, &codec);
  AUTO_FREE uint8_t *zeros = (uint8_t *)mem_alloc(claimed);
  memset(zeros, 0, claimed);
  FrameId id = keys_frame_id(f.repo->keys, FRAME_DATA, bytes(zeros, claimed)); /* the id of what it says it is */
  forge_frame(&f, FRAME_DATA, &id, codec, claimed, buf_bytes(&payload));
  Content content = one_piece(&id, claimed);
  TreeRoot root = forge_file(&f, claimed, &content);
  expect_refused(&f, &root, 3);
}

static void test_bombs(void **state UNUSED) {
  for (size_t i = 0; i < NELEMS(codecs); i++) {
    check_bomb(codecs[i], FRAME_RAW_MAX, FRAME_RAW_MAX + 1);
    check_bomb(codecs[i], FRAME_RAW_MAX, 24 * MIB);
    check_bomb(codecs[i], MIB, 3 * MIB);
    check_bomb(codecs[i], MIB, MIB - 1); /* and one that decodes to less */
  }
}

/* Metadata that decodes to more. */
static void test_bomb_in_tree(void **state UNUSED) {
  Forge f = forge_new();
  Codec codec;
  AUTO_BUF Buf payload = compressed_zeros("zstd:1", 24 * MIB, &codec);
  FrameId id = {{7}};
  forge_frame(&f, FRAME_TREE, &id, codec, FRAME_RAW_MAX, buf_bytes(&payload));
  TreeRoot root = {.id = id, .entries = 1};
  expect_refused(&f, &root, 1);
}

/* Bytes that are not those of the id. */
static void test_garbage_under_an_id(void **state UNUSED) {
  Forge f = forge_new();
  FrameId id = keys_frame_id(f.repo->keys, FRAME_DATA, bytes_str("what it should be"));
  forge_frame(&f, FRAME_DATA, &id, CODEC_NONE, 17, bytes_str("what it is, alas!"));
  Content content = one_piece(&id, 17);
  TreeRoot root = forge_file(&f, 17, &content);
  expect_refused(&f, &root, 3);
}

/* A frame that is shorter than the map says; a slice that reaches behind its frame; a map that is shorter than the
 * file. */
static void test_maps_beyond_frames(void **state UNUSED) {
  for (int kind = 0; kind < 3; kind++) {
    Forge f = forge_new();
    FrameId id = forge_raw(&f, FRAME_DATA, bytes_str("0123456789"));
    Content content = one_piece(&id, 4000);
    if (kind == 1) content = (Content){.kind = CONTENT_SLICE, .slice = {.id = id, .offset = 8, .len = 4000}};
    if (kind == 2) content = one_piece(&id, 10);
    TreeRoot root = forge_file(&f, 4000, &content);
    forge_commit(&f, &root);
    Reading r = {0};
    Error *err = restore_root(f.repo, &root, &r);
    assert_true(err_is(err, ERR_CORRUPT));
    assert_int_equal(r.good, 0);
    err_free(err);
    forge_free(&f);
  }
}

/* ---- trees
 * ------------------------------------------------------------------------------------------------------------------ */

static void check_path(Bytes path, EntryType type, Bytes target) {
  Forge f = forge_new();
  TreeEntry entry = {.entry = {.type = type, .mode = 0644, .target = target}};
  AUTO_BUF Buf leaf = {0};
  buf_put_u8(&leaf, 0);
  buf_put_var(&leaf, 1);
  buf_put_var(&leaf, 0);
  buf_put_bytes(&leaf, path);
  tree_entry_encode(&entry, &(TreeContext){0}, &leaf);
  TreeRoot root = {.id = forge_raw(&f, FRAME_TREE, buf_bytes(&leaf)), .entries = 1};
  expect_refused(&f, &root, 1);
}

static void test_paths(void **state UNUSED) {
  static const char *const bad[] = {"..", "../x", "a/..", "a/../../x", ".", "./a", "/etc/passwd", "a//b", "a/", "/"};
  for (size_t i = 0; i < NELEMS(bad); i++) check_path(bytes_str(bad[i]), ENTRY_FILE, bytes(NULL, 0));
  check_path(bytes("a\0b", 3), ENTRY_FILE, bytes(NULL, 0));
  check_path(bytes_str("link"), ENTRY_HARDLINK, bytes_str("../../etc/passwd"));
  check_path(bytes_str("link"), ENTRY_HARDLINK, bytes_str("/etc/passwd"));
  check_path(bytes_str("link"), ENTRY_SYMLINK, bytes("a\0b", 3));
}

static void add_item(Buf *leaf, size_t shared, Bytes rest) {
  TreeEntry entry = {.entry = {.type = ENTRY_DIR, .mode = 0755}};
  buf_put_var(leaf, shared);
  buf_put_bytes(leaf, rest);
  tree_entry_encode(&entry, &(TreeContext){0}, leaf);
}

/* Names that come twice, or out of order. */
static void test_order(void **state UNUSED) {
  static const char *const pairs[][2] = {{"a", "a"}, {"b", "a"}, {"a/b", "a"}, {"a.b", "a/b"}, {"b", ""}};
  for (size_t i = 0; i < NELEMS(pairs); i++) {
    Forge f = forge_new();
    AUTO_BUF Buf leaf = {0};
    buf_put_u8(&leaf, 0);
    buf_put_var(&leaf, 2);
    add_item(&leaf, 0, bytes_str(pairs[i][0]));
    add_item(&leaf, 0, bytes_str(pairs[i][1]));
    TreeRoot root = {.id = forge_raw(&f, FRAME_TREE, buf_bytes(&leaf)), .entries = 2};
    expect_refused(&f, &root, 1);
  }
}

/* A megabyte of path, and a thousand more entries that share all of it. */
static void test_path_bomb(void **state UNUSED) {
  enum { COMPONENT = 4000, COMPONENTS = 250, ENTRIES = 1000 };
  Forge f = forge_new();
  AUTO_BUF Buf leaf = {0}, path = {0};
  for (int i = 0; i < COMPONENTS; i++) {
    if (i) buf_put_u8(&path, '/');
    memset(buf_grow(&path, COMPONENT), 'a', COMPONENT);
  }
  buf_put_u8(&leaf, 0);
  buf_put_var(&leaf, ENTRIES);
  add_item(&leaf, 0, buf_bytes(&path));
  for (int i = 1; i < ENTRIES; i++) {
    char rest[8];
    snprintf(rest, sizeof rest, "b%03d", i);
    add_item(&leaf, path.len - 10, bytes_str(rest));
  }
  TreeRoot root = {.id = forge_raw(&f, FRAME_TREE, buf_bytes(&leaf)), .entries = ENTRIES};
  expect_refused(&f, &root, 1);
}

/* One inner node above another, each with one child. */
static TreeRoot forge_tower(Forge *f, unsigned levels, bool right_levels) {
  AUTO_BUF Buf node = {0};
  TreeRoot root = forge_file(f, 0, &(Content){0});
  for (unsigned level = 1; level < levels; level++) {
    buf_clear(&node);
    buf_put_u8(&node, (uint8_t)(right_levels ? level : 1));
    buf_put_var(&node, 1);
    buf_put_var(&node, 0);
    buf_put_bytes(&node, bytes_str("file"));
    buf_add(&node, root.id.b, sizeof root.id.b);
    buf_put_var(&node, 1);
    buf_put_var(&node, 0);
    root.id = forge_raw(f, FRAME_TREE, buf_bytes(&node));
  }
  return root;
}

static void test_depth(void **state UNUSED) {
  Forge f = forge_new();
  TreeRoot root = forge_tower(&f, TREE_DEPTH_MAX, true);
  forge_commit(&f, &root); /* as deep as allowed */
  Reading r = {0};
  assert_ok(restore_root(f.repo, &root, &r));
  assert_int_equal(r.good, 1);
  tools_expect_clean(f.repo);
  forge_free(&f);
  const unsigned too_deep[] = {TREE_DEPTH_MAX + 1, 200};
  for (size_t i = 0; i < NELEMS(too_deep); i++) {
    f = forge_new();
    root = forge_tower(&f, too_deep[i], true);
    expect_refused(&f, &root, 1);
    f = forge_new();
    root = forge_tower(&f, too_deep[i], false); /* levels that do not fall */
    expect_refused(&f, &root, 1);
  }
}

/* Counts that nothing stands behind. */
static void test_counts(void **state UNUSED) {
  const uint64_t counts[] = {2, 1000, UINT32_MAX, INT64_MAX};
  for (size_t i = 0; i < NELEMS(counts); i++) {
    Forge f = forge_new();
    AUTO_BUF Buf leaf = {0};
    buf_put_u8(&leaf, 0);
    buf_put_var(&leaf, counts[i]);
    buf_put_var(&leaf, 0);
    TreeRoot root = {.id = forge_raw(&f, FRAME_TREE, buf_bytes(&leaf)), .entries = counts[i]};
    expect_refused(&f, &root, 1);

    f = forge_new();
    root = forge_file(&f, 0, &(Content){0});
    root.entries = counts[i];
    expect_refused(&f, &root, 1);

    f = forge_new();
    Content content = {.kind = CONTENT_SEQ, .seq = {.depth = SEQ_DEPTH_MAX, .count = 1 << 30}};
    AUTO_BUF Buf node = {0};
    buf_put_u8(&node, 1);
    buf_put_u8(&node, SEQ_DEPTH_MAX);
    buf_put_var(&node, counts[i]);
    content.seq.id = forge_raw(&f, FRAME_MAP, buf_bytes(&node));
    root = forge_file(&f, 1 << 30, &content);
    expect_refused(&f, &root, 1);
  }
}

/* The node above names itself again and again: keys must agree, so it cannot go round. */
static void test_sequence_of_one_leaf(void **state UNUSED) {
  Forge f = forge_new();
  FrameId data = forge_raw(&f, FRAME_DATA, bytes_str("x"));
  ContentPiece piece = {.len = 1, .id = data};
  AUTO_BUF Buf leaf = {0}, node = {0};
  content_leaf_encode(&piece, 1, &leaf);
  FrameId leaf_id = forge_raw(&f, FRAME_MAP, buf_bytes(&leaf));
  buf_put_u8(&node, 1);
  buf_put_u8(&node, 1);
  buf_put_var(&node, 1000);
  for (int i = 0; i < 1000; i++) buf_put_var(&node, i ? 1 : 0);
  for (int i = 0; i < 1000; i++) buf_add(&node, leaf_id.b, sizeof leaf_id.b);
  FrameId below = forge_raw(&f, FRAME_MAP, buf_bytes(&node));
  buf_clear(&node);
  buf_put_u8(&node, 1);
  buf_put_u8(&node, 2);
  buf_put_var(&node, 1000);
  for (int i = 0; i < 1000; i++) buf_put_var(&node, i ? 1000 : 0);
  for (int i = 0; i < 1000; i++) buf_add(&node, below.b, sizeof below.b);
  Content content = {.kind = CONTENT_SEQ,
                     .seq = {.depth = 2, .count = 1000 * 1000, .id = forge_raw(&f, FRAME_MAP, buf_bytes(&node))}};
  TreeRoot root = forge_file(&f, 1000 * 1000, &content);
  expect_refused(&f, &root, 1);
}

/* The largest file there can be, all hole: nothing is written, and it is no damage. */
static void test_largest_hole(void **state UNUSED) {
  Forge f = forge_new();
  Content content = {.kind = CONTENT_LIST};
  content.list.len = 1;
  content.list.pieces[0] = (ContentPiece){.hole_len = FILE_SIZE_MAX};
  TreeRoot root = forge_file(&f, FILE_SIZE_MAX, &content);
  forge_commit(&f, &root);
  Reading r = {0};
  assert_ok(restore_root(f.repo, &root, &r));
  assert_int_equal(r.written, 0);
  tools_expect_clean(f.repo);
  forge_free(&f);
  f = forge_new();
  FrameId data = forge_raw(&f, FRAME_DATA, bytes_str("x"));
  content.list.len = 2; /* one byte more than the largest file */
  content.list.pieces[1] = (ContentPiece){.len = 1, .id = data};
  root = forge_file(&f, FILE_SIZE_MAX, &content);
  forge_commit(&f, &root);
  Error *err = restore_root(f.repo, &root, &r);
  assert_true(err_is(err, ERR_CORRUPT) || err_is(err, ERR_LIMIT));
  err_free(err);
  forge_free(&f);
}

/* ---- the index
 * -------------------------------------------------------------------------------------------------------------- */

/* An index that says otherwise than the packs, in each field. */
static void test_index_disagrees(void **state UNUSED) {
  for (int field = 0; field < 4; field++) {
    Forge f = forge_new();
    FrameId id = forge_raw(&f, FRAME_DATA, bytes_str("some bytes of a file"));
    Content content = one_piece(&id, 20);
    TreeRoot root = forge_file(&f, 20, &content);
    forge_flush(&f);
    segment_builder_clear(f.segment);
    AUTO_STRLIST StrList packs = tools_keys(f.store, "packs/");
    for (size_t i = 0; i < packs.len; i++) {
      Uuid pack;
      StoreStat stat;
      PackFooter footer;
      assert_true(pack_name_parse(packs.items[i], &pack));
      assert_ok(store_stat(f.store, packs.items[i], &stat, NULL));
      assert_ok(pack_read_footer(f.repo, &pack, stat.size_bytes, &footer, NULL));
      PackFrame *frame = &footer.frames[0];
      if (frame->type == FRAME_DATA && field == 0) frame->offset--;
      if (frame->type == FRAME_DATA && field == 1) frame->number++;
      if (frame->type == FRAME_DATA && field == 2) frame->codec = CODEC_LZ4;
      if (frame->type == FRAME_DATA && field == 3) frame->stored--, frame->codec = CODEC_ZSTD;
      segment_builder_add(f.segment, &pack, stat.size_bytes, footer.keys, 1, footer.frames, footer.frames_len);
      pack_footer_free(&footer);
    }
    expect_refused(&f, &root, 3);
  }
}

/* A snapshot under the name of another. */
static void test_snapshot_of_another_name(void **state UNUSED) {
  for (int which = 0; which < 2; which++) {
    Forge f = forge_new();
    Uuid other = uuid_new(sys_real());
    char name[] = "m", engine[] = "files";
    Snapshot s = {.id = which ? f.session.snapshot : other,
                  .series = which ? other : f.session.series,
                  .source = name,
                  .engine = engine,
                  .time_ns = f.session.started_ns};
    AUTO_BUF Buf body = {0};
    snapshot_encode(&s, &body);
    assert_ok(
        repo_put_object(f.repo, OBJECT_SNAPSHOT, &f.session.series, f.session.commit_key, buf_bytes(&body), NULL));
    SnapshotList list;
    assert_err(snapshot_list(f.repo, NULL, &list, NULL, NULL, NULL), ERR_CORRUPT);
    uint64_t damaged = 0;
    AUTO_FREE char *first = NULL;
    assert_ok(model_verify(f.repo, 0, &damaged, &first));
    assert_true(damaged == 1 && str_starts(first, f.session.commit_key));
    forge_free(&f);
  }
}

/* Many ids that begin alike, packs that are not there, and the largest table there can be. */
static void test_large_segment(void **state UNUSED) {
  Forge f = forge_new();
  enum { FRAMES = 1 << 18 };
  Uuid pack = uuid_new(sys_real());
  PackKey key = {.kind = PACK_KEY_DATA};
  AUTO_FREE PackFrame *frames = NEW_ARRAY(PackFrame, FRAMES);
  for (uint32_t i = 0; i < FRAMES; i++) {
    frames[i] = (PackFrame){.offset = OBJECT_HEADER_LEN + i * 20, .stored = 20, .raw = 4, .type = FRAME_DATA};
    store_u32(frames[i].id.b + 28, i);
  }
  segment_builder_add(f.segment, &pack, PACK_SIZE_MAX, &key, 1, frames, FRAMES);
  TreeRoot root = forge_file(&f, 4, &(Content){.kind = CONTENT_SLICE, .slice = {.id = frames[9].id, .len = 4}});
  expect_refused(&f, &root, 1);
}

int main(void) {
  secret_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bombs),
      cmocka_unit_test(test_bomb_in_tree),
      cmocka_unit_test(test_garbage_under_an_id),
      cmocka_unit_test(test_maps_beyond_frames),
      cmocka_unit_test(test_paths),
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_path_bomb),
      cmocka_unit_test(test_depth),
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_sequence_of_one_leaf),
      cmocka_unit_test(test_largest_hole),
      cmocka_unit_test(test_index_disagrees),
      cmocka_unit_test(test_snapshot_of_another_name),
      cmocka_unit_test(test_large_segment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
