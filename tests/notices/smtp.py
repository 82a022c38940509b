"""A real mail server: STARTTLS, a user and a password are insisted on; each mail that comes is written to standard output.

smtp.py CERTIFICATE KEY USER PASSWORD
"""

import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Mails:
    async def handle_DATA(self, server, session, envelope):
        print("TLS", session.ssl is not None)
        print("RCPT", ",".join(envelope.rcpt_tos))
        print(envelope.content.decode("utf-8"), flush=True)
        return "250 taken"


certificate, key, user, password = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=good, handled=False)


class Listening(Controller):
    def _trigger_server(self):
        # The system chose the port, and knows it once it listens; the controller looks whether somebody answers there.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


controller = Listening(
    Mails(),
    hostname="127.0.0.1",
    port=0,
    tls_context=context,
    require_starttls=True,
    authenticator=authenticate,
    auth_required=True,
)
controller.start()
print("PORT", controller.port, flush=True)
sys.stdin.read()
controller.stop()
