//! Sans-IO session state machines: bytes and now in, bytes and deadlines out.
