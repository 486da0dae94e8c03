/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "aggregator.h"
#include "conntrack.h"
#include "datapath.h"
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

int state_dir_lock(const char *dir, int *lock_fd)
{
	char path[PATH_MAX], pid[16] = "?";
	_close_ int fd = -1;
	int err = make_parents(dir);

	if (err == 0)
		err = pins_mkdir(dir);
	if (err)
		return err;
	path_of(dir, "lock", path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return log_err(-errno, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		ssize_t n = read(fd, pid, sizeof(pid) - 1);

		pid[n > 0 ? n : 1] = '\0';
		return log_err(-EBUSY, "%s: another agent is running, pid %s", dir, pid);
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (ftruncate(fd, 0) || write(fd, pid, strlen(pid)) < 0)
		return log_err(-errno, "%s", path);
	*lock_fd = take_fd(&fd);
	return 0;
}

void state_dir_unlock(const char *dir, int *lock_fd)
{
	/* The file stays: unlinking it would let two agents lock two files of one name. */
	(void)dir;
	if (*lock_fd >= 0 && ftruncate(*lock_fd, 0))
		log_debug("lock file: %s", strerror(errno));
	cleanup_close(lock_fd);
	*lock_fd = -1;
}

void state_dir_remember(const struct options *options, const char *pin_dir, bool liberal)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	json_t *made =
		json_pack("{s:s, s:s, s:s, s:b}", "tun", options->tun, "subnet_file",
			  options->subnet_file, "pin_dir", pin_dir, "conntrack_liberal", liberal);

	path_of(options->state_dir, "made", path);
	path_of(options->state_dir, "made.tmp", tmp);
	if (!made || json_dump_file(made, tmp, JSON_INDENT(2)) || rename(tmp, path))
		log_warn("%s: not written; cleanup will go by its flags", path);
	json_decref(made);
}

static json_t *recall(const char *dir)
{
	char path[PATH_MAX];

	path_of(dir, "made", path);
	return json_load_file(path, 0, NULL);
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
	int err = -ENOENT;

	if (value && access(value, F_OK) == 0) {
		snprintf(pin_dir, len, "%s", value);
		err = 0;
	}
	json_decref(made);
	return err;
}

bool state_dir_recall_liberal(const char *dir)
{
	json_t *made = recall(dir);
	bool liberal = json_is_true(json_object_get(made, "conntrack_liberal"));

	json_decref(made);
	return liberal;
}

static int teardown_pins(const struct options *options, const json_t *made)
{
	char located[PATH_MAX / 2];
	const char *pin_dir = recalled(made, "pin_dir", NULL);

	/* Remembered through another mount namespace, or by nobody: look where it would be. */
	if (!pin_dir || access(pin_dir, F_OK))
		pin_dir = pins_locate(options->state_dir, located, sizeof(located)) == 0 ? located
											 : NULL;
	return pin_dir ? datapath_cleanup(pin_dir) : 0;
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
	if (rmdir(dir) && errno != ENOENT && errno != ENOTEMPTY)
		log_warn("%s: %s", dir, strerror(errno));
}

static int teardown_devices(const char *tun)
{
	struct nl *nl = NULL;
	int err = nl_open(0, &nl);

	if (err == 0)
		err = aggregator_delete(nl, tun);
	if (err == 0)
		err = vxlan_dev_delete(nl, tun);
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
	int err = teardown_pins(options, made);
	int dev = teardown_devices(recalled(made, "tun", options->tun));

	/* After the programs: until then flows come back to conntrack in the middle. */
	if (json_is_true(json_object_get(made, "conntrack_liberal")))
		conntrack_set_liberal(false);
	if (made)
		unlink(recalled(made, "subnet_file", options->subnet_file));
	json_decref(made);
	if (err == 0 && dev == 0)
		remove_files(options->state_dir);
	return err ? err : dev;
}
