/*
 * Makes calls for benchmarks, and prints as one JSON object how they went.
 *
 *   load --port PORT --body FILE [--path PATH] [--header LINE]... [--connections N]
 *        [--end TEXT] [--seconds S | --calls N] [--rate CALLS_PER_SECOND | --stagger MICROSECONDS] [--patience S]
 *
 * Without `--rate` each connection makes its next call when it has its answer; their first ones begin `--stagger`
 * apart, lest the events of many paced streams keep coming at the same moments. With `--rate` calls begin at moments
 * that were drawn beforehand, exponentially spaced and the same in every run, whether or not earlier ones have been
 * answered; the time of a call counts from the moment it was to begin, however late a connection was free for it. No
 * call begins after `--seconds`, and those that have begun are waited for: so long as `--patience` says.
 *
 * An answer is good if its status is 200, its framing ended as HTTP says it must, and, being a stream, it ends with
 * `--end` (`data: [DONE]`) and line feeds.
 */

#include "common.h"
#include <getopt.h>
#include <math.h>

typedef struct {
    int fd;
    Bytes in;
    size_t sent, head;           /* `head`: bytes of the answer's head, 0 while it is not there */
    int64_t due, length;         /* when its call was to begin; of the body: -1 if chunked */
    bool busy, open, stream;     /* `open`: the answer has begun */
} Connection;

static struct {
    long calls, errors, limit;
    long bytes_least, bytes_most, events_least, events_most, open, open_most;
    double rate;
    int64_t begun, ends, stagger;
} run = {.bytes_least = INT64_MAX, .events_least = INT64_MAX, .limit = INT64_MAX};

static const char *path = "/v1/chat/completions", *end_mark = "data: [DONE]";
static int epoll, timer, port;
static Bytes request, times; /* `times`: of good calls, an int64_t of nanoseconds each */
static Connection *connections, **idle;
static int connection_count = 1, idle_count;
static char first_error[512];
static int64_t next_at;

static void join(Connection *connection) {
    struct sockaddr_in address = loopback(port);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    quick(connection->fd);
    watch(epoll, EPOLL_CTL_ADD, connection->fd, EPOLLIN, connection);
}

static void wrong(Connection *connection, const char *what) {
    run.errors++;
    if (first_error[0])
        return;
    int shown = connection->in.used < 300 ? (int)connection->in.used : 300;
    snprintf(first_error, sizeof first_error, "%s: %.*s", what, shown, connection->in.used ? connection->in.bytes : "");
    for (char *at = first_error; *at; at++)
        if (*at < ' ' || *at == '"' || *at == '\\' || *at > '~')
            *at = '_';
}

/* The call is over: its connection is free again, or, if it is of no more use, a new one takes its place. */
static void release(Connection *connection, bool keep) {
    run.open -= connection->open;
    connection->busy = connection->open = false;
    connection->in.used = connection->head = connection->sent = 0;
    if (!keep) {
        close(connection->fd);
        connection->fd = -1; /* joined anew by its next call */
    }
    idle[idle_count++] = connection;
}

static void send_more(Connection *connection) {
    bool there = write_some(connection->fd, &request, &connection->sent);
    bool all = connection->sent == request.used;
    if (there)
        watch(epoll, EPOLL_CTL_MOD, connection->fd, all ? EPOLLIN : EPOLLIN | EPOLLOUT, connection);
}

static int64_t gap(void) {
    static uint64_t seed = 88172645463325252ULL;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int64_t)(-log(((double)(seed >> 11) + 1) / 9007199254740993.0) / run.rate * 1e9);
}

/* Begins the calls whose time has come, as far as connections are free. */
static void begin(void) {
    int64_t now = now_ns();
    int64_t last = run.rate > 0 ? next_at : now; /* what must not be after the end */
    while (idle_count > 0 && run.calls < run.limit && next_at <= now && last < run.ends) {
        Connection *connection = idle[--idle_count];
        if (connection->fd < 0)
            join(connection);
        run.calls++;
        connection->busy = true;
        connection->due = run.rate > 0 ? next_at : now;
        if (run.rate > 0)
            last = next_at += gap();
        else
            next_at = run.calls < connection_count ? run.begun + run.calls * run.stagger : now;
        connection->sent = 0;
        if (!write_some(connection->fd, &request, &connection->sent) || connection->sent < request.used)
            send_more(connection);
    }
    set_timer(timer, idle_count > 0 && run.calls < run.limit && next_at < run.ends ? next_at : 0);
}

