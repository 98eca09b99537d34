"""The sender-domain calls `user.senderdomain.*` in the shape that Octeth's clients know.

`asking` reads parameters, from wherever that shape lets them stand; `faults` has its numbered errors; `views` its
answers, and `shapes` makes them from domains; `calls` are the nine calls; `door` the routes, who may pass, how often.

Promises shapes and codes, to the letter and the type, and no rule of its own: what is allowed, and what follows from
it, is decided in the services that the native API calls too.
"""

from enroll.api.octeth.openapi import SECURITY_SCHEMES, openapi_paths
from enroll.api.octeth.routes import routes, translate

__all__ = ["SECURITY_SCHEMES", "openapi_paths", "routes", "translate"]
