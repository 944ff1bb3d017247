/* commands.h: the functions of the command table. Each does one command: reads typed values from Args, works through
 * ops/, prints through ctx->output, and returns an error or NULL. ERR_PARTIAL means done, with something left out. */
#ifndef HF_CLI_COMMANDS_H
#define HF_CLI_COMMANDS_H

#include "cli/command.h"

CommandRun cmd_init, cmd_backup, cmd_restore, cmd_ls, cmd_info, cmd_diff, cmd_find, cmd_verify, cmd_export, cmd_status,
    cmd_doctor;
CommandRun cmd_key_add, cmd_key_ls, cmd_key_rm, cmd_key_rotate, cmd_key_recover, cmd_key_export;
CommandRun cmd_repo_add, cmd_repo_ls, cmd_repo_check, cmd_repo_stats;
CommandRun cmd_source_add, cmd_source_ls, cmd_source_rm, cmd_source_adopt;
CommandRun cmd_config_check, cmd_config_show, cmd_completion, cmd_man;

#endif
