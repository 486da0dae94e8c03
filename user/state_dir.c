/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "aggregator.h"
#include "datapath.h"
#include "file.h"
#include "fou_dev.h"
#include "log.h"
#include "masquerade.h"
#include "overlay_dev.h"
#include "pins.h"
#include "port_guard.h"
#include "util.h"
#include "vxlan_dev.h"

static void path_of(const char *dir, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", dir, name);
}

static int make_parents(const char *dir)
{
	_free_ char *path = strdup(dir);

	if (!path)
		return -ENOMEM;
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return log_err(-errno, "%s", path);
		*slash = '/';
	}
	return 0;
}

/* Ours; others may at most look for the socket in it. Root cleans up what other users made. */
static int check_dir(const char *dir, bool cleanup)
{
	struct stat st;

	if (lstat(dir, &st))
		return log_err(-errno, "%s", dir);
	if (S_ISDIR(st.st_mode) && !(st.st_mode & (S_IWGRP | S_IRWXO)) &&
	    (st.st_uid == geteuid() || (cleanup && geteuid() == 0)))
		return 0;
	return log_err(-EPERM, "%s: not a private directory of ours", dir);
}

static int make_dir(const char *dir)
{
	int err = make_parents(dir);

	if (err)
		return err;
	return mkdir(dir, 0700) && errno != EEXIST ? log_err(-errno, "%s", dir) : 0;
}

