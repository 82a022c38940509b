/*
 * Asks a sidecar for one call over datagrams, and ends it again.
 *
 *     cc -Wall -Wextra -std=c11 -I config/include -o datagram_client config/examples/datagram_client.c
 *     ./datagram_client 127.0.0.1 7500 my-call [trunk]
 *     ./datagram_client unix /run/callgate/datagram.sock my-call [trunk]
 *
 * Prints a line for each answer. Ends with 0 if the call was admitted, 1 if it was refused, 2 if nobody answered.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "callgate.h"

/* Answers of a sidecar on this host come within microseconds; one that hangs must not hold the call up for long. */
#define TIMEOUT_MS 250
#define ATTEMPTS 4

static int open_socket(const char *host, const char *port)
{
    int fd;
    if (strcmp(host, "unix") == 0) {
        struct sockaddr_un to = {.sun_family = AF_UNIX}, own = {.sun_family = AF_UNIX};
        if (strlen(port) >= sizeof to.sun_path)
            return -1;
        strcpy(to.sun_path, port);
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        /* The family alone: Linux gives the socket a name of its own, to which the answer comes. */
        if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own.sun_family) != 0 ||
            connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
            return -1;
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        /* Connected: what others send does not come in. */
        if (fd < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1 ||
            connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
            return -1;
    }
    struct timeval timeout = {.tv_usec = TIMEOUT_MS * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
}

/* Sends the datagram until its answers come. Returns how many there are. */
static size_t ask(int fd, const uint8_t *datagram, size_t bytes, uint64_t first, struct callgate_answer *answers,
                  size_t room)
{
    uint8_t in[CALLGATE_REQUESTS_MAX * CALLGATE_ANSWER_BYTES + CALLGATE_ANSWER_BYTES];
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (send(fd, datagram, bytes, 0) < 0)
            continue;
        ssize_t received;
        while ((received = recv(fd, in, sizeof in, 0)) >= 0) {
            size_t count = 0, at = 0, length;
            while (count < room && (length = callgate_decode(in + at, (size_t)received - at, &answers[count])) > 0) {
                count++;
                at += length;
            }
            /* An answer to an earlier question comes late: it has another number. */
            if (count > 0 && answers[0].request_id == first)
                return count;
        }
    }
    return 0;
}

static void tell(const char *what, const struct callgate_answer *answer)
{
    printf("%s outcome=%u cause=%u error=%u sip=%u retry_after_ms=%u lease_s=%u\n", what, (unsigned)answer->outcome,
           (unsigned)answer->cause, (unsigned)answer->error, (unsigned)answer->sip_status,
           (unsigned)answer->retry_after_ms, (unsigned)answer->lease_s);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s ADDRESS PORT CALL-ID [TRUNK]\n       %s unix PATH CALL-ID [TRUNK]\n", argv[0], argv[0]);
        return 2;
    }
    int fd = open_socket(argv[1], argv[2]);
    if (fd < 0) {
        perror("socket");
        return 2;
    }
    uint8_t out[2 * CALLGATE_REQUEST_BYTES_MAX];
    struct callgate_answer answers[2];

    struct callgate_request admit = callgate_request(CALLGATE_VERB_ADMIT, 1, argv[3]);
    admit.flags = CALLGATE_FLAG_SEQ;
    admit.seq = 1;
    admit.trunk = argc > 4 ? argv[4] : NULL;
    size_t bytes = callgate_encode(&admit, out, sizeof out);
    if (bytes == 0 || ask(fd, out, bytes, 1, answers, 1) != 1) {
        fprintf(stderr, "no answer: the proxy decides whether calls pass without one\n");
        return 2;
    }
    tell("admit", &answers[0]);
    if (answers[0].outcome != CALLGATE_OUTCOME_YES)
        return 1;

    /* Two requests in one datagram: the call is answered, and ends. */
    struct callgate_request confirm = callgate_request(CALLGATE_VERB_CONFIRM, 2, argv[3]);
    struct callgate_request release = callgate_request(CALLGATE_VERB_RELEASE, 3, argv[3]);
    bytes = callgate_encode(&confirm, out, sizeof out);
    bytes += callgate_encode(&release, out + bytes, sizeof out - bytes);
    if (ask(fd, out, bytes, 2, answers, 2) != 2)
        return 2;
    tell("confirm", &answers[0]);
    tell("release", &answers[1]);
    close(fd);
    return 0;
}
