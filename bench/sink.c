/* sink: a mail exchanger that takes everything, counts it, and keeps a few messages to look at.
 *
 * One thread and epoll, so that it costs a small part of what any server under test does. It offers PIPELINING,
 * 8BITMIME and SMTPUTF8, no TLS. Recipients at a domain that begins with "later." get 451 each. What it has counted lies
 * in a file of four native 64-bit numbers that others map: messages, octets, monotonic nanoseconds of the last
 * message, connections. Every so many messages one is written to a folder (the newest 200), as it came but unstuffed.
 * With ENVELOPES, each message adds a line there: sender, blank, its last recipient.
 * Listens on 127.0.0.1 only and ends when its standard input is closed, so it never outlives who started it.
 *
 *   cc -O2 -o sink sink.c
 *   sink PORT COUNTERS [FOLDER EVERY [ENVELOPES]]        prints the port once it listens (0 takes a free one)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, BLOCK = 65536, MOST_KEPT = 200, MOST_OCTETS = 64 << 20, LONGEST_LINE = 4096, PATH = 321 };

typedef struct {
    uint64_t messages, octets, last_ns, connections;
} Counters;

typedef struct {
    int fd, in_data, recipients, greeted;
    char *in;
    size_t held, room, seen; /* seen: octets of DATA already searched for their end */
    char out[8192];
    size_t out_held;
    char from[PATH], to[PATH];
} Client;

static volatile Counters *count;
static const char *folder;
static uint64_t every;
static int kept;
static FILE *envelopes;
static char block[BLOCK];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void say(Client *c, const char *text) {
    size_t length = strlen(text);
    if (c->out_held + length <= sizeof c->out) {
        memcpy(c->out + c->out_held, text, length);
        c->out_held += length;
    }
}

