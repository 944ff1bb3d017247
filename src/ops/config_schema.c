#include "ops/config_internal.h"

/* The shape of the file, for libcyaml and for yaml_schema.c. Everything is optional but what makes no sense without. */

enum { TEXT_MAX = 64 * 1024, LIST_MAX = 10000 };

#define OPTIONAL_PTR (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT_AS(key, Struct, member) CYAML_FIELD_STRING_PTR(key, OPTIONAL_PTR, Struct, member, 0, TEXT_MAX)
#define TEXT(Struct, member) TEXT_AS(#member, Struct, member)
#define NEEDED(Struct, member) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER, Struct, member, 0, TEXT_MAX)
#define NUMBER(Struct, member) CYAML_FIELD_UINT(#member, CYAML_FLAG_OPTIONAL, Struct, member)
#define FLAG(Struct, member) CYAML_FIELD_BOOL(#member, CYAML_FLAG_OPTIONAL, Struct, member)
#define CHOICE(Struct, member, names) \
  CYAML_FIELD_ENUM(#member, CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, Struct, member, names, NELEMS(names))
#define PART(Struct, member, fields) CYAML_FIELD_MAPPING_PTR(#member, OPTIONAL_PTR, Struct, member, fields)
#define TEXTS(Struct, member) CYAML_FIELD_SEQUENCE(#member, OPTIONAL_PTR, Struct, member, &text_value, 0, LIST_MAX)
#define PARTS_AS(key, Struct, member, value) \
  CYAML_FIELD_SEQUENCE(key, OPTIONAL_PTR, Struct, member, &(value), 0, LIST_MAX)
#define PARTS(Struct, member, value) PARTS_AS(#member, Struct, member, value)
#define VALUE(name, Struct, fields) \
  static const cyaml_schema_value_t name = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, Struct, fields)}

static const cyaml_schema_value_t text_value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, TEXT_MAX)};

const cyaml_schema_field_t config_secret_fields[] = {TEXT(SecretSource, file), TEXT(SecretSource, env),
                                                     TEXT(SecretSource, command), CYAML_FIELD_END};
#define SECRET(Struct, member) PART(Struct, member, config_secret_fields)

const cyaml_schema_field_t config_key_fields[] = {TEXT(ConfigKey, file), TEXT(ConfigKey, env), TEXT(ConfigKey, command),
                                                  TEXT(ConfigKey, kms), CYAML_FIELD_END};

static const cyaml_strval_t profiles[] = {
    {"development", PROFILE_DEVELOPMENT}, {"staging", PROFILE_STAGING}, {"production", PROFILE_PRODUCTION}};
static const cyaml_strval_t log_levels[] = {
    {"debug", LOG_DEBUG + 1}, {"info", LOG_INFO + 1}, {"warn", LOG_WARN + 1}, {"error", LOG_ERROR + 1}};
static const cyaml_strval_t log_formats[] = {{"text", LOG_TEXT + 1}, {"json", LOG_JSON + 1}};
static const cyaml_strval_t checks[] = {{"none", CONFIG_CHECK_NONE},
                                        {"quick", CONFIG_CHECK_QUICK},
                                        {"standard", CONFIG_CHECK_STANDARD},
                                        {"comprehensive", CONFIG_CHECK_COMPREHENSIVE}};
static const cyaml_strval_t kinds[] = {
    {"full", KIND_FULL}, {"incremental", KIND_INCREMENTAL}, {"differential", KIND_DIFFERENTIAL}};

static const cyaml_schema_field_t limits_fields[] = {
    TEXT(ConfigLimits, memory),  NUMBER(ConfigLimits, cpus),
    NUMBER(ConfigLimits, jobs),  TEXT(ConfigLimits, read),
    TEXT(ConfigLimits, upload),  CYAML_FIELD_INT("nice", CYAML_FLAG_OPTIONAL, ConfigLimits, nice),
    TEXT(ConfigLimits, timeout), CYAML_FIELD_END};

