#include "cli/command.h"
#include "cli/commands.h"

static const char *const shells[] = {"bash", "zsh", "fish", NULL};

#define SNAPSHOT_HELP "a snapshot's id (its first digits are enough), or SRC@WHEN"
#define WHEN_DETAILS                                                                                               \
  "WHEN is a snapshot's id, \"latest\", a time (2026-11-20T09:30:00+01:00; without a zone it is local time) or a " \
  "time ago (-15m, -2h, -3d). Without it the newest snapshot is taken."
#define SRC_DETAILS                                                                                                 \
  "SRC is a name of the configuration or an address: sqlite:/srv/app.db, files:/etc, command:'pg_dumpall'. A path " \
  "may hold a glob: sqlite:'/srv/app/*.db'."

static const CommandSpec commands[] = {
    {.name = "init",
     .summary = "make a new encrypted repository",
     .details =
         "Makes a repository at the address given by --repo. It opens with a passphrase (asked on the terminal, or "
         "from --passphrase-file or HOLDFAST_PASSPHRASE) or with a key file, and with the recovery code that is "
         "shown once: keep it on paper, away from this machine.\n\nEncryption is always on. Who loses passphrase, "
         "key file and recovery code has lost the backups.",
     .examples = "# a repository on a mounted disk, opened with a new key file\n"
                 "holdfast init --repo /backup --create-key-file /etc/holdfast/key",
     .run = cmd_init,
     .options = {OPT_CREATE_KEY_FILE, OPT_SLOT_NAME},
     .exits = {11, 14}},
    {.name = "backup",
     .summary = "back sources up into one or more repositories",
     .details =
         SRC_DETAILS "\n\nEach snapshot is complete by itself, whatever kind it is: deleting one never breaks "
                     "another. With several --repo the source is read once and written to all of them. A backup "
                     "that was stopped is started again with the same command; what was stored is not stored twice.",
     .examples = "# one database\nholdfast backup sqlite:/srv/app.db --repo /backup\n\n"
                 "# configuration files, to two repositories, and prove the result\n"
                 "holdfast backup files:/etc --preset configuration --verify --repo /backup --repo /mnt/second\n\n"
                 "# the output of a program\n"
                 "holdfast backup command:'pg_dumpall' --name cluster --repo /backup",
     .run = cmd_backup,
     .operands = {{"SRC", 1, OPERAND_MANY, "a source: a name of the configuration, or an address", NULL}},
     .options = {OPT_FULL, OPT_INCREMENTAL, OPT_DIFFERENTIAL, OPT_VERIFY_AFTER, OPT_LABEL, OPT_DESCRIPTION, OPT_NAME,
                 OPT_COMPRESSION, OPT_EXCLUDE, OPT_INCLUDE, OPT_ONE_FILE_SYSTEM, OPT_PRESET, OPT_RECOVER_COPY,
                 OPT_FORCE, OPT_PLAN},
     .exits = {3, 10, 11, 12, 13, 15, 17}},
    {.name = "restore",
     .summary = "bring a source back, as it was at a moment",
     .details = WHEN_DETAILS "\n\nThe content is written at TARGET, which must not exist or be empty. Something that "
                             "exists is overwritten only "
                             "when --confirm repeats its name: the last part of TARGET, or with --in-place the "
                             "source's name. --plan shows what "
                             "would be read and written.\n\nBefore a live source that the repository knows is "
                             "overwritten, what it holds now is backed up as a recovery point, and the command that "
                             "goes back to it is shown. When that backup fails, nothing is overwritten, unless "
                             "--force is given.",
     .examples = "# the newest snapshot into a new file\n"
                 "holdfast restore sqlite:/srv/app.db --to /tmp/app.db --repo /backup\n\n"
                 "# as it was two hours ago, over the live file\n"
                 "holdfast restore app@-2h --in-place --confirm app\n\n"
                 "# two files of /etc\nholdfast restore files:/etc --only 'ssh/sshd_config,hosts' --to /tmp/etc",
     .run = cmd_restore,
     .operands = {{"SRC[@WHEN]", 1, 1, "the source and the moment", NULL}},
     .options = {OPT_TO, OPT_PLAN, OPT_IN_PLACE, OPT_CONFIRM, OPT_FORCE_RESTORE, OPT_ONLY, OPT_VERIFY_AFTER,
                 OPT_AGAINST_SOURCE, OPT_DELTA, OPT_NO_OWNERS, OPT_SOURCE_NAME, OPT_RESTORE_COMMAND},
     .exits = {3, 10, 11, 12, 13, 14, 15, 17}},
    {.name = "ls",
     .summary = "list snapshots, or what is in one",
     .details =
         "Without SRC: every snapshot. With SRC: its snapshots. With a PATH, or with SRC@WHEN: what the snapshot "
         "holds there.\n\n" WHEN_DETAILS,
     .examples = "# all snapshots\nholdfast ls --repo /backup\n\n"
                 "# what was in /etc/ssh yesterday\nholdfast ls files:/etc@-1d ssh --long",
     .run = cmd_ls,
     .operands = {{"SRC[@WHEN]", 0, 1, "the source, and the moment", NULL},
                  {"PATH", 0, 1, "a path in the snapshot", NULL}},
     .options = {OPT_RECURSIVE, OPT_LONG, OPT_LABEL, OPT_SOURCE_NAME},
     .exits = {10, 12, 13}},
    {.name = "info",
     .summary = "show everything known about a snapshot",
     .run = cmd_info,
     .operands = {{"SNAPSHOT", 1, 1, SNAPSHOT_HELP, NULL}},
     .exits = {10, 12, 13}},
    {.name = "diff",
     .summary = "show what differs between two snapshots",
     .details = "One line a path: + added, - removed, M content changed, T only attributes changed.",
     .run = cmd_diff,
     .operands = {{"A", 1, 1, SNAPSHOT_HELP, NULL}, {"B", 1, 1, "the other snapshot", NULL}},
     .exits = {10, 12, 13}},
    {.name = "find",
     .summary = "find paths in snapshots",
     .details = "PATTERN is a glob over whole paths; without a '/' in it, over the last part of the path. Each content "
                "of a path is one line, with the first and the last snapshot that hold it.",
     .examples = "# where is this file, and since when\nholdfast find '*.key' files:/etc",
     .run = cmd_find,
     .operands = {{"PATTERN", 1, 1, "a glob", NULL}, {"SRC", 0, 1, "only in this source's snapshots", NULL}},
     .options = {OPT_LONG},
     .exits = {10, 12, 13}},
    {.name = "verify",
     .summary = "check that the repository holds what it should",
     .details =
         "Without options: level 1. With SNAPSHOT only that one's metadata is checked (level 1). Everything damaged is "
         "named, and the exit code is 13.\n\nWith --coverage, packs are read whole (level 3), those verified longest "
         "ago first: every run reads its share, a day's or what has become due since the last one, so that with a "
         "daily run every byte is read once within the time given. What was verified is recorded in the state "
         "directory.",
     .examples = "# read, decrypt and compare everything\nholdfast verify --level 3 --repo /backup",
     .run = cmd_verify,
     .operands = {{"SNAPSHOT", 0, 1, SNAPSHOT_HELP, NULL}},
     .options = {OPT_LEVEL, OPT_COVERAGE},
     .exits = {10, 12, 13}},
    {.name = "export",
     .summary = "write a snapshot in a format that needs no holdfast",
     .details = "sql and db are of databases: SQL text for `sqlite3 new.db < FILE`, or the database file. Several "
                "databases become a folder with a file each. tar holds any snapshot. Without --compression the ending "
                "of FILE decides: .gz, .zst, .xz, .bz2, .lz4. A file that exists is never overwritten.",
     .examples =
         "# SQL text, compressed\nholdfast export app@latest --format sql --to app.sql.gz --compression gzip\n\n"
         "# a tar archive into a pipe\nholdfast export 3f9c --format tar --to - | tar -t",
     .run = cmd_export,
     .operands = {{"SNAPSHOT", 1, 1, SNAPSHOT_HELP, NULL}},
     .options = {OPT_FORMAT, OPT_TO_FILE, OPT_COMPRESSION, OPT_ONLY},
     .required = {OPT_FORMAT, OPT_TO_FILE},
     .exits = {3, 10, 12, 13, 14}},
    {.name = "status",
     .summary = "show how every source stands",
     .details = "Reads only the state directory: what ran when, with which result, and what is overdue. A backup is "
                "overdue when the last good one is older than the source's rpo, else than its schedule says, else than "
                "26 hours.",
     .run = cmd_status,
     .options = {OPT_CHECK},
     .exits = {16}},
    {.name = "key", .summary = "manage what opens a repository", .group = true},
    {.name = "key add",
     .summary = "add a passphrase, a key file or a recovery code",
     .run = cmd_key_add,
     .options = {OPT_NEW_KEY_FILE, OPT_NEW_PASSPHRASE_FILE, OPT_NEW_RECOVERY_CODE, OPT_SLOT_NAME},
     .exits = {10, 12}},
    {.name = "key ls", .summary = "list the key slots", .run = cmd_key_ls, .exits = {10, 12}},
    {.name = "key rm",
     .summary = "remove a key slot",
     .details = "The last slot cannot be removed. A new key epoch starts, so that what is written from now on does not "
                "open with what the removed slot knew.",
     .run = cmd_key_rm,
     .operands = {{"SLOT", 1, 1, "the slot's id, from `holdfast key ls`", NULL}},
     .options = {OPT_PLAN, OPT_CONFIRM},
     .exits = {10, 11, 12}},
    {.name = "key rotate",
     .summary = "start a new key epoch for what is written from now on",
     .run = cmd_key_rotate,
     .exits = {10, 12}},
    {.name = "key recover",
     .summary = "open the repository with its recovery code and add a new slot",
     .run = cmd_key_recover,
     .options = {OPT_RECOVERY_CODE_FILE, OPT_NEW_KEY_FILE, OPT_NEW_PASSPHRASE_FILE, OPT_SLOT_NAME},
     .exits = {10, 12}},
    {.name = "key export",
     .summary = "write what a recovery on another machine needs, to print or keep elsewhere",
     .details = "Adds a key slot with a new recovery code and writes the sheet that holds it: the repository, its "
                "address, the code, and what to do. Keys themselves are never written.",
     .run = cmd_key_export,
     .options = {OPT_TO_FILE},
     .exits = {10, 12, 14}},
    {.name = "repo", .summary = "manage repositories", .group = true},
    {.name = "repo add",
     .summary = "remember a repository under a name",
     .details = "Writes conf.d/NAME.yaml in the state directory. Names of the configuration file are not touched.",
     .examples = "holdfast repo add local /backup --key-file /etc/holdfast/key",
     .run = cmd_repo_add,
     .operands = {{"NAME", 1, 1, "the name", NULL}, {"URL", 1, 1, "a path or URL", NULL}},
     .exits = {11}},
    {.name = "repo ls", .summary = "list the repositories that have a name", .run = cmd_repo_ls},
    {.name = "repo check",
     .summary = "open a repository and check that it is usable",
     .details = "Reads its description, key slots and index, and checks that every pack that is named is there.",
     .run = cmd_repo_check,
     .exits = {10, 12, 13}},
    {.name = "repo stats",
     .summary = "show sizes, deduplication and growth",
     .run = cmd_repo_stats,
     .exits = {10, 12, 13}},
    {.name = "source", .summary = "manage sources", .group = true},
    {.name = "source add",
     .summary = "remember a source under a name",
     .details = SRC_DETAILS "\n\nWrites conf.d/NAME.yaml in the state directory.",
     .examples = "holdfast source add app sqlite:/srv/app.db",
     .run = cmd_source_add,
     .operands = {{"NAME", 1, 1, "the name", NULL}, {"ADDRESS", 1, 1, "the address", NULL}},
     .options = {OPT_EXCLUDE, OPT_INCLUDE, OPT_ONE_FILE_SYSTEM, OPT_PRESET, OPT_RECOVER_COPY, OPT_RESTORE_COMMAND,
                 OPT_DESCRIPTION},
     .exits = {11}},
    {.name = "source ls",
     .summary = "list sources: configured, added and known to the repository",
     .run = cmd_source_ls},
    {.name = "source rm",
     .summary = "forget a source that was added by `source add`",
     .details = "Its snapshots stay where they are.",
     .run = cmd_source_rm,
     .operands = {{"NAME", 1, 1, "the name", NULL}},
     .exits = {11}},
    {.name = "source adopt",
     .summary = "accept that a source's identity changed",
     .details =
         "A source is refused (exit 11) when its host, file system or database is not the one its earlier "
         "snapshots came from: a cloned machine, a restored file, another disk; or when another command line has "
         "the same name. Adopting it says that it is the same source all the same.",
     .run = cmd_source_adopt,
     .operands = {{"SRC", 1, 1, "the source", NULL}},
     .options = {OPT_NAME, OPT_PLAN},
     .exits = {10, 11, 12, 15}},
    {.name = "config", .summary = "check and show the configuration", .group = true},
    {.name = "config check",
     .summary = "check a configuration file",
     .details = "Every mistake is named with its line. Nothing is connected to and no secret is read.",
     .run = cmd_config_check,
     .operands = {{"FILE", 0, 1, "the file (without it: --config, or the default one)", NULL}}},
    {.name = "config show",
     .summary = "show the settings in effect and where each comes from",
     .details = "Secrets are never shown, only where they are read from.",
     .run = cmd_config_show,
     .operands = {{"FILE", 0, 1, "the file (without it: --config, or the default one)", NULL}}},
    {.name = "doctor",
     .summary = "check this machine, the configuration, sources and repositories",
     .details =
         "Without SRC every configured source is looked at. Nothing is backed up; in repositories a probe object "
         "is written and removed. When something is wrong, the exit code is 3.",
     .run = cmd_doctor,
     .operands = {{"SRC", 0, OPERAND_MANY, "a source to look at", NULL}},
     .exits = {3}},
    {.name = "completion",
     .summary = "print a shell's completion script",
     .examples = "# in this shell; `make install` has made it permanent\n"
                 "source <(holdfast completion bash)",
     .run = cmd_completion,
     .operands = {{"SHELL", 1, 1, "bash, zsh or fish", shells}}},
    {.name = "man",
     .summary = "print a manual page",
     .examples = "# read it\nholdfast man backup | man -l -",
     .run = cmd_man,
     .operands = {{"COMMAND", 0, 2, "the command (without it: the whole program)", NULL}}},
};

size_t command_count(void) { return NELEMS(commands); }

const CommandSpec *command_at(size_t index) {
  CHECK(index < NELEMS(commands));
  return &commands[index];
}
