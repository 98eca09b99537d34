/* load: a submission client that offers mail as fast as the server takes it, or at a steady rate.
 *
 * K connections, a thread and blocking sockets each, so that the client costs little and hides nothing. It greets,
 * starts TLS (a full handshake every time, no resumption), authenticates with PLAIN, pipelines where the server
 * offers it, and sends M messages over a connection. A refused or broken transaction is counted and tried again, a
 * bounded number of times. With a rate, a message's time runs from when it was due, however late it was begun. It stops by itself at its deadline, and speaks to loopback only.
 *
 *   cc -O2 -pthread -o load load.c -lssl -lcrypto
 *   load -p PORT -n MESSAGES [-c CONNECTIONS] [-m MESSAGES A CONNECTION, 0: no end] [-s OCTETS] [-r RECIPIENTS]
 *        [-T] [-P] [-a USER] [-f FROM] [-d RECIPIENT DOMAIN] [-H "Header: value"] [-w SECONDS] [-R MESSAGES A SECOND]
 *
 * The password is read from the environment (LOAD_PASSWORD), so that it stands in no process list.
 * One line of JSON on standard output; exit 0 when every message was accepted, else 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 1024, ADDRESS = 256, MOST_TRIES = 20, PAUSE_US = 20000, IO_SECONDS = 60 };

static struct {
    int port, messages, connections, per_connection, octets, recipients, tls, pipelining;
    double seconds, rate;
    const char *user, *from, *domain, *header;
} want = {.messages = 1000, .connections = 20, .octets = 4096, .recipients = 1, .seconds = 120,
          .from = "sender@example.test", .domain = "sink.test", .header = ""};

static SSL_CTX *tls_context;
static char login[1024];
static char *body;
static size_t body_length;
static double begun, deadline;

static atomic_int next_message, accepted, refused, broken, sessions;
static double *took, *opened; /* seconds: MAIL to the 250 of each message; connect to AUTH of each connection */
static atomic_int opened_count;
static _Atomic double last_accept;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static char fault[LINE];

typedef struct {
    int fd;
    SSL *ssl;
    int offers_pipelining, hushed; /* hushed: the first refusal of a group is the one that tells why */
    char buffer[16384];
    int filled, at;
} Wire;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The last thing that went wrong, made safe for a JSON string. */
static void remember(const char *form, ...) {
    char text[LINE];
    va_list rest;
    va_start(rest, form);
    vsnprintf(text, sizeof text, form, rest);
    va_end(rest);
    for (char *p = text; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126) *p = '\'';
    pthread_mutex_lock(&fault_lock);
    memcpy(fault, text, sizeof fault);
    pthread_mutex_unlock(&fault_lock);
}

static int put(Wire *w, const char *data, size_t length) {
    while (length) {
        size_t piece = length > (1 << 20) ? (1 << 20) : length;
        long sent = w->ssl ? SSL_write(w->ssl, data, (int)piece) : send(w->fd, data, piece, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int get_line(Wire *w, char *line, int room) {
    int length = 0;
    for (;;) {
        if (w->at == w->filled) {
            long got = w->ssl ? SSL_read(w->ssl, w->buffer, sizeof w->buffer)
                              : recv(w->fd, w->buffer, sizeof w->buffer, 0);
            if (got <= 0) return -1;
            w->filled = (int)got;
            w->at = 0;
        }
        char c = w->buffer[w->at++];
        if (c == '\n') break;
        if (c != '\r' && length < room - 1) line[length++] = c;
    }
    line[length] = 0;
    return length;
}

/* A whole reply: its code, 0 when the connection is gone. */
static int reply(Wire *w) {
    char line[LINE];
    do {
        if (get_line(w, line, sizeof line) < 3) {
            remember("connection lost");
            return 0;
        }
        if (line[3] && !strcasecmp(line + 4, "PIPELINING")) w->offers_pipelining = 1;
    } while (line[3] == '-');
    int code = atoi(line);
    if (code >= 400 && !w->hushed) remember("%s", line);
    return code;
}

static int ask(Wire *w, const char *command) {
    return put(w, command, strlen(command)) ? 0 : reply(w);
}

static void hang_up(Wire *w) {
    if (w->ssl) SSL_free(w->ssl);
    if (w->fd >= 0) close(w->fd);
    w->ssl = NULL;
    w->fd = -1;
}

static int start_tls(Wire *w) {
    if (ask(w, "STARTTLS\r\n") != 220) return -1;
    w->ssl = SSL_new(tls_context);
    w->at = w->filled = 0; /* RFC 3207 §4.2: nothing heard before TLS counts */
    w->offers_pipelining = 0;
    if (!w->ssl || !SSL_set_fd(w->ssl, w->fd) || SSL_connect(w->ssl) != 1) {
        remember("TLS handshake failed");
        return -1;
    }
    return ask(w, "EHLO client.example.test\r\n") == 250 ? 0 : -1;
}

static int call_up(Wire *w) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)want.port)};
    struct timeval patience = {.tv_sec = IO_SECONDS};
    int on = 1;
    double since = now();
    memset(w, 0, sizeof *w);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(w->fd, (struct sockaddr *)&to, sizeof to)) {
        remember("connect: %s", strerror(errno));
        return -1;
    }
    atomic_fetch_add(&sessions, 1);
    if (reply(w) != 220 || ask(w, "EHLO client.example.test\r\n") != 250) return -1;
    if (want.tls && start_tls(w)) return -1;
    if (want.user && ask(w, login) != 235) return -1;
    int k = atomic_fetch_add(&opened_count, 1);
    if (k < want.messages) opened[k] = now() - since;
    return 0;
}

