/* SPDX-License-Identifier: MIT */
/* What --help says. */
#ifndef CBT_LOADGEN_HELP_H
#define CBT_LOADGEN_HELP_H

/* Prints the help of a command, or of the whole program; returns the exit status. */
int cbt_help(const char *command);

#endif
