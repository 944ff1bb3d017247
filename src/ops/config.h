/* config.h: the configuration: one YAML file written by people, read-only to holdfast, and the files of
 * STATE/conf.d/, one for each source or repository added by a command. Everything works without any of them.
 *
 * What is loaded is complete and checked: unknown keys, wrong types, malformed durations, sizes and schedules, names
 * that point nowhere and secrets written into the file are errors that name every line at once. Texts keep the words
 * of the file; numbers beside them are what they mean. Lists and mappings that are not there are NULL with count 0.
 */
#ifndef HF_OPS_CONFIG_H
#define HF_OPS_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "codec/compress.h"
#include "ops/secret_source.h"

/* Choices: 0 is "not said". */
typedef enum ConfigProfile { PROFILE_UNSET, PROFILE_DEVELOPMENT, PROFILE_STAGING, PROFILE_PRODUCTION } ConfigProfile;
typedef enum ConfigCheck {
  CONFIG_CHECK_UNSET,
  CONFIG_CHECK_NONE,
  CONFIG_CHECK_QUICK,
  CONFIG_CHECK_STANDARD,
  CONFIG_CHECK_COMPREHENSIVE,
} ConfigCheck;
typedef enum ConfigKind { KIND_UNSET, KIND_FULL, KIND_INCREMENTAL, KIND_DIFFERENTIAL } ConfigKind;

typedef struct ConfigLimits {
  char *memory, *read, *upload, *timeout;
  uint32_t cpus, jobs;
  int32_t nice;
  uint64_t memory_bytes, read_bytes_per_second, upload_bytes_per_second, timeout_ns; /* 0: not said */
} ConfigLimits;

typedef struct ConfigLog {
  int32_t level;  /* LogLevel + 1; 0: not said */
  int32_t format; /* LogFormat + 1; 0: not said */
  char *file;
} ConfigLog;

typedef struct ConfigVerify {
  int32_t after_backup, after_restore; /* ConfigCheck */
  char *coverage;
  uint64_t coverage_ns;
} ConfigVerify;

typedef struct ConfigKey {    /* how a repository is opened; one of them */
  char *file, *env, *command; /* a key file's bytes; read it through config_key_source */
  char *kms;
} ConfigKey;

typedef struct ConfigRepository {
  char *name;
  char *url;
  ConfigKey *key;
  SecretSource *passphrase;
  char *region, *object_lock;
  uint64_t object_lock_ns;
  const char *origin; /* the file it stands in; borrowed from the Config */
} ConfigRepository;

typedef struct ConfigHook {
  char *command, *timeout;
  uint64_t timeout_ns;
} ConfigHook;

typedef struct ConfigHooks {
  ConfigHook *before_backup, *after_backup, *before_restore, *after_restore;
} ConfigHooks;

typedef struct ConfigSource {
  char *name;
  char *type; /* "sqlite", "files", "command"; others are known to the file's schema before their engines exist */
  char **paths, **include, **exclude, **databases, **repositories;
  uint32_t paths_count, include_count, exclude_count, databases_count, repositories_count;
  char *command, *restore_command; /* type command */
  char *preset;
  bool one_file_system, recover_copy;
  char *description, *compression;
  char *dsn, *mode, *log, *rpo, *rto; /* databases with a server, and logs */
  SecretSource *password;
  ConfigHooks *hooks;
  uint64_t rpo_ns, rto_ns;
  const char *origin;
} ConfigSource;

typedef struct ConfigTarget { /* globs on names; NULL: any */
  char *source, *repository;
} ConfigTarget;

typedef struct ConfigRetention {
  char *name;
  uint32_t keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly;
  char *keep_within, *pitr, *time_zone;
  ConfigTarget *targets; /* "for" */
  uint32_t targets_count;
} ConfigRetention;

typedef struct ConfigSchedule {
  char *source, *at, *drill, *verify;
  int32_t kind; /* ConfigKind */
  char **repositories;
  uint32_t repositories_count, retries;
} ConfigSchedule;

