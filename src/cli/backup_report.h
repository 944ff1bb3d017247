/* backup_report.h: what a backup says at its end, for people and as the stable JSON summary. */
#ifndef HF_CLI_BACKUP_REPORT_H
#define HF_CLI_BACKUP_REPORT_H

#include "cli/prove.h"
#include "cli/sources.h"
#include "ops/backup.h"

typedef struct BackupReport {
  const char *job, *source, *repository;
  const Snapshot *snapshot; /* NULL: none was made */
  uint64_t partial, warnings;
  bool proven;
  Proof proof;
  const Error *failed; /* borrowed; NULL: all is well */
} BackupReport;

/* With --json a line on standard output; for people the same as a few lines, when there is a snapshot. */
void backup_report_print(Output *out, const BackupReport *report);
/* The JSON line without line end; owned. */
char *backup_report_line(const BackupReport *report);

/* What --plan says of one repository. */
void backup_plan_print(Output *out, const CliSource *source, const BackupPreview *preview, size_t target,
                       const char *repository);

#endif
