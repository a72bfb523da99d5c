//! The control thread: sockets, timers, TLS, netlink; publishes snapshots to the workers.
