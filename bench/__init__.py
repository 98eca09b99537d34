"""The project's own benchmark: the same work for this relay and for Postfix with OpenDKIM, in one run.

`run` is the command. It walks like this:
1. `tools` compiles the load client (load.c) and the sink (sink.c) with the system's compiler;
2. `ours` and `postfix` set a server up in a folder of its own, start it and stop it;
3. `work` drives it: the client offers, the sink counts, `meter` reads what the server's processes use;
4. `signatures` looks whether what arrived is really signed;
5. `report` makes medians and ratios of it.
`deferred` compares an empty queue with a full one, `inbound` offers reports on port 25 (in the forms of `returns`)
beside submissions, `profile` says where the time goes.

Everything listens on 127.0.0.1, stands in a temporary folder, is bounded in count and time, and ends with the command.
"""
