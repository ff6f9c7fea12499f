/*
 * A provider for benchmarks: answers POST with a chat completion, at once, and whole or as a stream, as the body asks.
 *
 *   mock [PORT]        listens on loopback (on a free port by itself), prints the port, and serves until it is ended
 *
 * What it is to do stands in the body, where every gateway lets it through; headers of our own would not pass them all:
 *
 *   "stream":true      a stream of 100 events of 250 bytes; in the prompt, `chunks=N` asks for another number of them,
 *                      and `pace_us=N` for one every N microseconds; without it all are sent in one burst
 *   include_usage      the stream tells its usage: `"usage":null` in each event, and one more event at the end
 *
 * Every answer has an id of its own, and the same usage.
 */

#include "common.h"

#define WHOLE_BYTES 1500
#define EVENT_BYTES 250
#define EVENTS 100
#define ID "chatcmpl-000000000000"
#define ID_DIGITS 12
#define USAGE                                                                                                          \
    "\"usage\":{\"prompt_tokens\":500,\"completion_tokens\":300,\"total_tokens\":800,"                                 \
    "\"prompt_tokens_details\":{\"cached_tokens\":100,\"audio_tokens\":0},"                                            \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"                                        \
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}"
#define MODEL "\"created\":1790000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\","
#define HEAD_LINES                                                                                                     \
    "date: Sun, 22 Nov 2026 08:00:00 GMT\r\nserver: mock\r\naccess-control-expose-headers: X-Request-ID\r\n"           \
    "openai-organization: org-of-nobody\r\nopenai-processing-ms: 412\r\nopenai-version: 2020-10-01\r\n"                \
    "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 2000000\r\n"                                       \
    "x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-remaining-tokens: 1999500\r\n"                                \
    "x-request-id: req_00000000000000000000000000000000\r\ncache-control: no-store\r\n"

/* What is written to one client, and what it has asked. */
typedef struct Client {
    int fd;
    Bytes in, out;
    size_t sent, need;         /* of `out`; of `in`, how many bytes the request has: 0 while its head is not there */
    bool chunked;              /* the request's body is */
    bool usage;                /* the stream tells it */
    bool waits;                /* until more can be written */
    unsigned long number;      /* of the answer */
    long left;                 /* events of a paced stream that are still to come */
    int64_t pace, due;         /* nanoseconds */
    struct Client *prior, *next; /* paced streams, the earliest due first */
} Client;

static int epoll, timer;
static Client *first, *last;
static Bytes whole, burst[2], tail[2], event[2]; /* the last three without usage, and with it */
static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n" HEAD_LINES
                                  "transfer-encoding: chunked\r\n\r\n";
static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\","
                             "\"created\":1700000000,\"owned_by\":\"nobody\"}]}";

static void say(Bytes *bytes, const char *text) { append(bytes, text, strlen(text)); }

/* One server-sent event as one chunk of HTTP; `fill` fills it up to `EVENT_BYTES`, and `usage` comes on top. */
static void say_event(Bytes *bytes, bool usage, const char *before, const char *after, bool fill) {
    char text[1024], size[16];
    int fixed = snprintf(NULL, 0, "data: {\"id\":\"" ID "\",%s%s}\n\n", before, after);
    int gap = fill && fixed < EVENT_BYTES ? EVENT_BYTES - fixed : 0;
    int length = snprintf(text, sizeof text, "data: {\"id\":\"" ID "\",%s%.*s%s%s}\n\n", before, gap,
                          "The river runs past two towns and a mill, and on its banks live people who work, rest and "
                          "tell each other of the weather, of the fish, and of all that has been here long before.",
                          after, usage ? ",\"usage\":null" : "");
    int digits = snprintf(size, sizeof size, "%x\r\n", (unsigned)length);
    append(bytes, size, (size_t)digits);
    append(bytes, text, (size_t)length);
    say(bytes, "\r\n");
}

