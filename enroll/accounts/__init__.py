"""Accounts: making one, signing in to it, and what the operator may do with it.

`member` is what others see of an account, `identity` the DID that this relay gives it, `own_did` one that it brings,
`resolution` asks what handles and DIDs name, `sign_in` passwords and set-password links, `pace` and
`device` who waits for whom there, `service` the life of an account. API keys are `enroll.api_keys`, sign-ins that
last are `enroll.sessions`.
"""

from enroll.accounts.device import Device
from enroll.accounts.identity import document
from enroll.accounts.member import Invite, Member
from enroll.accounts.own_did import OwnDids
from enroll.accounts.resolution import Resolution
from enroll.accounts.service import Accounts
from enroll.accounts.sign_in import SignIn

__all__ = ["Accounts", "Device", "Invite", "Member", "OwnDids", "Resolution", "SignIn", "document"]
