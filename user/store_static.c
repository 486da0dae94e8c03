/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A file as the store. The watch is on the file's directory: an editor's or ConfigMap's way to
 * change a file is to rename another one, or a symbolic link, over it, and a watch on the file
 * itself would go with the old one. A slow timer covers what inotify cannot tell: the directory
 * replaced, a link into another directory, a network file system.
 */
#include "store_static.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include "log.h"
#include "privilege.h"
#include "util.h"

/* No IN_MODIFY: a file being written is worth a look when the writer closes it. */
#define WATCHED \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/*
 * File times advance in ticks of up to 10 ms. A file read within a tick of its last change can
 * change again and look the same.
 */
#define TICK_NS 20000000LL

struct static_store {
	struct store store; /* fd: an epoll over the two below */
	char *path;
	char *dir;
	int inotify_fd; /* -1: none to be had */
	int timer_fd;
	int watch; /* -1: the directory cannot be watched now */
	struct stat seen; /* of the file as last read; all zero: there was none */
	bool uncertain; /* seen may hide a change, or nothing was read yet */
};

/* For messages: the end of a long path says more than its start. Leaves room for the reason. */
static int refuse(const struct static_store *s, int err, char *error, const char *reason)
{
	const size_t shown = NETCONF_ERROR_LEN / 3;
	size_t len = strlen(s->path);
	char text[NETCONF_ERROR_LEN];

	/* reason may be what error holds now. */
	snprintf(text, sizeof(text), "%s%s: %s", len > shown ? "..." : "",
		 s->path + (len > shown ? len - shown : 0), reason);
	memcpy(error, text, sizeof(text));
	return err;
}

/* Follow the directory's path to what it names now. */
static void watch_dir(struct static_store *s)
{
	int watch;

	if (s->inotify_fd < 0)
		return;
	watch = inotify_add_watch(s->inotify_fd, s->dir, WATCHED);
	if (s->watch >= 0 && s->watch != watch)
		inotify_rm_watch(s->inotify_fd, s->watch);
	s->watch = watch;
}

static int poll_fd(struct static_store *s, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(s->store.fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_fds(struct static_store *s)
{
	const struct timespec period = {.tv_sec = STORE_STATIC_RECHECK_S};
	const struct itimerspec spec = {.it_value = period, .it_interval = period};
	int err;

	s->store.fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->store.fd < 0)
		return -errno;
	s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->timer_fd < 0 || timerfd_settime(s->timer_fd, 0, &spec, NULL))
		return -errno;
	err = poll_fd(s, s->timer_fd);
	if (err)
		return err;
	s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->inotify_fd < 0) {
		/* Instances per user are few (128), and other agents want them too. */
		log_warn("inotify: %s; looking at %s every %d s", strerror(errno), s->path,
			 STORE_STATIC_RECHECK_S);
		return 0;
	}
	watch_dir(s);
	return poll_fd(s, s->inotify_fd);
}

static void static_close(struct store *store)
{
	struct static_store *s = (struct static_store *)store;

	cleanup_close(&s->inotify_fd);
	cleanup_close(&s->timer_fd);
	cleanup_close(&s->store.fd);
	free(s->path);
	free(s->dir);
	free(s);
}

/* "." for "file", "/" for "/file". */
static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : slash - path);
}