/* MAIL, RCPT and DATA, in one write where the server offers that. 0 when the server waits for the message. */
static int envelope(Wire *w, int number) {
    static const char *no_room = "envelope too large";
    size_t room = (size_t)want.recipients * (ADDRESS + 16) + 2 * ADDRESS;
    char *text = malloc(room);
    size_t length = (size_t)snprintf(text, room, "MAIL FROM:<%s>\r\n", want.from);
    int bad = 0;
    if (!(want.pipelining && w->offers_pipelining)) bad = ask(w, text) != 250, length = 0;
    for (int k = 0; k < want.recipients && !bad; k++) {
        length += (size_t)snprintf(text + length, room - length, "RCPT TO:<user%d.%d@%s>\r\n", number, k, want.domain);
        if (length >= room) {
            remember("%s", no_room);
            bad = 1;
        } else if (!(want.pipelining && w->offers_pipelining)) {
            bad = ask(w, text) != 250, length = 0;
        }
    }
    if (!bad && want.pipelining && w->offers_pipelining) {
        /* RFC 2920 §3.1: DATA is the last of a group. Its 354 must be read whatever came before it. */
        length += (size_t)snprintf(text + length, room - length, "DATA\r\n");
        bad = put(w, text, length) || reply(w) != 250;
        for (int k = 0; k < want.recipients; k++) w->hushed = bad, bad |= reply(w) != 250;
        w->hushed = bad, bad |= reply(w) != 354;
        w->hushed = 0;
    } else if (!bad) {
        bad = ask(w, "DATA\r\n") != 354;
    }
    free(text);
    return bad;
}

static int offer(Wire *w, int number, char *message) {
    time_t seconds = time(NULL);
    struct tm utc;
    char date[64];
    gmtime_r(&seconds, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &utc);
    if (envelope(w, number)) return -1;
    int head = snprintf(message, 4 * LINE,
                        "From: The Sender <%s>\r\nTo: A Reader <user%d.0@%s>\r\nSubject: Order %d is on its way\r\n"
                        "Date: %s\r\nMessage-ID: <%d.%d.%ld@client.example.test>\r\nMIME-Version: 1.0\r\n"
                        "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n%s%s\r\n",
                        want.from, number, want.domain, number, date, number, (int)getpid(), (long)seconds,
                        want.header, *want.header ? "\r\n" : "");
    memcpy(message + head, body, body_length);
    if (put(w, message, (size_t)head + body_length)) return -1;
    return reply(w) == 250 ? 0 : -1;
}

