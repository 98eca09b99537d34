"""One running process: listeners, worker and clocks on top of the services, from start to SIGTERM.

`node` puts the parts of the wanted roles together and takes them down in order, `http` makes the one HTTP
application out of what each package offers, `tasks` watches over the work in the background, `process` is the program
around it: configuration, signals, exit code.
"""

from posthouse.serve.node import Node, StartError
from posthouse.serve.process import run

__all__ = ["Node", "StartError", "run"]
