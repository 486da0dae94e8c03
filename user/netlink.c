/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>
#include <time.h>

#include "log.h"
#include "util.h"

/* The kernel fills dump messages up to the largest buffer it saw, 32 KB at most. */
#define RECEIVE_BUFFER_BYTES (64 * 1024)
/* Room for the burst of events that one moved route table or a flapping link makes. */
#define SUBSCRIBED_RCVBUF_BYTES (4 * 1024 * 1024)
/* A table that changes during this many dumps in a row is not going to hold still. */
#define DUMP_TRIES 16
/* What the kernel takes for an errno: include/linux/err.h, MAX_ERRNO. */
#define ERRNO_MAX 4095

struct nl {
	struct mnl_socket *sock;
	uint32_t seq;
	char buf[RECEIVE_BUFFER_BYTES];
};

/* One request on its way: what nl_request() learnt from the answers so far. */
struct request {
	uint32_t seq;
	nl_fn fn;
	void *arg;
	bool done;
	bool interrupted;
	int err;
};

static void set_options(struct mnl_socket *sock, uint32_t groups)
{
	int on = 1, bytes = SUBSCRIBED_RCVBUF_BYTES;

	/* All of these make things better and none is needed, hence no error check. */
	mnl_socket_setsockopt(sock, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(sock, NETLINK_CAP_ACK, &on, sizeof(on));
	if (groups)
		setsockopt(mnl_socket_get_fd(sock), SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
			   sizeof(bytes));
}

static int open_bus(int bus, uint32_t groups, struct nl **out)
{
	_free_ struct nl *nl = calloc(1, sizeof(*nl));
	int err;

	if (!nl)
		return -ENOMEM;
	nl->seq = (uint32_t)time(NULL);
	nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->sock)
		return -errno;
	set_options(nl->sock, groups);
	if (mnl_socket_bind(nl->sock, groups, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		mnl_socket_close(nl->sock);
		return err;
	}
	*out = take_ptr(nl);
	return 0;
}

int nl_open(uint32_t groups, struct nl **out)
{
	return open_bus(NETLINK_ROUTE, groups, out);
}

int nl_open_generic(struct nl **out)
{
	return open_bus(NETLINK_GENERIC, 0, out);
}

int nl_open_xfrm(struct nl **out)
{
	return open_bus(NETLINK_XFRM, 0, out);
}

void nl_close(struct nl *nl)
{
	if (!nl)
		return;
	mnl_socket_close(nl->sock);
	free(nl);
}

int nl_fd(const struct nl *nl)
{
	return mnl_socket_get_fd(nl->sock);
}

bool nl_is_message(const struct nlmsghdr *nlh, int left)
{
	return mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= (uint32_t)left;
}

/* Bytes received from the kernel into nl->buf, 0 for a message of anybody else, or -errno. */
static ssize_t receive(struct nl *nl, int flags)
{
	struct sockaddr_nl from = {};
	struct iovec iov = {.iov_base = nl->buf, .iov_len = sizeof(nl->buf)};
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t n;

	do
		n = recvmsg(nl_fd(nl), &msg, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (from.nl_pid)
		return 0;
	return msg.msg_flags & MSG_TRUNC ? -ENOBUFS : n;
}

static int find_message(const struct nlattr *attr, void *arg)
{
	const char **text = arg;

	if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
		*text = mnl_attr_get_str(attr);
	return MNL_CB_OK;
}

/* The kernel's own words about an error or a warning; errno alone is often just EINVAL. */
static void log_extack(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	size_t offset = sizeof(*e);
	const char *text = NULL;

	/* That something does not exist is an answer, and often the expected one. */
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || e->error == -ENOENT)
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		offset += MNL_ALIGN(e->msg.nlmsg_len) - MNL_NLMSG_HDRLEN;
	if (mnl_nlmsg_get_payload_len(nlh) < offset)
		return;
	mnl_attr_parse(nlh, offset, find_message, &text);
	if (text)
		log_debug("netlink: request type %u: %s", e->msg.nlmsg_type, text);
}

/* The status in an NLMSG_ERROR or NLMSG_DONE: 0 or a negative errno. */
static int end_status(const struct nlmsghdr *nlh)
{
	int status;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(int))
		return nlh->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nlmsgerr))
			return -EBADMSG;
		log_extack(nlh);
	}
	status = *(const int *)mnl_nlmsg_get_payload(nlh);
	return status <= 0 && status >= -ERRNO_MAX ? status : -EBADMSG;
}

static void handle_answer(struct request *req, const struct nlmsghdr *nlh)
{
	int err;

	if (nlh->nlmsg_seq != req->seq || nlh->nlmsg_type == NLMSG_NOOP)
		return;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		req->interrupted = true;
	if (nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR) {
		req->done = true;
		err = end_status(nlh);
		/* The answers' reader stopped first; its reason is the better one. */
		if (!req->err)
			req->err = err;
		return;
	}
	/* After an error the rest is still read, or the next dump would get EBUSY. */
	if (nlh->nlmsg_type < NLMSG_MIN_TYPE || req->err || !req->fn)
		return;
	err = req->fn(nlh, req->arg);
	if (err < 0)
		req->err = err;
}

static int request_once(struct nl *nl, struct nlmsghdr *nlh, struct request *req)
{
	const struct nlmsghdr *answer;
	ssize_t sent, n;
	int left;

	req->seq = nlh->nlmsg_seq = ++nl->seq;
	do
		sent = mnl_socket_sendto(nl->sock, nlh, nlh->nlmsg_len);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	while (!req->done) {
		n = receive(nl, 0);
		if (n < 0)
			return (int)n;
		left = (int)n;
		for (answer = (const void *)nl->buf; nl_is_message(answer, left);
		     answer = mnl_nlmsg_next(answer, &left))
			handle_answer(req, answer);
	}
	return req->err;
}

int nl_request(struct nl *nl, struct nlmsghdr *nlh, nl_fn fn, void *arg)
{
	int i, err;

	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	for (i = 0; i < DUMP_TRIES; i++) {
		struct request req = {.fn = fn, .arg = arg};

		err = request_once(nl, nlh, &req);
		if (err || !req.interrupted)
			return err;
	}
	return -EAGAIN;
}

int nl_receive(struct nl *nl, nl_fn fn, void *arg, bool *overrun)
{
	const struct nlmsghdr *nlh;
	int err, left, first_err = 0;
	ssize_t n;

	*overrun = false;
	for (;;) {
		n = receive(nl, MSG_DONTWAIT);
		if (n == -EAGAIN)
			return first_err;
		if (n == -ENOBUFS) {
			*overrun = true;
			continue;
		}
		if (n < 0)
			return (int)n;
		left = (int)n;
		for (nlh = (const void *)nl->buf; nl_is_message(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left)) {
			if (nlh->nlmsg_type < NLMSG_MIN_TYPE)
				continue;
			err = fn(nlh, arg);
			if (err < 0 && !first_err)
				first_err = err;
		}
	}
}
