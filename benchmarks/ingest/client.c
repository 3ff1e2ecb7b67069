/* Replays prepared HTTP requests over keep-alive connections: as light a client as can be, so that the server is what
 * is measured. One thread, poll(2).
 *
 *     client PORT CONNECTIONS SECONDS FILE
 *
 * FILE holds requests one after the other, each behind its length (four bytes, little endian). Each connection takes
 * the next one when its answer has come; after SECONDS nothing new is sent. The last line is JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, HEAD = 16384 };

struct connection {
    int fd;
    const char *out;
    size_t left;       /* of the request, still to be sent */
    double began;
    char head[HEAD];   /* of the answer, and what follows it */
    size_t have;
    long body;         /* still to come; -1: the head is not complete, -2: in chunks */
    char tail[5];      /* the last bytes of an answer in chunks */
    int status;
};

static struct connection all[MOST];
static const char *requests;
static size_t size, next_one;
static double *times;
static long answered, room, statuses[600];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int take(struct connection *c) {
    uint32_t length;
    if (next_one + 4 > size) return 0;
    memcpy(&length, requests + next_one, 4);
    c->out = requests + next_one + 4;
    c->left = length;
    next_one += 4 + length;
    c->have = 0;
    c->body = -1;
    memset(c->tail, 0, sizeof c->tail);
    c->began = now();
    return 1;
}

static void push(struct connection *c) {
    while (c->left) {
        ssize_t n = write(c->fd, c->out, c->left);
        if (n < 0) {
            if (errno == EAGAIN) return;
            die("write");
        }
        c->out += n;
        c->left -= n;
    }
}

static void keep_tail(struct connection *c, const char *bytes, size_t n) {
    for (size_t i = n > 5 ? n - 5 : 0; i < n; i++) {
        memmove(c->tail, c->tail + 1, 4);
        c->tail[4] = bytes[i];
    }
}

/* Reads what is there; 1 when the answer is complete. */
static int pull(struct connection *c) {
    static char rest[1 << 18];
    for (;;) {
        int in_head = c->body == -1;
        char *to = in_head ? c->head + c->have : rest;
        ssize_t n = read(c->fd, to, in_head ? HEAD - 1 - c->have : sizeof rest);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n <= 0) {
            fprintf(stderr, "the server closed a connection in the middle of an answer\n");
            exit(1);
        }
        if (in_head) {
            c->have += n;
            c->head[c->have] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) continue;
            c->status = atoi(c->head + 9);
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            size_t after = c->have - (end + 4 - c->head);
            if (length && length < end) c->body = atol(length + 17) - (long)after;
            else if (c->status == 204) c->body = 0;
            else {
                c->body = -2;
                keep_tail(c, end + 4, after);
            }
        } else if (c->body == -2) keep_tail(c, rest, n);
        else c->body -= n;
        if (c->body == 0 || (c->body == -2 && !memcmp(c->tail, "0\r\n\r\n", 5))) return 1;
    }
}

static void note(struct connection *c) {
    if (answered == room) times = realloc(times, (room = room ? room * 2 : 65536) * sizeof *times);
    times[answered++] = now() - c->began;
    if (c->status < 600 && !statuses[c->status]++ && c->status >= 207)
        fprintf(stderr, "%d: %.700s\n", c->status, c->head);
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **words) {
    if (count != 5) return 2;
    int port = atoi(words[1]), connections = atoi(words[2]), busy = 0;
    double seconds = atof(words[3]);
    struct stat about;
    int file = open(words[4], O_RDONLY);
    if (file < 0 || fstat(file, &about)) die(words[4]);
    size = about.st_size;
    requests = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    struct pollfd polls[MOST];
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    double began = now(), ended = began;
    for (int i = 0; i < connections && i < MOST; i++) {
        int one = 1;
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (struct sockaddr *)&there, sizeof there)) die("connect");
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        polls[i].fd = -1;
        if (take(&all[i])) {
            polls[i].fd = all[i].fd;
            busy++;
            push(&all[i]);
        }
    }
    while (busy) {
        for (int i = 0; i < connections; i++) polls[i].events = POLLIN | (all[i].left ? POLLOUT : 0);
        if (poll(polls, connections, 60000) <= 0) {
            fprintf(stderr, "no answer within a minute\n");
            return 1;
        }
        for (int i = 0; i < connections; i++) {
            if (polls[i].fd < 0 || !polls[i].revents) continue;
            if (all[i].left) push(&all[i]);
            if (!(polls[i].revents & (POLLIN | POLLHUP | POLLERR)) || !pull(&all[i])) continue;
            note(&all[i]);
            ended = now();
            if (ended - began < seconds && take(&all[i])) push(&all[i]);
            else {
                polls[i].fd = -1;
                busy--;
            }
        }
    }
    qsort(times, answered, sizeof *times, order);
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"statuses\": {", answered,
           ended - began, times[answered / 2] * 1e3, times[answered * 99 / 100] * 1e3);
    for (int s = 0, first = 1; s < 600; s++)
        if (statuses[s]) printf("%s\"%d\": %ld", first ? "" : ", ", s, statuses[s]), first = 0;
    printf("}}\n");
    return 0;
}
