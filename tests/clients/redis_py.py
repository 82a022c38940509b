"""redis-py against a running sidecar, over TCP: RESP2, RESP3, pipelines, decoded answers, errors.

Usage: redis_py.py HOST PORT. Prints "clients: N passed 0 failed" at the end, or fails with a traceback.
"""

import json
import sys

import redis

host, port = sys.argv[1], int(sys.argv[2])
passed = 0


def check(what, found, expected):
    global passed
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"
    passed += 1


for protocol in (2, 3):
    client = redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True, client_name="probe")
    call = f"py-{protocol}"
    check("ping", client.ping(), True)
    answer = client.execute_command("ADMIT", call, "SEQ", 1, "PROXY", "py")
    check("admit", answer[:4], [1, "ok", 0, 0])
    assert answer[4] > 0, answer
    check("retransmission", client.execute_command("ADMIT", call, "SEQ", 1, "PROXY", "py")[:2], [1, "duplicate"])
    check("confirm", client.execute_command("CONFIRM", call), 1)
    check("refresh", client.execute_command("REFRESH", call, "nobody"), 1)
    status = json.loads(client.execute_command("STATUS"))
    check("live", status["calls"]["live"], 1)
    check("release", client.execute_command("RELEASE", call), 1)
    check("release again", client.execute_command("RELEASE", call), 0)
    check("bool", client.execute_command("ADMIT.BOOL", call + "-b"), 1)
    check("release", client.execute_command("RELEASE", call + "-b"), 1)

    # A hundred calls in one write, each answer in its place.
    pipe = client.pipeline(transaction=False)
    for number in range(100):
        pipe.execute_command("ADMIT", f"{call}-{number}")
    check("pipelined admits", [answer[0] for answer in pipe.execute()], [1] * 100)
    for number in range(100):
        pipe.execute_command("RELEASE", f"{call}-{number}")
    check("pipelined releases", pipe.execute(), [1] * 100)

    # Bytes that are no text, in an id.
    raw = redis.Redis(host=host, port=port, protocol=protocol)
    check("binary id", raw.execute_command("ADMIT", b"\x00\xff\r\n" + bytes([protocol]))[0], 1)
    check("binary id", raw.execute_command("RELEASE", b"\x00\xff\r\n" + bytes([protocol])), 1)

    # What can't be understood is an error, and the connection lives on.
    for words in (["ADMIT"], ["ADMIT", "x", "SEQ", "minus"], ["NONSENSE"], ["ADMIT", "i" * 513]):
        try:
            client.execute_command(*words)
        except redis.ResponseError:
            passed += 1
        else:
            raise AssertionError(f"{words[0]} with {len(words) - 1} arguments was accepted")
    check("ping after errors", client.ping(), True)

    token = client.execute_command("RESYNC", "BEGIN", "py")
    check("resync add", client.execute_command("RESYNC", "ADD", token, f"{call}-adopted") is not None, True)
    check("resync end", client.execute_command("RESYNC", "END", token), [0, 1, 0])
    check("release adopted", client.execute_command("RELEASE", f"{call}-adopted"), 1)
    assert "callgate" in str(client.info()).lower() or client.info(), "INFO parses as Redis text"
    client.close()

print(f"clients: {passed} passed 0 failed")