/* Takes the framing of chunks out of a body; the bytes that are left, or -1 if it is no proper one. */
static int64_t unchunk(char *body, size_t length) {
    char *from = body, *to = body, *end = body + length;
    for (;;) {
        char *stop;
        size_t size = strtoul(from, &stop, 16);
        char *line = memchr(stop, '\n', (size_t)(end - stop));
        if (stop == from || line == NULL || size > (size_t)(end - line - 1))
            return -1;
        if (size == 0)
            return to - body;
        memmove(to, line + 1, size);
        to += size;
        from = line + 1 + size;
        if (end - from < 2 || memcmp(from, "\r\n", 2) != 0)
            return -1;
        from += 2;
    }
}

static void least_most(long value, long *least, long *most) {
    *least = value < *least ? value : *least;
    *most = value > *most ? value : *most;
}

static bool ends_well(const char *body, size_t length) {
    size_t mark = strlen(end_mark);
    while (length > 0 && (body[length - 1] == '\n' || body[length - 1] == '\r'))
        length--;
    return length >= mark && memcmp(body + length - mark, end_mark, mark) == 0;
}

/* The whole answer is there. */
static void judge(Connection *connection) {
    char *body = connection->in.bytes + connection->head;
    int64_t took = now_ns() - connection->due, length = connection->length;
    if (length < 0)
        length = unchunk(body, connection->in.used - connection->head);
    if (memcmp(connection->in.bytes + 8, " 200", 4) != 0) {
        wrong(connection, "status");
    } else if (length <= 0) {
        wrong(connection, "body");
    } else if (connection->stream && !ends_well(body, (size_t)length)) {
        wrong(connection, "end of the stream");
    } else {
        long events = 0;
        if (connection->stream)
            for (char *at = body; (at = memmem(at, (size_t)(body + length - at), "data:", 5)) != NULL; at += 5)
                events++;
        least_most((long)length, &run.bytes_least, &run.bytes_most);
        least_most(events, &run.events_least, &run.events_most);
        append(&times, (char *)&took, sizeof took);
    }
}

/* Whether the answer is there as a whole. */
static bool whole(Connection *connection) {
    Bytes *in = &connection->in;
    if (connection->head == 0) {
        char *end = memmem(in->bytes, in->used, "\r\n\r\n", 4);
        if (end == NULL)
            return false;
        connection->head = (size_t)(end - in->bytes) + 4;
        const char *length = line_of(in->bytes, connection->head, "content-length");
        const char *type = line_of(in->bytes, connection->head, "content-type");
        connection->length = length ? atoll(length) : -1;
        connection->stream = type && strncasecmp(type, "text/event-stream", 17) == 0;
        run.open += connection->open = true;
        run.open_most = run.open > run.open_most ? run.open : run.open_most;
    }
    if (connection->length >= 0)
        return in->used >= connection->head + (size_t)connection->length;
    return in->used >= connection->head + 5 && memcmp(in->bytes + in->used - 5, "0\r\n\r\n", 5) == 0;
}

static void receive(Connection *connection) {
    bool there = read_all(connection->fd, &connection->in);
    if (!connection->busy) { /* an idle connection that the server ends: no call is lost with it */
        connection->in.used = 0;
        if (!there) {
            close(connection->fd);
            connection->fd = -1;
        }
    } else if (connection->in.used > 0 && whole(connection)) {
        const char *kept = line_of(connection->in.bytes, connection->head, "connection");
        judge(connection);
        release(connection, there && !(kept && strncasecmp(kept, "close", 5) == 0));
    } else if (!there) {
        wrong(connection, "the server ended the connection");
        release(connection, false);
    }
}

static int by_size(const void *one, const void *other) {
    int64_t left = *(const int64_t *)one, right = *(const int64_t *)other;
    return (left > right) - (left < right);
}