static int static_open(const char *path, const struct store_options *options, struct store **out,
		       char error[NETCONF_ERROR_LEN])
{
	struct static_store *s;
	int err;

	(void)options;
	if (!path[0] || strlen(path) >= PATH_MAX) {
		snprintf(error, NETCONF_ERROR_LEN, "static:FILE: the file's name is %s",
			 path[0] ? "too long" : "missing");
		return -EINVAL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(error, NETCONF_ERROR_LEN, "static: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	*s = (struct static_store){.store = {.ops = &store_static_ops, .fd = -1},
				   .path = strdup(path),
				   .dir = dir_of(path),
				   .inotify_fd = -1,
				   .timer_fd = -1,
				   .watch = -1,
				   .uncertain = true};
	err = s->path && s->dir ? open_fds(s) : -ENOMEM;
	if (err) {
		snprintf(error, NETCONF_ERROR_LEN, "static: %s", strerror(-err));
		static_close(&s->store);
		return err;
	}
	*out = &s->store;
	return 0;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode &&
	       a->st_size == b->st_size && same_time(a->st_mtim, b->st_mtim) &&
	       same_time(a->st_ctim, b->st_ctim);
}

static void drain(int fd)
{
	char events[4096];

	while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
		;
}

static bool static_ack(struct store *store)
{
	struct static_store *s = (struct static_store *)store;
	struct stat now = {};

	drain(s->timer_fd);
	drain(s->inotify_fd);
	/* Before the look at the file: what changes after the look is then an event. */
	watch_dir(s);
	if (stat(s->path, &now))
		now = (struct stat){};
	return s->uncertain || !same_file(&now, &s->seen);
}

static void remember(struct static_store *s, const struct stat *st)
{
	struct timespec now;
	int64_t age;

	clock_gettime(CLOCK_REALTIME, &now);
	age = (now.tv_sec - st->st_ctim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_ctim.tv_nsec;
	s->seen = *st;
	s->uncertain = age >= 0 && age < TICK_NS;
}

/* 0, -errno, or -EINVAL with *reason set. Opening a device could have effects: only files. */
static int open_regular(struct static_store *s, int *fd, struct stat *st, const char **reason)
{
	_close_ int opened = -1;

	if (stat(s->path, st)) {
		*st = (struct stat){};
		return -errno;
	}
	if (S_ISREG(st->st_mode)) {
		/* It may have been exchanged since: do not block on a FIFO, look again. */
		opened = open(s->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (opened < 0 || fstat(opened, st))
			return -errno;
	}
	if (!S_ISREG(st->st_mode))
		*reason = "not a regular file";
	else if (st->st_size > (off_t)NETCONF_MAX_SIZE)
		*reason = "larger than " NETCONF_MAX_SIZE_TEXT;
	else if (st->st_mode & (S_IWGRP | S_IWOTH) && privilege_any())
		*reason = "others than its owner may write it";
	if (*reason)
		return -EINVAL;
	*fd = take_fd(&opened);
	return 0;
}

/* Reads to the end or until the buffer of cap bytes is full. */
static ssize_t read_full(int fd, char *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		ssize_t got = read(fd, buf + n, cap - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += got;
	}
	return n;
}

/*
 * One byte more than the file's size tells whether it is growing: then this text is not whole,
 * and its writer's close() will be an event.
 */
static int parse_fd(int fd, size_t size, struct netconf *out, char *error)
{
	_free_ char *text = malloc(size + 1);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = read_full(fd, text, size + 1);
	if (n < 0)
		return n;
	if ((size_t)n > size) {
		snprintf(error, NETCONF_ERROR_LEN, "grew while it was read");
		return -EINVAL;
	}
	return netconf_parse(text, n, out, error);
}

static int static_read(struct store *store, struct netconf *out, char error[NETCONF_ERROR_LEN])
{
	struct static_store *s = (struct static_store *)store;
	const char *reason = NULL;
	_close_ int fd = -1;
	struct stat st;
	int err;

	error[0] = '\0';
	err = open_regular(s, &fd, &st, &reason);
	remember(s, &st);
	if (err == 0)
		err = parse_fd(fd, st.st_size, out, error);
	if (err == 0)
		return 0;
	/* No fault of this file: it may be good, and need not change to be read. */
	if (st.st_mode && err != -EINVAL && err != -EACCES)
		s->uncertain = true;
	if (!reason)
		reason = error[0] ? error : strerror(-err);
	return refuse(s, err, error, reason);
}

const struct store_ops store_static_ops = {
	.scheme = "static",
	.open = static_open,
	.close = static_close,
	.ack = static_ack,
	.read = static_read,
};
