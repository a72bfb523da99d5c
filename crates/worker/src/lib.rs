//! The pinned poll loop: DPDK queues on one side, the pipeline on the other.
