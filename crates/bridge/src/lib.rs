//! Segments, the forwarding database, learning, ageing and flooding.