/* What has a second name elsewhere would be emptied there, too. */
static int open_lock(const char *path, int *out)
{
	_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return log_err(-errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return log_err(-EPERM, "%s: not a lock of ours", path);
	*out = take_fd(&fd);
	return 0;
}

int state_dir_lock(const char *dir, bool cleanup, int *lock_fd)
{
	char path[PATH_MAX], pid[16];
	_close_ int fd = -1;
	int err = cleanup ? 0 : make_dir(dir);

	path_of(dir, "lock", path);
	if (err == 0)
		err = check_dir(dir, cleanup);
	if (err == 0)
		err = open_lock(path, &fd);
	if (err)
		return err;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		/* What the file says may still be of one that was killed. */
		snprintf(pid, sizeof(pid), "%d", state_dir_holder(dir));
		return log_err(-EBUSY, "%s: another agent is running, pid %s", dir,
			       strcmp(pid, "0") ? pid : "?");
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (ftruncate(fd, 0) || write(fd, pid, strlen(pid)) < 0)
		return log_err(-errno, "%s", path);
	*lock_fd = take_fd(&fd);
	return 0;
}

/*
 * The file stays: without it two agents could lock two files of one name. Only teardown removes it,
 * with all else that is there.
 */
void state_dir_unlock(int *lock_fd)
{
	if (*lock_fd >= 0 && ftruncate(*lock_fd, 0))
		log_debug("lock file: %s", strerror(errno));
	cleanup_close(lock_fd);
	*lock_fd = -1;
}

/* Not by trying: that would be in the way of an agent that starts at this moment. */
pid_t state_dir_holder(const char *dir)
{
	_fclose_ FILE *locks = fopen("/proc/locks", "re");
	char path[PATH_MAX], line[256], file[64];
	struct stat st;
	int pid;

	path_of(dir, "lock", path);
	if (!locks || stat(path, &st))
		return 0;
	snprintf(file, sizeof(file), " %02x:%02x:%ju ", major(st.st_dev), minor(st.st_dev),
		 (uintmax_t)st.st_ino);
	while (fgets(line, sizeof(line), locks))
		if (strstr(line, file) && sscanf(line, "%*s FLOCK %*s WRITE %d", &pid) == 1)
			return pid;
	return 0;
}

int state_dir_remember(const struct options *options, const char *pin_dir,
		       const struct conntrack_saved *conntrack, uint16_t fou_port)
{
	char path[PATH_MAX];
	_free_ char *text = NULL;
	int err = -ENOMEM;
	json_t *made = json_pack("{s:s, s:s, s:s, s:b, s:i, s:i}", "tun", options->tun,
				 "subnet_file", options->subnet_file, "pin_dir", pin_dir,
				 "conntrack_liberal", conntrack->strict, "conntrack_unacknowledged",
				 conntrack->unacknowledged_s, "fou_port", (int)fou_port);

	path_of(options->state_dir, "made", path);
	text = made ? json_dumps(made, JSON_INDENT(2)) : NULL;
	if (text)
		err = file_replace(path, text, 0600);
	json_decref(made);
	return err;
}

/*
 * Root may clean up after another user's agent, but not go by its word for where files are: it
 * could name anybody's. They are where the options say then.
 */
static json_t *recall(const char *dir)
{
	_fclose_ FILE *file = NULL;
	char path[PATH_MAX];
	struct stat st;
	json_t *made;

	path_of(dir, "made", path);
	if (stat(dir, &st) || file_open_own(path, st.st_uid, &file))
		return NULL;
	made = json_loadf(file, 0, NULL);
	if (st.st_uid != geteuid()) {
		json_object_del(made, "subnet_file");
		json_object_del(made, "pin_dir");
	}
	return made;
}

static const char *recalled(const json_t *made, const char *key, const char *fallback)
{
	const char *value = json_string_value(json_object_get(made, key));

	return value && value[0] ? value : fallback;
}

int state_dir_recall_pins(const char *dir, char *pin_dir, size_t len)
{
	json_t *made = recall(dir);
	const char *value = recalled(made, "pin_dir", NULL);
	int err = value && access(value, F_OK) == 0 ? 0 : -ENOENT;

	if (err == 0)
		snprintf(pin_dir, len, "%s", value);
	else
		err = pins_find(dir, pin_dir, len);
	json_decref(made);
	return err;
}

bool state_dir_is_new(const struct options *options)
{
	char path[PATH_MAX], pin_dir[PATH_MAX];

	path_of(options->state_dir, "made", path);
	return access(path, F_OK) && errno == ENOENT &&
	       state_dir_recall_pins(options->state_dir, pin_dir, sizeof(pin_dir)) &&
	       if_nametoindex(options->tun) == 0;
}

static uint16_t recalled_port(const json_t *made)
{
	return (uint16_t)json_integer_value(json_object_get(made, "fou_port"));
}

static struct conntrack_saved recalled_conntrack(const json_t *made)
{
	return (struct conntrack_saved){
		.strict = json_is_true(json_object_get(made, "conntrack_liberal")),
		.unacknowledged_s =
			(int)json_integer_value(json_object_get(made, "conntrack_unacknowledged")),
	};
}

void state_dir_recall(const char *dir, struct conntrack_saved *conntrack, uint16_t *fou_port)
{
	json_t *made = recall(dir);

	*conntrack = recalled_conntrack(made);
	*fou_port = recalled_port(made);
	json_decref(made);
}

static int teardown_pins(const struct options *options, const json_t *made)
{
	char located[PATH_MAX / 2];
	const char *pin_dir = recalled(made, "pin_dir", NULL);

	/* Remembered through another mount namespace, or by nobody: look where it would be. */
	if (!pin_dir || access(pin_dir, F_OK))
		pin_dir = pins_find(options->state_dir, located, sizeof(located)) == 0 ? located
										       : NULL;
	return datapath_cleanup(pin_dir);
}

static void remove_files(const char *dir)
{
	static const char *const names[] = {
		"ctl.sock", "made", "made.tmp", STATE_DIR_REGISTRY, STATE_DIR_REGISTRY ".tmp",
		"lock"};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		path_of(dir, names[i], path);
		unlink(path);
	}
	/* The last two: it was given to us. */
	if (rmdir(dir) && errno != ENOENT && errno != ENOTEMPTY && errno != EBUSY &&
	    errno != EACCES)
		log_warn("%s: %s", dir, strerror(errno));
}

static int teardown_devices(const char *tun, uint16_t fou_port)
{
	struct nl *nl = NULL;
	int err = nl_open(0, &nl);

	if (err == 0)
		err = aggregator_delete(nl, tun);
	if (err == 0)
		err = vxlan_dev_delete(nl, tun);
	if (err == 0)
		err = fou_dev_delete(nl, tun, fou_port);
	nl_close(nl);
	port_guard_delete(tun); /* Refused only where there can be none. */
	masquerade_delete(tun);
	if (err == 0)
		err = overlay_dev_delete(tun);
	return err ? log_err(err, "%s", tun) : 0;
}

int state_dir_teardown(const struct options *options)
{
	json_t *made = recall(options->state_dir);
	struct conntrack_saved conntrack = recalled_conntrack(made);
	int err = teardown_pins(options, made);
	int dev = teardown_devices(recalled(made, "tun", options->tun), recalled_port(made));

	/* After the programs: until then flows come back to conntrack in the middle. */
	conntrack_restore(&conntrack);
	if (made)
		unlink(recalled(made, "subnet_file", options->subnet_file));
	json_decref(made);
	if (err == 0 && dev == 0)
		remove_files(options->state_dir);
	return err ? err : dev;
}
