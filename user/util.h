/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ownership helpers. An owned local is declared with a cleanup attribute and starts as NULL or -1;
 * take_fd() and take_ptr() hand it over. Functions return 0 or a negative errno and leave their
 * outputs untouched on failure, unless their comment says otherwise.
 */
#ifndef WEFT_USER_UTIL_H
#define WEFT_USER_UTIL_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _close_ __attribute__((cleanup(cleanup_close)))
#define _free_ __attribute__((cleanup(cleanup_free)))
#define _fclose_ __attribute__((cleanup(cleanup_fclose)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define take_ptr(p) \
	({ \
		__typeof__(p) *take_from = &(p); \
		__typeof__(p) taken_ptr = *take_from; \
		*take_from = NULL; \
		taken_ptr; \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