static void prepare(void) {
    static const char object[] = "\"object\":\"chat.completion.chunk\"," MODEL "\"choices\":[";
    char before[512], head[1024], body[WHOLE_BYTES + 1];
    for (int usage = 0; usage < 2; usage++) {
        snprintf(before, sizeof before, "%s{\"index\":0,\"delta\":{\"content\":\"", object);
        say_event(&event[usage], usage, before, "\"},\"finish_reason\":null}]", true);
        snprintf(before, sizeof before, "%s{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]", object);
        say_event(&tail[usage], usage, before, "", false);
        if (usage) {
            snprintf(before, sizeof before, "%s],", object);
            say_event(&tail[usage], false, before, USAGE, false);
        }
        say(&tail[usage], "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        say(&burst[usage], stream_head);
        for (int number = 1; number < EVENTS; number++)
            append(&burst[usage], event[usage].bytes, event[usage].used);
        append(&burst[usage], tail[usage].bytes, tail[usage].used);
    }
    static const char start[] = "{\"id\":\"" ID "\",\"object\":\"chat.completion\"," MODEL
                                "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char end[] = "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
                              "\"finish_reason\":\"stop\"}]," USAGE "}";
    memset(body, 'w', WHOLE_BYTES);
    for (size_t at = sizeof start + 5; at < WHOLE_BYTES; at += 6)
        body[at] = ' ';
    memcpy(body, start, sizeof start - 1);
    memcpy(body + WHOLE_BYTES - (sizeof end - 1), end, sizeof end - 1);
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" HEAD_LINES
                                             "content-length: %d\r\n\r\n", WHOLE_BYTES);
    append(&whole, head, (size_t)length);
    append(&whole, body, WHOLE_BYTES);
}

/* Gives the answer that is being built in `bytes` from `at` on an id of its own. */
static void name(Bytes *bytes, size_t at, unsigned long number) {
    char digits[ID_DIGITS + 1];
    snprintf(digits, sizeof digits, "%012lu", number % 1000000000000UL);
    char *end = bytes->bytes + bytes->used, *found = bytes->bytes + at;
    while ((found = memmem(found, (size_t)(end - found), "chatcmpl-", 9)) != NULL) {
        memcpy(found + 9, digits, ID_DIGITS);
        found += 9 + ID_DIGITS;
    }
}

static void end(Client *client) {
    if (client->left > 0) { /* it leaves the queue */
        *(client->prior ? &client->prior->next : &first) = client->next;
        *(client->next ? &client->next->prior : &last) = client->prior;
    }
    close(client->fd);
    free(client->in.bytes);
    free(client->out.bytes);
    free(client);
}

/* Puts a paced stream where it is due: nearly always last, since most streams keep the same pace. */
static void queue(Client *client) {
    Client *before = last;
    while (before && before->due > client->due)
        before = before->prior;
    client->prior = before;
    client->next = before ? before->next : first;
    *(before ? &before->next : &first) = client;
    *(client->next ? &client->next->prior : &last) = client;
}

/* Sends what waits. False: the client is gone. */
static bool flush(Client *client) {
    bool there = write_some(client->fd, &client->out, &client->sent);
    bool all = client->sent == client->out.used;
    if (all)
        client->sent = client->out.used = 0;
    if (there && client->waits == all) {
        client->waits = !all;
        watch(epoll, EPOLL_CTL_MOD, client->fd, all ? EPOLLIN : EPOLLIN | EPOLLOUT, client);
    }
    return there;
}

static long asked(const char *body, size_t length, const char *what, long otherwise) {
    const char *found = memmem(body, length, what, strlen(what));
    return found ? atol(found + strlen(what)) : otherwise;
}

static bool wants_stream(const char *body, size_t length) {
    const char *found = memmem(body, length, "\"stream\"", 8), *end = body + length;
    if (found == NULL)
        return false;
    for (found += 8; found < end && (*found == ' ' || *found == ':'); found++) {
    }
    return end - found >= 4 && memcmp(found, "true", 4) == 0;
}

