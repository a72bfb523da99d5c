//! Per-core counters and named drop reasons.
