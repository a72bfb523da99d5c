//! Wire formats: headers as typed views over bytes, newtypes, checksums, and the packet-buffer trait.