static void *connection(void *unused) {
    Wire wire = {.fd = -1};
    char *message = malloc(body_length + 4 * LINE);
    int sent_here = 0;
    (void)unused;
    for (int number; (number = atomic_fetch_add(&next_message, 1)) < want.messages;) {
        int done = 0;
        double due = want.rate > 0 ? begun + number / want.rate : 0, early = due - now();
        if (early > 0) usleep((useconds_t)(early * 1e6));
        for (int tries = 0; !done && tries < MOST_TRIES && now() < deadline; tries++) {
            if (tries) usleep(PAUSE_US);
            if (wire.fd < 0) {
                sent_here = 0;
                if (call_up(&wire)) {
                    atomic_fetch_add(&broken, 1);
                    hang_up(&wire);
                    continue;
                }
            }
            double since = due > 0 ? due : now();
            if (offer(&wire, number, message)) {
                atomic_fetch_add(&refused, 1);
                hang_up(&wire);
                continue;
            }
            double until = now();
            took[atomic_fetch_add(&accepted, 1)] = until - since;
            for (double seen = last_accept; until > seen && !atomic_compare_exchange_weak(&last_accept, &seen, until);) {
            }
            done = 1;
        }
        if (!done && now() >= deadline) break;
        if (want.per_connection && ++sent_here >= want.per_connection && wire.fd >= 0) {
            ask(&wire, "QUIT\r\n");
            hang_up(&wire);
        }
    }
    if (wire.fd >= 0) {
        ask(&wire, "QUIT\r\n");
        hang_up(&wire);
    }
    free(message);
    return NULL;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share(const double *sorted, int count, double part) {
    return count ? sorted[(int)(part * (count - 1))] * 1e3 : 0;
}

/* Text of 76 columns without a pattern that repeats, and the end of data. */
static void make_body(void) {
    unsigned dice = 2463534242u;
    size_t at = 0, octets = (size_t)want.octets;
    body = malloc(octets + octets / 38 + 128);
    while (at < octets) {
        for (int column = 0; column < 76 && at < octets; column++) {
            dice ^= dice << 13, dice ^= dice >> 17, dice ^= dice << 5;
            body[at++] = column % 7 == 6 ? ' ' : (char)('a' + dice % 26);
        }
        body[at++] = '\r', body[at++] = '\n';
    }
    memcpy(body + at, ".\r\n", 3);
    body_length = at + 3;
}

/* RFC 4616 §2: an empty authorisation identity, then name and password, each after a NUL. */
static int make_login(void) {
    const char *password = getenv("LOAD_PASSWORD");
    unsigned char plain[512];
    char encoded[700];
    size_t user = strlen(want.user), secret = password ? strlen(password) : 0;
    if (!secret || user + secret + 2 > sizeof plain) return -1;
    plain[0] = 0;
    memcpy(plain + 1, want.user, user);
    plain[user + 1] = 0;
    memcpy(plain + user + 2, password, secret);
    EVP_EncodeBlock((unsigned char *)encoded, plain, (int)(user + secret + 2));
    snprintf(login, sizeof login, "AUTH PLAIN %s\r\n", encoded);
    return 0;
}

int main(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "p:n:c:m:s:r:TPa:f:d:H:w:R:")) > 0;) switch (option) {
        case 'p': want.port = atoi(optarg); break;
        case 'n': want.messages = atoi(optarg); break;
        case 'c': want.connections = atoi(optarg); break;
        case 'm': want.per_connection = atoi(optarg); break;
        case 's': want.octets = atoi(optarg); break;
        case 'r': want.recipients = atoi(optarg); break;
        case 'T': want.tls = 1; break;
        case 'P': want.pipelining = 1; break;
        case 'a': want.user = optarg; break;
        case 'f': want.from = optarg; break;
        case 'd': want.domain = optarg; break;
        case 'H': want.header = optarg; break;
        case 'w': want.seconds = atof(optarg); break;
        case 'R': want.rate = atof(optarg); break;
        default: return 2;
        }
    if (want.port < 1 || want.messages < 1 || want.connections < 1 || want.octets < 1 || want.recipients < 1 ||
        strlen(want.from) > ADDRESS / 2 || strlen(want.domain) > ADDRESS / 2 || strlen(want.header) > LINE) {
        fprintf(stderr, "load: a number or a name is out of bounds\n");
        return 2;
    }
    if (want.user && make_login()) {
        fprintf(stderr, "load: LOAD_PASSWORD is missing, or the login is too long\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (want.tls) {
        /* Whether a certificate is to be believed is not what is measured here. */
        tls_context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    }
    make_body();
    took = calloc((size_t)want.messages + 1, sizeof *took);
    opened = calloc((size_t)want.messages + 1, sizeof *opened);
    pthread_t *threads = calloc((size_t)want.connections, sizeof *threads);
    double since = now();
    last_accept = since;
    begun = since;
    deadline = since + want.seconds;
    for (int k = 0; k < want.connections; k++) pthread_create(threads + k, NULL, connection, NULL);
    for (int k = 0; k < want.connections; k++) pthread_join(threads[k], NULL);

    int count = accepted, calls = opened_count < want.messages ? opened_count : want.messages;
    double seconds = last_accept - since;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(took, (size_t)count, sizeof *took, by_size);
    qsort(opened, (size_t)calls, sizeof *opened, by_size);
    printf("{\"accepted\":%d,\"refused\":%d,\"broken\":%d,\"sessions\":%d,\"started\":%.6f,\"seconds\":%.4f,"
           "\"rate\":%.2f,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"open_p50_ms\":%.3f,"
           "\"open_p99_ms\":%.3f,\"client_cpu_ms\":%.4f,\"fault\":\"%s\"}\n",
           count, refused, broken, sessions, since, seconds, seconds > 0 ? count / seconds : 0, share(took, count, .5),
           share(took, count, .95), share(took, count, .99), share(took, count, 1), share(opened, calls, .5),
           share(opened, calls, .99), count ? cpu / count * 1e3 : 0, fault);
    return count == want.messages ? 0 : 1;
}