static void report(double seconds, long unfinished) {
    int64_t *all = (int64_t *)times.bytes;
    size_t count = times.used / sizeof *all;
    if (count > 0)
        qsort(all, count, sizeof *all, by_size);
    double p50 = count ? (double)all[count / 2] / 1e3 : 0, p99 = count ? (double)all[count * 99 / 100] / 1e3 : 0;
    printf("{\"calls\":%ld,\"good\":%zu,\"errors\":%ld,\"unfinished\":%ld,\"seconds\":%.3f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"bytes_least\":%ld,\"bytes_most\":%ld,"
           "\"events_least\":%ld,\"events_most\":%ld,\"open_most\":%ld,\"error\":\"%s\"}\n",
           run.calls, count, run.errors, unfinished, seconds, p50, p99, count ? run.bytes_least : 0, run.bytes_most,
           count ? run.events_least : 0, run.events_most, run.open_most, first_error);
}

/* Reads a file's bytes to the end of the request. */
static void append_file(const char *name) {
    FILE *file = fopen(name, "rb");
    char some[65536];
    if (file == NULL)
        fail(name);
    for (size_t got; (got = fread(some, 1, sizeof some, file)) > 0;)
        append(&request, some, got);
    fclose(file);
}

/* Reads the command line, and builds the request; how long to wait for the last answers, in seconds. */
static double prepare(int count, char **words) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},    {"body", 1, 0, 'b'},    {"path", 1, 0, 'u'},  {"header", 1, 0, 'h'},
        {"calls", 1, 0, 'n'},   {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'},  {"connections", 1, 0, 'c'},
        {"stagger", 1, 0, 'g'}, {"end", 1, 0, 'e'},     {"patience", 1, 0, 'w'}, {0}};
    double seconds = 3600, patience = 30;
    Bytes lines = {0}, body = {0};
    const char *file = "/dev/null";
    for (int option; (option = getopt_long(count, words, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'b': file = optarg; break;
        case 'u': path = optarg; break;
        case 'e': end_mark = optarg; break;
        case 'c': connection_count = atoi(optarg); break;
        case 'n': run.limit = atol(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'r': run.rate = atof(optarg); break;
        case 'g': run.stagger = atol(optarg) * 1000; break;
        case 'w': patience = atof(optarg); break;
        case 'h':
            append(&lines, optarg, strlen(optarg));
            append(&lines, "\r\n", 2);
            break;
        default: exit(2);
        }
    }
    append_file(file);
    body = request;
    request = (Bytes){0};
    make_room(&request, 512 + strlen(path) + lines.used + body.used);
    request.used = (size_t)snprintf(request.bytes, request.room,
                                    "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\nUser-Agent: load\r\n"
                                    "Content-Type: application/json\r\n%.*sContent-Length: %zu\r\n\r\n",
                                    path, port, (int)lines.used, lines.used ? lines.bytes : "", body.used);
    append(&request, body.bytes ? body.bytes : "", body.used);
    run.begun = next_at = now_ns();
    run.ends = run.begun + (int64_t)(seconds * 1e9);
    return patience;
}

int main(int count, char **words) {
    epoll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, NULL);
    double patience = prepare(count, words);
    connections = taken(calloc((size_t)connection_count, sizeof *connections));
    idle = taken(calloc((size_t)connection_count, sizeof *idle));
    for (int number = connection_count; number-- > 0;) {
        connections[number].fd = -1;
        idle[idle_count++] = &connections[number];
    }
    for (;;) {
        begin();
        int64_t now = now_ns();
        bool over = run.calls >= run.limit || next_at >= run.ends || (run.rate == 0 && now >= run.ends);
        if ((over && idle_count == connection_count) || now > run.ends + (int64_t)(patience * 1e9))
            break;
        struct epoll_event events[256];
        int got = epoll_wait(epoll, events, 256, 50);
        for (int number = 0; number < got; number++) {
            Connection *connection = events[number].data.ptr;
            if (connection == NULL)
                continue; /* the timer, which begin() sets anew */
            if (connection->fd >= 0 && events[number].events & EPOLLOUT)
                send_more(connection);
            if (connection->fd >= 0 && events[number].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(connection);
        }
    }
    report((double)(now_ns() - run.begun) / 1e9, connection_count - idle_count);
}
