/*
 * callgate's datagrams in C: constants, and functions that write requests and read answers.
 *
 * C11, no dependency but the standard library, nothing to link. The layout is little-endian on every machine; it is
 * described byte by byte in src/codec/datagram/mod.rs. A datagram holds 1 to 64 requests, one behind the other; its
 * answer is one datagram that holds their answers in the same order. An answer that doesn't come within your timeout is
 * asked for again with the same call id and SEQ: that consumes nothing. config/examples/datagram_client.c is a whole
 * client.
 */
#ifndef CALLGATE_H
#define CALLGATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CALLGATE_MAGIC 0xC9
#define CALLGATE_VERSION 1
#define CALLGATE_HEAD_BYTES 40
#define CALLGATE_ANSWER_BYTES 32
#define CALLGATE_REQUESTS_MAX 64
#define CALLGATE_REQUEST_BYTES_MAX 1064
#define CALLGATE_DATAGRAM_BYTES_MAX 8192
#define CALLGATE_ID_BYTES_MAX 512
#define CALLGATE_NAME_BYTES_MAX 128
#define CALLGATE_UNITS_MAX 1000
#define CALLGATE_ANSWER_BIT 0x80

/* Verbs. AUTH opens the rest of its own datagram, where the sidecar has a password. */
#define CALLGATE_VERB_ADMIT 1
#define CALLGATE_VERB_CONFIRM 2
#define CALLGATE_VERB_RELEASE 3
#define CALLGATE_VERB_REFRESH 4
#define CALLGATE_VERB_PROXY 5
#define CALLGATE_VERB_AUTH 6
#define CALLGATE_VERB_PING 7

/* Kinds, of ADMIT. */
#define CALLGATE_KIND_CALL 0
#define CALLGATE_KIND_REGISTRATION 1

/* Flags. The first three say that the field of that name is said. */
#define CALLGATE_FLAG_SEQ 1
#define CALLGATE_FLAG_TTL 2
#define CALLGATE_FLAG_DEADLINE 4
#define CALLGATE_FLAG_EMERGENCY 8
#define CALLGATE_FLAG_PRIORITY 16
#define CALLGATE_FLAG_WEBRTC 32
#define CALLGATE_FLAG_ENCRYPTED 64

/* Outcomes. A refusal is NO; an ERROR is a request that can't be understood. */
#define CALLGATE_OUTCOME_NO 0
#define CALLGATE_OUTCOME_YES 1
#define CALLGATE_OUTCOME_ERROR 2

/* Causes, of an answer to ADMIT. Numbers stay; new ones come behind. */
#define CALLGATE_CAUSE_OK 0
#define CALLGATE_CAUSE_DUPLICATE 1
#define CALLGATE_CAUSE_EMERGENCY 2
#define CALLGATE_CAUSE_CPS 3
#define CALLGATE_CAUSE_SESSIONS 4
#define CALLGATE_CAUSE_TRUNK_CPS 5
#define CALLGATE_CAUSE_TRUNK_SESSIONS 6
#define CALLGATE_CAUSE_TENANT_CPS 7
#define CALLGATE_CAUSE_TENANT_SESSIONS 8
#define CALLGATE_CAUSE_EXPORT_CONTROL 9
#define CALLGATE_CAUSE_WEBRTC 10
#define CALLGATE_CAUSE_UNCONFIGURED 11
#define CALLGATE_CAUSE_EVALUATION_EXPIRED 12
#define CALLGATE_CAUSE_AUTHORIZATION_EXPIRED 13
#define CALLGATE_CAUSE_RESERVATION_EXPIRED 14
#define CALLGATE_CAUSE_ENFORCED 15
#define CALLGATE_CAUSE_REVOKED 16
#define CALLGATE_CAUSE_DRAINING 17
#define CALLGATE_CAUSE_DEADLINE 18
#define CALLGATE_CAUSE_LATE 19
#define CALLGATE_CAUSE_CAPACITY 20
#define CALLGATE_CAUSE_UNKNOWN_TRUNK 21
#define CALLGATE_CAUSE_UNKNOWN_TENANT 22
#define CALLGATE_CAUSE_UNKNOWN_TYPE 23

/* Errors. The answer says from where to where is accepted. */
#define CALLGATE_ERROR_VERSION 1
#define CALLGATE_ERROR_VERB 2
#define CALLGATE_ERROR_LENGTH 3
#define CALLGATE_ERROR_FLAGS 4
#define CALLGATE_ERROR_KIND 5
#define CALLGATE_ERROR_ID 6
#define CALLGATE_ERROR_NAME 7
#define CALLGATE_ERROR_UNITS 8
#define CALLGATE_ERROR_FIELD 9
#define CALLGATE_ERROR_AUTH 10
#define CALLGATE_ERROR_COUNT 11
#define CALLGATE_ERROR_PROXIES 12

