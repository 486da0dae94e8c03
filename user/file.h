/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef WEFT_USER_FILE_H
#define WEFT_USER_FILE_H

#include <stdio.h>
#include <sys/types.h>

/*
 * path gets this text and mode in one step, by a temporary file of the same directory, which must
 * exist. Readers see the old text or the new one, also after a crash. 0 or -errno.
 */
int file_replace(const char *path, const char *text, mode_t mode);

/*
 * Open for reading what is owned by us, by root or by this owner: -EPERM if it is no plain file, if
 * somebody else owns it or may write it. Links are not followed, and a FIFO is not waited for.
 */
int file_open_own(const char *path, uid_t owner, FILE **out);

/*
 * Is this directory, if it exists, one in which nobody but root and us can put a file in place of
 * ours? 0 or -EPERM.
 */
int file_check_dir(const char *dir);

#endif
