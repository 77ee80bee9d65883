"""A throwaway Postfix on a loopback port, which puts every mail that it takes into one mailbox."""

from __future__ import annotations

import email
import email.policy
import os
import pwd
import shutil
import smtplib
from pathlib import Path
from typing import TYPE_CHECKING

from .ports import find_free_port
from .processes import ServerMissing, ServerProcess, find_program
from .waiting import wait_until

if TYPE_CHECKING:
    from email.message import EmailMessage
    from typing import Self

    from .certificate import Certificate

START_SECONDS = 20.0
REFUSED = "refused@example.com"
"""Whom it knows nobody by that name to be (550)."""
LATER = "later@example.com"
"""For whom it takes nothing now (450)."""

SETTINGS = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = mail.example.com
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
virtual_mailbox_domains = static:all
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:mailbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions =
  check_recipient_access inline:{{ {{ {refused} = 550 5.1.1 nobody here }}, {{ {later} = 450 4.2.1 not now }} }}
"""
TLS_SETTINGS = """\
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {folder}/server.pem
smtpd_tls_key_file = {folder}/server.key
"""
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(ServerProcess):
    """A Postfix; use it in a ``with`` block. Only root can start one (else ``PermissionError``)."""

    def __init__(self, *, tls: Certificate | None = None) -> None:
        """``tls`` is the server's certificate; with one it takes mail over STARTTLS only."""
        if find_program("postfix") is None:
            raise ServerMissing("postfix", "postfix")
        if os.geteuid() != 0:
            raise PermissionError("only root can start Postfix; leave out what needs it: --without postfix")
        super().__init__("postfix", "postfix")
        # The master stays root, and gives its rights up in each of its children.
        self._identity = {}
        self.port = find_free_port()
        self._programs = self.run(["postconf", "-d", "-h", "daemon_directory"]).stdout.strip()
        self._configure(tls)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """What ``MAIL_URL`` is to be, without its options."""
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, again after a kill too, and return when it answers."""
        if self.is_running:
            return
        (self.folder / "queue" / "pid" / "master.pid").unlink(missing_ok=True)
        self.launch([Path(self._programs, "master"), "-c", self.folder / "settings", "-s"])
        wait_until(self._is_answering, within_seconds=START_SECONDS, what=f"Postfix to start:\n{self.log}")

    def messages(self) -> list[EmailMessage]:
        """Return the mails that have arrived, oldest first; headers that Postfix adds included."""
        files = sorted((self.folder / "mailbox" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]

    def wait_for_messages(self, count: int, *, within_seconds: float = 10.0) -> list[EmailMessage]:
        """Return the mails as soon as there are ``count``: Postfix delivers after it has answered."""
        wait_until(lambda: len(self.messages()) >= count, within_seconds=within_seconds, what=f"{count} mails")
        return self.messages()

    def _configure(self, tls: Certificate | None) -> None:
        account = pwd.getpwnam("postfix")
        os.chown(self.folder, 0, 0)
        self.folder.chmod(0o755)
        for name in ("settings", "queue", "data", "mailbox"):
            (self.folder / name).mkdir()
        for name in ("data", "mailbox"):
            os.chown(self.folder / name, account.pw_uid, account.pw_gid)
        text = SETTINGS + (TLS_SETTINGS if tls else "")
        ids = {"uid": account.pw_uid, "gid": account.pw_gid}
        text = text.format(folder=self.folder, refused=REFUSED, later=LATER, **ids)
        (self.folder / "settings" / "main.cf").write_text(text)
        (self.folder / "settings" / "master.cf").write_text(SERVICES.format(port=self.port))
        if tls:
            for source, name in ((tls.certificate, "server.pem"), (tls.key, "server.key")):
                shutil.copy(source, self.folder / name)
        # Makes the folders of the queue.
        self.run(["postfix", "-c", self.folder / "settings", "check"])

    def _is_answering(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"Postfix ended at once:\n{self.log}")
        try:
            with smtplib.SMTP("127.0.0.1", self.port, "localhost", timeout=5) as connection:
                return connection.noop()[0] == 250
        except OSError:
            return False
