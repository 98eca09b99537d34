"""The listeners of 587 and 465: the wire's, with a submission session for each connection."""

from __future__ import annotations

from relay.base.config import Config
from relay.base.tls import Certificate
from relay.directory import Directory
from relay.intake import Intake
from relay.policy import Policy
from relay.refusals import Refusals
from relay.smtpd.bounds import Bounds
from relay.smtpd.listener import Listener
from relay.submission.session import SubmissionSession


class SubmissionServer(Listener):
    """Both ports of submission. `start` binds them, `stop` ends them; `ports`, `tls_ports` say where."""

    def __init__(
        self, *, config: Config, directory: Directory, policy: Policy, intake: Intake, refusals: Refusals,
        certificate: Certificate,
    ) -> None:
        s = config.submission
        super().__init__(
            "submission", config=config, bounds=Bounds.of(config), refusals=refusals, certificate=certificate,
            listen=s.listen, listen_tls=s.listen_tls,
        )
        self.directory, self.policy, self.intake = directory, policy, intake

    def conversation(self, *, implicit_tls: bool) -> SubmissionSession:
        """A session for a connection that is about to come."""
        return SubmissionSession(self, implicit_tls=implicit_tls)
