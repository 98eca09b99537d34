"""The way out, in the order a due recipient meets it.

1. `worker` claims due recipients, opens lanes to their destinations as `pacing` allows, and settles what became of
   each; no transaction is open while anybody is spoken to.
   `suppression_check` says who may not be mailed any more.
2. `courier` puts a recipient's copy together: its return path, its route.
3. `route` asks the DNS where mail for the domain goes, and under which TLS policy to each host; or says why nowhere.
4. `pool` walks the route: a kept or new connection, the next exchanger when one can't do it now.
5. `tls_policy` says which TLS a connection begins with and what may follow a failure.
6. `client` holds one conversation: one recipient a transaction, one `Outcome` (`relay.outcome`) each.
7. `dsn` posts what the sender must be told of.
"""
