"""Calls the API server as a pod is configured to, again and again; says how each call went, a line of JSON each."""

import http.client
import json
import os
import socket
import ssl
import sys
import time

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
SERVER = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
PATH, WATCHES = sys.argv[1], sys.argv[2] == "watch"
TRUST = ssl.create_default_context(cafile=ACCOUNT + "ca.crt")
# Longer than any part is dead: nobody waits for ever.
PATIENCE = 60


def say(**outcome):
    print(json.dumps(outcome), flush=True)


def call(plain):
    connection = http.client.HTTPSConnection(*SERVER)
    connection.sock = TRUST.wrap_socket(plain, server_hostname=SERVER[0])
    with open(ACCOUNT + "token") as token:
        headers = {"Authorization": "Bearer " + token.read(), "Connection": "close"}
    connection.request("GET", PATH, headers=headers)
    response = connection.getresponse()
    if WATCHES:
        say(opened=response.status)
        plain_end = connection.sock or response.fp.raw._sock
        plain_end.settimeout(None)
    body = response.read()
    return response.status, "" if response.status == 200 else body.decode()


while True:
    step = "connect"
    try:
        with socket.create_connection(SERVER, timeout=PATIENCE) as plain:
            step = "call"
            status, body = call(plain)
        say(status=status, body=body)
    except (OSError, http.client.HTTPException) as error:
        say(failed=step, why=f"{type(error).__name__}: {error}")
    time.sleep(0.005)