typedef struct ConfigTls {
  char *cert, *key; /* paths */
} ConfigTls;
typedef struct ConfigServer {
  char *listen;
  ConfigTls *tls;
} ConfigServer;
typedef struct ConfigMaintenance {
  char *prune, *verify, *copy;
} ConfigMaintenance;
typedef struct ConfigMonitoring {
  char *interval;
} ConfigMonitoring;
typedef struct ConfigKeys {
  char *rotate;
} ConfigKeys;
typedef struct ConfigSmtp {
  char *url, *from, *user;
  SecretSource *password;
} ConfigSmtp;
typedef struct ConfigAlert {
  char *name, *type;
  char **to;
  uint32_t to_count;
  ConfigSmtp *smtp;
  SecretSource *url, *token; /* webhook addresses are secrets */
  char *command;
} ConfigAlert;
typedef struct ConfigMatch {
  char **severity, **source;
  uint32_t severity_count, source_count;
} ConfigMatch;
typedef struct ConfigRoute {
  ConfigMatch *match;
  char **on, **to;
  uint32_t on_count, to_count, escalate_after;
  char *repeat;
} ConfigRoute;

/* One file, as libcyaml loads it. */
typedef struct ConfigFile {
  int32_t profile; /* ConfigProfile */
  char *catalog, *compression;
  ConfigServer *server;
  ConfigLimits *limits;
  ConfigLog *log;
  ConfigVerify *verify;
  ConfigMaintenance *maintenance;
  ConfigMonitoring *monitoring;
  ConfigKeys *keys;
  ConfigRepository *repositories;
  ConfigRetention *retention;
  ConfigSource *sources;
  ConfigSchedule *schedules;
  ConfigAlert *alerts;
  ConfigRoute *routes;
  uint32_t repositories_count, retention_count, sources_count, schedules_count, alerts_count, routes_count;
} ConfigFile;

typedef struct Config Config;

/* `path` NULL: no main file. `state_dir` NULL: no conf.d. A file named by `path` that is not there is an error. */
Error *config_load(const char *path, const char *state_dir, Config **out) NODISCARD;
/* One file's text; `name` is for messages. For checks and fuzzing. */
Error *config_parse(Bytes text, const char *name, Config **out) NODISCARD;
void config_free(Config *take);

/* "/etc/holdfast/holdfast.yaml", for others than root $XDG_CONFIG_HOME/holdfast/holdfast.yaml before it; NULL when
 * there is none. Owned. */
char *config_default_path(void);

const ConfigFile *config_main(const Config *config); /* never NULL: without a file everything in it is unset */
const char *config_path(const Config *config);       /* NULL: no main file */

/* All files' together; in the order of the files. */
size_t config_repository_count(const Config *config);
const ConfigRepository *config_repository_at(const Config *config, size_t index);
const ConfigRepository *config_repository_find(const Config *config, const char *name); /* NULL: none */
size_t config_source_count(const Config *config);
const ConfigSource *config_source_at(const Config *config, size_t index);
const ConfigSource *config_source_find(const Config *config, const char *name);

/* What a profile and the defaults say where the file does not. */
LogLevel config_log_level(const Config *config);                                  /* development: debug; else info */
LogFormat config_log_format(const Config *config);                                /* text */
Compression config_compression(const Config *config, const ConfigSource *source); /* source may be NULL; zstd:1 */
ConfigCheck config_check_after_backup(const Config *config);                      /* production: quick; else none */
ConfigCheck config_check_after_restore(const Config *config);                     /* standard */
SecretSource config_key_source(const ConfigKey *key);                             /* borrowed texts */

/* Adds to or removes from STATE/conf.d. ERR_EXISTS when the name is in use, ERR_REFUSED when it stands in the main
 * file, ERR_NOT_FOUND. Computed numbers and `origin` are not looked at. */
Error *config_add_source(const Config *config, const char *state_dir, const ConfigSource *source) NODISCARD;
Error *config_add_repository(const Config *config, const char *state_dir, const ConfigRepository *repo) NODISCARD;
Error *config_remove_source(const Config *config, const char *state_dir, const char *name) NODISCARD;
Error *config_remove_repository(const Config *config, const char *state_dir, const char *name) NODISCARD;

/* Everything that is set, as YAML with a comment naming the file of each part; as JSON one object, owned. A secret
 * shows as the place it is read from, and of a command only the program. */
typedef struct json_t json_t;
void config_show(const Config *config, Buf *out);
json_t *config_show_json(const Config *config);

/* Names of sources, repositories, policies and alerts: letters, digits, '.', '_', '-', at most 64, beginning with a
 * letter or digit. */
bool config_name_valid(const char *name);

#endif
