"""Accounts: making one, signing in to it, and what the operator may do with it.

`member` is what others see of an account, `identity` its DID, `sign_in` passwords and set-password links, `pace` and
`device` who waits for whom there, `service` the life of an account. API keys are `enroll.api_keys`, sign-ins that
last are `enroll.sessions`.
"""

from enroll.accounts.device import Device
from enroll.accounts.identity import default_did, document
from enroll.accounts.member import Invite, Member
from enroll.accounts.service import Accounts
from enroll.accounts.sign_in import SignIn

__all__ = ["Accounts", "Device", "Invite", "Member", "SignIn", "default_did", "document"]