/* One request. Begin with callgate_request(), then set what the verb has; texts are C strings, NULL for none. */
struct callgate_request {
    uint8_t verb;
    uint8_t kind;
    uint16_t flags;
    uint64_t request_id;
    uint32_t seq;
    uint32_t ttl_s;
    uint64_t deadline_ms; /* of Unix time; with CALLGATE_FLAG_DEADLINE */
    uint64_t epoch;       /* PROXY */
    uint16_t units;
    const void *id; /* the call's id; AUTH: the password */
    size_t id_bytes;
    const char *trunk;
    const char *tenant;
    const char *type;
    const char *proxy;
};

/* One answer. */
struct callgate_answer {
    uint8_t verb; /* the request's */
    uint8_t outcome;
    uint8_t cause;
    uint8_t error;
    uint64_t request_id;
    uint32_t retry_after_ms;
    uint32_t lease_s;
    uint16_t sip_status;
    uint16_t accepted_from;
    uint16_t accepted_to;
};

/* A request of that verb about that call. */
static inline struct callgate_request callgate_request(uint8_t verb, uint64_t request_id, const char *id)
{
    struct callgate_request request;
    memset(&request, 0, sizeof request);
    request.verb = verb;
    request.request_id = request_id;
    request.id = id;
    request.id_bytes = id ? strlen(id) : 0;
    request.units = verb == CALLGATE_VERB_ADMIT ? 1 : 0;
    return request;
}

static inline void callgate_put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t callgate_get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* Writes the request to out. Returns its bytes; 0 if it doesn't fit, or an id or a name is too long. */
static inline size_t callgate_encode(const struct callgate_request *request, uint8_t *out, size_t room)
{
    const char *names[4] = {request->trunk, request->tenant, request->type, request->proxy};
    size_t lengths[4], length = CALLGATE_HEAD_BYTES + request->id_bytes;
    if (request->id_bytes > CALLGATE_ID_BYTES_MAX)
        return 0;
    for (int i = 0; i < 4; i++) {
        lengths[i] = names[i] ? strlen(names[i]) : 0;
        if (lengths[i] > CALLGATE_NAME_BYTES_MAX)
            return 0;
        length += lengths[i];
    }
    if (length > room)
        return 0;
    out[0] = CALLGATE_MAGIC;
    out[1] = CALLGATE_VERSION;
    out[2] = request->verb;
    out[3] = request->kind;
    callgate_put(out + 4, length, 2);
    callgate_put(out + 6, request->flags, 2);
    callgate_put(out + 8, request->request_id, 8);
    callgate_put(out + 16, request->flags & CALLGATE_FLAG_SEQ ? request->seq : 0, 4);
    callgate_put(out + 20, request->flags & CALLGATE_FLAG_TTL ? request->ttl_s : 0, 4);
    callgate_put(out + 24,
                 request->verb == CALLGATE_VERB_PROXY          ? request->epoch
                 : request->flags & CALLGATE_FLAG_DEADLINE ? request->deadline_ms
                                                           : 0,
                 8);
    callgate_put(out + 32, request->units, 2);
    callgate_put(out + 34, request->id_bytes, 2);
    uint8_t *at = out + CALLGATE_HEAD_BYTES;
    if (request->id_bytes)
        memcpy(at, request->id, request->id_bytes);
    at += request->id_bytes;
    for (int i = 0; i < 4; i++) {
        out[36 + i] = (uint8_t)lengths[i];
        if (lengths[i])
            memcpy(at, names[i], lengths[i]);
        at += lengths[i];
    }
    return length;
}

/* Reads the answer that begins at in. Returns its bytes; 0 if none of this version is there. */
static inline size_t callgate_decode(const uint8_t *in, size_t bytes, struct callgate_answer *answer)
{
    if (bytes < CALLGATE_ANSWER_BYTES || in[0] != CALLGATE_MAGIC || in[1] != CALLGATE_VERSION ||
        !(in[2] & CALLGATE_ANSWER_BIT) || callgate_get(in + 4, 2) != CALLGATE_ANSWER_BYTES)
        return 0;
    answer->verb = (uint8_t)(in[2] & ~CALLGATE_ANSWER_BIT);
    answer->outcome = in[3];
    answer->cause = in[6];
    answer->error = in[7];
    answer->request_id = callgate_get(in + 8, 8);
    answer->retry_after_ms = (uint32_t)callgate_get(in + 16, 4);
    answer->lease_s = (uint32_t)callgate_get(in + 20, 4);
    answer->sip_status = (uint16_t)callgate_get(in + 24, 2);
    answer->accepted_from = (uint16_t)callgate_get(in + 26, 2);
    answer->accepted_to = (uint16_t)callgate_get(in + 28, 2);
    return CALLGATE_ANSWER_BYTES;
}

#endif
