/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef WEFT_USER_FILE_H
#define WEFT_USER_FILE_H

#include <sys/types.h>

/*
 * path gets this text and mode in one step, by a temporary file of the same directory, which must
 * exist. Readers see the old text or the new one, also after a crash. 0 or -errno.
 */
int file_replace(const char *path, const char *text, mode_t mode);

#endif
