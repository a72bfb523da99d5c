//! Names and arguments of virtual devices.

use crate::Error;

/// Frames longer than this need large ring frames in `net_af_packet`, which otherwise cuts them off in
/// silence: its default of 2048 octets, less the kernel's headers.
const SMALL_FRAME: u32 = 1900;

/// Splits `net_ring0,nodeaction=...` into name and arguments.
pub(crate) fn split(device: &str) -> Result<(&str, &str), Error> {
    let (name, arguments) = device.split_once(',').unwrap_or((device, ""));
    let known = ["net_", "eth_", "virtio_", "crypto_"].iter().any(|prefix| name.starts_with(prefix));
    if known { Ok((name, arguments)) } else { Err(Error::UnknownDevice(device.into())) }
}

/// The Linux interface that a device is attached to, for those that are: `net_af_packet`, `net_af_xdp`, `net_tap`.
pub fn interface(device: &str) -> Option<&str> {
    let (_, arguments) = split(device).ok()?;
    arguments.split(',').find_map(|argument| argument.strip_prefix("iface="))
}

/// A `net_af_packet` device number `index` on the Linux interface `interface` for frames up to `mtu`, with `queues`
/// queue pairs.
pub fn af_packet(index: usize, interface: &str, mtu: u16, queues: usize) -> String {
    // A block of the kernel's ring is 64 KiB. 8 MiB of ring for each direction and queue.
    let frame_size = af_packet_frame(mtu);
    let frames = (8 << 20) / u32::from(frame_size);
    format!(
        "net_af_packet{index},iface={interface},qpairs={queues},blocksz=65536,framesz={frame_size},framecnt={frames}"
    )
}

/// Octets of a frame in the kernel's ring for packets up to `mtu`. The device takes only buffers of at least this size.
pub fn af_packet_frame(mtu: u16) -> u16 {
    if u32::from(mtu) <= SMALL_FRAME - 100 { 2048 } else { 16_384 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_interfaces() {
        assert_eq!(split("net_null0,size=64"), Ok(("net_null0", "size=64")));
        assert_eq!(split("net_ring0"), Ok(("net_ring0", "")));
        assert_eq!(split("eth0"), Err(Error::UnknownDevice("eth0".into())));
        assert_eq!(interface(&af_packet(3, "lan0", 1500, 2)), Some("lan0"));
        assert!(af_packet(0, "lan0", 9000, 1).contains("framesz=16384"));
        assert_eq!(interface("net_null0"), None);
    }
}