/* Replies are short and a client reads them: a full socket means that it has stopped doing so. */
static int flush(Client *c) {
    size_t at = 0;
    while (at < c->out_held) {
        ssize_t sent = send(c->fd, c->out + at, c->out_held - at, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        at += (size_t)sent;
    }
    c->out_held = 0;
    return 0;
}

static void drop(Client *c) {
    close(c->fd);
    free(c->in);
    free(c);
}

static void keep(const char *data, size_t length) {
    char path[4096];
    if (!folder || !every || count->messages % every) return;
    snprintf(path, sizeof path, "%s/%06d.eml", folder, kept++ % MOST_KEPT);
    FILE *file = fopen(path, "wb");
    if (!file) return;
    /* RFC 5321 §4.5.2: a dot before a dot at the start of a line was put there for the way. */
    for (size_t at = 0; at < length;) {
        const char *end = memchr(data + at, '\n', length - at);
        size_t line = end ? (size_t)(end - data) - at + 1 : length - at;
        size_t skip = line && data[at] == '.';
        fwrite(data + at + skip, 1, line - skip, file);
        at += line;
    }
    fclose(file);
}

/* What stands between < and >; "" where nothing does or it is too long. */
static void path_of(const char *line, char *path) {
    const char *open = strchr(line, '<'), *end = open ? strchr(open, '>') : NULL;
    size_t length = end ? (size_t)(end - open) - 1 : 0;
    if (length >= PATH) length = 0;
    if (length) memcpy(path, open + 1, length);
    path[length] = 0;
}

static void command(Client *c, char *line) {
    if (!strncasecmp(line, "EHLO", 4)) {
        say(c, "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n");
    } else if (!strncasecmp(line, "RCPT", 4)) {
        if (strcasestr(line, "@later.")) {
            say(c, "451 4.2.1 Later, please\r\n");
        } else {
            c->recipients++;
            path_of(line, c->to);
            say(c, "250 2.1.5 Ok\r\n");
        }
    } else if (!strncasecmp(line, "DATA", 4)) {
        if (!c->recipients) {
            say(c, "503 5.5.1 No recipients\r\n");
        } else {
            c->in_data = 1;
            c->seen = 0;
            say(c, "354 Go on\r\n");
        }
    } else if (!strncasecmp(line, "QUIT", 4)) {
        say(c, "221 2.0.0 Bye\r\n");
        c->greeted = 0;
    } else {
        if (!strncasecmp(line, "RSET", 4) || !strncasecmp(line, "MAIL", 4)) c->recipients = 0;
        if (!strncasecmp(line, "MAIL", 4)) path_of(line, c->from);
        say(c, "250 2.0.0 Ok\r\n");
    }
}

/* What has arrived, eaten as far as it is whole. -1: the client is to be dropped. */
static int eat(Client *c) {
    size_t at = 0;
    while (at < c->held) {
        char *from = c->in + at;
        size_t left = c->held - at;
        if (c->in_data) {
            /* The end may straddle two reads: four octets are searched again. An empty message is ".CRLF" alone. */
            size_t start = c->seen > 4 ? c->seen - 4 : 0;
            char *end = NULL;
            size_t length = 0, over = 0;
            if (left >= 3 && !memcmp(from, ".\r\n", 3)) {
                end = from, length = 0, over = 3;
            } else if ((end = memmem(from + start, left - start, "\r\n.\r\n", 5))) {
                length = (size_t)(end - from) + 2, over = length + 3;
            }
            if (!end) {
                c->seen = left;
                break;
            }
            keep(from, length);
            count->octets += length;
            count->last_ns = now_ns();
            count->messages++;
            if (envelopes) fprintf(envelopes, "%s %s\n", c->from, c->to);
            c->in_data = c->recipients = 0;
            say(c, "250 2.0.0 Ok: kept\r\n");
            at += over;
            continue;
        }
        char *end = memchr(from, '\n', left);
        if (!end) {
            if (left > LONGEST_LINE) return -1;
            break;
        }
        *end = 0;
        command(c, from);
        at += (size_t)(end - from) + 1;
        if (c->out_held > sizeof c->out / 2 && flush(c)) return -1;
    }
    memmove(c->in, c->in + at, c->held - at);
    c->held -= at;
    return flush(c) || !c->greeted ? -1 : 0;
}

static int hear(Client *c) {
    ssize_t got = recv(c->fd, block, sizeof block, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) return -1;
    if (c->held + (size_t)got > c->room) {
        c->room = (c->held + (size_t)got) * 2;
        if (c->room > MOST_OCTETS || !(c->in = realloc(c->in, c->room))) return -1;
    }
    memcpy(c->in + c->held, block, (size_t)got);
    c->held += (size_t)got;
    return eat(c);
}

static int map_counters(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(Counters))) return -1;
    void *at = mmap(NULL, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    count = at;
    return at == MAP_FAILED ? -1 : 0;
}

static int listen_on(int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof here;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&here, size) || listen(fd, 1000)) return -1;
    getsockname(fd, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    return fd;
}

static void welcome(int poll, int listener) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    Client *c = calloc(1, sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = fd;
    c->greeted = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    count->connections++;
    say(c, "220 sink.test ESMTP\r\n");
    if (flush(c) || epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) drop(c);
}

int main(int argc, char **argv) {
    static int input, listener;
    struct epoll_event events[EVENTS];
    if (argc != 3 && argc != 5 && argc != 6) {
        fprintf(stderr, "sink PORT COUNTERS [FOLDER EVERY [ENVELOPES]]\n");
        return 2;
    }
    if (argc >= 5) folder = argv[3], every = strtoull(argv[4], NULL, 10);
    if (argc == 6 && !(envelopes = fopen(argv[5], "ae"))) {
        fprintf(stderr, "sink: %s: %s\n", argv[5], strerror(errno));
        return 1;
    }
    if (map_counters(argv[2])) {
        fprintf(stderr, "sink: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    listener = listen_on(atoi(argv[1]));
    if (listener < 0) {
        fprintf(stderr, "sink: port %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &input;
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int k = 0; k < ready; k++) {
            void *what = events[k].data.ptr;
            if (what == &input) {
                if (read(0, block, sizeof block) <= 0) return 0;
            } else if (what == &listener) {
                welcome(poll, listener);
            } else if (hear(what)) {
                drop(what);
            }
        }
        if (envelopes) fflush(envelopes);
    }
}