static void answer(Client *client, const char *body, size_t length, bool post) {
    static unsigned long answers;
    size_t at = client->out.used;
    client->number = ++answers;
    if (!post) {
        char head[256];
        snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                 sizeof models - 1, models);
        say(&client->out, head);
    } else if (!wants_stream(body, length)) {
        append(&client->out, whole.bytes, whole.used);
        name(&client->out, at, client->number);
    } else {
        client->usage = asked(body, length, "include_usage", -1) >= 0;
        client->pace = asked(body, length, "pace_us=", 0) * 1000;
        long events = asked(body, length, "chunks=", EVENTS);
        if (client->pace == 0 && events == EVENTS) {
            append(&client->out, burst[client->usage].bytes, burst[client->usage].used);
            name(&client->out, at, client->number);
            return;
        }
        say(&client->out, stream_head);
        client->left = events;
        client->due = now_ns() + client->pace;
        queue(client);
    }
}

/* Sends the events that are due. */
static void pace(void) {
    int64_t now = now_ns();
    while (first && first->due <= now) {
        Client *client = first;
        *(client->next ? &client->next->prior : &last) = NULL;
        first = client->next;
        const Bytes *next = --client->left > 0 ? &event[client->usage] : &tail[client->usage];
        size_t at = client->out.used;
        append(&client->out, next->bytes, next->used);
        name(&client->out, at, client->number);
        if (client->left > 0) {
            client->due += client->pace;
            queue(client);
        }
        if (!flush(client))
            end(client);
    }
    set_timer(timer, first ? first->due : 0);
}

/* Looks whether the request is there as a whole, and answers it. False: it is none, or its client is gone. */
static bool take(Client *client) {
    Bytes *in = &client->in;
    for (;;) {
        if (client->left > 0 || in->used == 0)
            return true;
        char *gap = client->need == 0 ? memmem(in->bytes, in->used, "\r\n\r\n", 4) : NULL;
        if (client->need == 0 && gap == NULL)
            return in->used < 65536;
        if (client->need == 0) {
            size_t head = (size_t)(gap - in->bytes) + 4;
            const char *length = line_of(in->bytes, head, "content-length");
            client->chunked = line_of(in->bytes, head, "transfer-encoding") != NULL;
            client->need = head + (length ? (size_t)atoll(length) : 0);
        }
        bool there = in->used >= client->need + (client->chunked ? 5 : 0);
        if (!there || (client->chunked && memcmp(in->bytes + in->used - 5, "0\r\n\r\n", 5) != 0))
            return true;
        size_t size = client->chunked ? in->used : client->need;
        bool post = memcmp(in->bytes, "POST ", 5) == 0;
        answer(client, in->bytes, size, post);
        memmove(in->bytes, in->bytes + size, in->used - size);
        in->used -= size;
        client->need = 0;
        if (!flush(client))
            return false;
    }
}

int main(int count, char **words) {
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(count > 1 ? atoi(words[1]) : 0);
    socklen_t length = sizeof address;
    prepare();
    epoll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0)
        fail("listen");
    fcntl(listener, F_SETFL, O_NONBLOCK);
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, &timer);
    for (;;) {
        struct epoll_event events[256];
        int got = epoll_wait(epoll, events, 256, -1);
        for (int number = 0; number < got; number++) {
            Client *client = events[number].data.ptr;
            if ((void *)client == &timer) {
                continue; /* what is due is sent below, once all else is done */
            }
            if ((void *)client == &listener) {
                for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
                    Client *new = taken(calloc(1, sizeof *new));
                    new->fd = fd;
                    quick(fd);
                    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, new);
                }
                continue;
            }
            bool in = events[number].events & (EPOLLIN | EPOLLHUP | EPOLLERR);
            if ((in && !(read_all(client->fd, &client->in) && take(client))) || !flush(client))
                end(client);
        }
        pace();
    }
}