static const cyaml_schema_field_t log_fields[] = {CHOICE(ConfigLog, level, log_levels),
                                                  CHOICE(ConfigLog, format, log_formats), TEXT(ConfigLog, file),
                                                  CYAML_FIELD_END};

static const cyaml_schema_field_t verify_fields[] = {CHOICE(ConfigVerify, after_backup, checks),
                                                     CHOICE(ConfigVerify, after_restore, checks),
                                                     TEXT(ConfigVerify, coverage), CYAML_FIELD_END};

static const cyaml_schema_field_t repository_fields[] = {NEEDED(ConfigRepository, name),
                                                         NEEDED(ConfigRepository, url),
                                                         PART(ConfigRepository, key, config_key_fields),
                                                         SECRET(ConfigRepository, passphrase),
                                                         TEXT(ConfigRepository, region),
                                                         TEXT(ConfigRepository, object_lock),
                                                         CYAML_FIELD_END};
VALUE(repository_value, ConfigRepository, repository_fields);

static const cyaml_schema_field_t hook_fields[] = {NEEDED(ConfigHook, command), TEXT(ConfigHook, timeout),
                                                   CYAML_FIELD_END};
static const cyaml_schema_field_t hooks_fields[] = {
    PART(ConfigHooks, before_backup, hook_fields), PART(ConfigHooks, after_backup, hook_fields),
    PART(ConfigHooks, before_restore, hook_fields), PART(ConfigHooks, after_restore, hook_fields), CYAML_FIELD_END};

static const cyaml_schema_field_t source_fields[] = {NEEDED(ConfigSource, name),
                                                     NEEDED(ConfigSource, type),
                                                     TEXTS(ConfigSource, paths),
                                                     TEXTS(ConfigSource, include),
                                                     TEXTS(ConfigSource, exclude),
                                                     TEXTS(ConfigSource, databases),
                                                     TEXTS(ConfigSource, repositories),
                                                     TEXT(ConfigSource, command),
                                                     TEXT(ConfigSource, restore_command),
                                                     TEXT(ConfigSource, preset),
                                                     FLAG(ConfigSource, one_file_system),
                                                     FLAG(ConfigSource, recover_copy),
                                                     TEXT(ConfigSource, description),
                                                     TEXT(ConfigSource, compression),
                                                     TEXT(ConfigSource, dsn),
                                                     TEXT(ConfigSource, mode),
                                                     TEXT(ConfigSource, log),
                                                     TEXT(ConfigSource, rpo),
                                                     TEXT(ConfigSource, rto),
                                                     SECRET(ConfigSource, password),
                                                     PART(ConfigSource, hooks, hooks_fields),
                                                     CYAML_FIELD_END};
VALUE(source_value, ConfigSource, source_fields);

static const cyaml_schema_field_t target_fields[] = {TEXT(ConfigTarget, source), TEXT(ConfigTarget, repository),
                                                     CYAML_FIELD_END};
VALUE(target_value, ConfigTarget, target_fields);

static const cyaml_schema_field_t retention_fields[] = {NEEDED(ConfigRetention, name),
                                                        NUMBER(ConfigRetention, keep_last),
                                                        NUMBER(ConfigRetention, keep_hourly),
                                                        NUMBER(ConfigRetention, keep_daily),
                                                        NUMBER(ConfigRetention, keep_weekly),
                                                        NUMBER(ConfigRetention, keep_monthly),
                                                        NUMBER(ConfigRetention, keep_yearly),
                                                        TEXT(ConfigRetention, keep_within),
                                                        TEXT(ConfigRetention, pitr),
                                                        TEXT(ConfigRetention, time_zone),
                                                        PARTS_AS("for", ConfigRetention, targets, target_value),
                                                        CYAML_FIELD_END};
VALUE(retention_value, ConfigRetention, retention_fields);

static const cyaml_schema_field_t schedule_fields[] = {
    NEEDED(ConfigSchedule, source),      NEEDED(ConfigSchedule, at),
    CHOICE(ConfigSchedule, kind, kinds), TEXTS(ConfigSchedule, repositories),
    TEXT(ConfigSchedule, drill),         TEXT(ConfigSchedule, verify),
    NUMBER(ConfigSchedule, retries),     CYAML_FIELD_END};
