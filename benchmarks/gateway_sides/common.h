/* What the mock provider and the load generator share: bytes that grow, sockets, the clock, the lines of a head. */

#ifndef TAXIMETER_COMMON_H
#define TAXIMETER_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    char *bytes;
    size_t used, room;
} Bytes;

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline void *taken(void *memory) {
    if (memory == NULL)
        fail("memory");
    return memory;
}

static inline void make_room(Bytes *bytes, size_t more) {
    if (bytes->used + more <= bytes->room)
        return;
    size_t room = bytes->room ? bytes->room : 4096;
    while (room < bytes->used + more)
        room *= 2;
    bytes->bytes = taken(realloc(bytes->bytes, room));
    bytes->room = room;
}

static inline void append(Bytes *bytes, const char *more, size_t length) {
    make_room(bytes, length);
    memcpy(bytes->bytes + bytes->used, more, length);
    bytes->used += length;
}

/* Reads what is there. False: the peer has ended. */
static inline bool read_all(int fd, Bytes *bytes) {
    for (;;) {
        size_t some = 65536;
        make_room(bytes, some);
        ssize_t got = read(fd, bytes->bytes + bytes->used, some);
        if (got > 0)
            bytes->used += (size_t)got;
        if (got == (ssize_t)some)
            continue;
        return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    }
}

/* Writes from `*sent` on. False: the peer has ended. */
static inline bool write_some(int fd, const Bytes *bytes, size_t *sent) {
    while (*sent < bytes->used) {
        ssize_t got = send(fd, bytes->bytes + *sent, bytes->used - *sent, MSG_NOSIGNAL);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        *sent += (size_t)got;
    }
    return true;
}

static inline int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Sets a timer for a moment of now_ns(); 0 stops it. */
static inline void set_timer(int timer, int64_t at) {
    struct itimerspec when = {.it_value = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        fail("timerfd_settime");
}

static inline void watch(int epoll, int how, int fd, uint32_t events, void *with) {
    struct epoll_event event = {.events = events, .data.ptr = with};
    if (epoll_ctl(epoll, how, fd, &event) < 0)
        fail("epoll_ctl");
}

static inline void quick(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static inline struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* The value of a head's line, by its lower-case name without the colon; NULL: there is no such line. */
static inline const char *line_of(const char *head, size_t length, const char *name) {
    size_t size = strlen(name);
    const char *at = head, *end = head + length;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if ((size_t)(end - at) > size && at[size] == ':' && strncasecmp(at, name, size) == 0)
            return at + size + 1 + strspn(at + size + 1, " ");
    }
    return NULL;
}

#endif
