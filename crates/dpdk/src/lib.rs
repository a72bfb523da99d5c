//! Safe DPDK: EAL, mempools, mbufs, ports, queues.