VALUE(schedule_value, ConfigSchedule, schedule_fields);

static const cyaml_schema_field_t tls_fields[] = {NEEDED(ConfigTls, cert), NEEDED(ConfigTls, key), CYAML_FIELD_END};
static const cyaml_schema_field_t server_fields[] = {TEXT(ConfigServer, listen), PART(ConfigServer, tls, tls_fields),
                                                     CYAML_FIELD_END};
static const cyaml_schema_field_t maintenance_fields[] = {
    TEXT(ConfigMaintenance, prune), TEXT(ConfigMaintenance, verify), TEXT(ConfigMaintenance, copy), CYAML_FIELD_END};
static const cyaml_schema_field_t monitoring_fields[] = {TEXT(ConfigMonitoring, interval), CYAML_FIELD_END};
static const cyaml_schema_field_t keys_fields[] = {TEXT(ConfigKeys, rotate), CYAML_FIELD_END};

static const cyaml_schema_field_t smtp_fields[] = {NEEDED(ConfigSmtp, url), TEXT(ConfigSmtp, from),
                                                   TEXT(ConfigSmtp, user), SECRET(ConfigSmtp, password),
                                                   CYAML_FIELD_END};
static const cyaml_schema_field_t alert_fields[] = {NEEDED(ConfigAlert, name),  NEEDED(ConfigAlert, type),
                                                    TEXTS(ConfigAlert, to),     PART(ConfigAlert, smtp, smtp_fields),
                                                    SECRET(ConfigAlert, url),   SECRET(ConfigAlert, token),
                                                    TEXT(ConfigAlert, command), CYAML_FIELD_END};
VALUE(alert_value, ConfigAlert, alert_fields);

static const cyaml_schema_field_t match_fields[] = {TEXTS(ConfigMatch, severity), TEXTS(ConfigMatch, source),
                                                    CYAML_FIELD_END};
static const cyaml_schema_field_t route_fields[] = {
    PART(ConfigRoute, match, match_fields), TEXTS(ConfigRoute, on), TEXTS(ConfigRoute, to), TEXT(ConfigRoute, repeat),
    NUMBER(ConfigRoute, escalate_after),    CYAML_FIELD_END};
VALUE(route_value, ConfigRoute, route_fields);

static const cyaml_schema_field_t file_fields[] = {CHOICE(ConfigFile, profile, profiles),
                                                   TEXT(ConfigFile, catalog),
                                                   PART(ConfigFile, server, server_fields),
                                                   PART(ConfigFile, limits, limits_fields),
                                                   PART(ConfigFile, log, log_fields),
                                                   TEXT(ConfigFile, compression),
                                                   PART(ConfigFile, verify, verify_fields),
                                                   PART(ConfigFile, maintenance, maintenance_fields),
                                                   PART(ConfigFile, monitoring, monitoring_fields),
                                                   PART(ConfigFile, keys, keys_fields),
                                                   PARTS(ConfigFile, repositories, repository_value),
                                                   PARTS(ConfigFile, retention, retention_value),
                                                   PARTS(ConfigFile, sources, source_value),
                                                   PARTS(ConfigFile, schedules, schedule_value),
                                                   PARTS(ConfigFile, alerts, alert_value),
                                                   PARTS(ConfigFile, routes, route_value),
                                                   CYAML_FIELD_END};
const cyaml_schema_value_t config_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ConfigFile, file_fields)};

static const cyaml_schema_field_t only_sources[] = {PARTS(ConfigFile, sources, source_value), CYAML_FIELD_END};
const cyaml_schema_value_t config_schema_sources = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ConfigFile, only_sources)};

static const cyaml_schema_field_t only_repositories[] = {PARTS(ConfigFile, repositories, repository_value),
                                                         CYAML_FIELD_END};
const cyaml_schema_value_t config_schema_repositories = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, ConfigFile, only_repositories)};
