//! The data path, stage by stage, generic over a packet buffer.
