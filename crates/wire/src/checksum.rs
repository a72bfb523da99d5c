//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// A running sum of 16-bit words in the machine's byte order, which gives the same bits as in the network's (RFC 1071 2 B),
/// with the carries kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes`, padded with a zero octet when their number is odd. Only the last piece may be odd.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        // 32 bits at a time into 64: a plain loop, which the compiler turns into vector instructions.
        let (words, rest) = bytes.as_chunks::<4>();
        self.0 += words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
        match *rest {
            [a] => self.add_word(u16::from_be_bytes([a, 0])),
            [a, b] => self.add_word(u16::from_be_bytes([a, b])),
            [a, b, c] => self.add_word(u16::from_be_bytes([a, b])).add_word(u16::from_be_bytes([c, 0])),
            _ => self,
        }
    }

    /// Adds one 16-bit word, given as a number.
    pub fn add_word(mut self, word: u16) -> Self {
        self.0 += u64::from(word.to_be());
        self
    }

    /// Adds the pseudo-header of an upper-layer packet of `len` octets (RFC 768, RFC 8200 8.1). Addresses of
    /// different families have no pseudo-header: a bug of the caller, which yields a wrong sum.
    pub fn add_pseudo(self, src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> Self {
        let addresses = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.with(&src.octets()).with(&dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.with(&src.octets()).with(&dst.octets()),
            _ => self,
        };
        addresses.add_word(u16::from(protocol)).add_word((len >> 16) as u16).add_word(len as u16)
    }

    /// The sum folded to 16 bits, one's complement: what stands in the header.
    pub fn finish(self) -> u16 {
        !self.folded()
    }

    /// The sum folded to 16 bits and not complemented: what a checksum field holds that somebody else is to finish.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(sum as u16)
    }
}

/// The checksum of `bytes`; 0 when they hold a right checksum already.
pub fn internet(bytes: &[u8]) -> u16 {
    Sum::default().with(bytes).finish()
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624 3, equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::default().add_word(!checksum).add_word(!old).add_word(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes: Vec<u8>) {
            prop_assert_eq!(internet(&bytes), naive(&bytes));
        }

        #[test]
        fn an_update_equals_a_new_sum(mut words in prop::collection::vec(any::<u16>(), 1..30), at: prop::sample::Index, new: u16) {
            let bytes = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
            let before = internet(&bytes(&words));
            let at = at.index(words.len());
            let old = std::mem::replace(&mut words[at], new);
            let expected = internet(&bytes(&words));
            let updated = update(before, old, new);
            // 0 and 0xffff are the same number in one's complement.
            prop_assert!(updated == expected || (updated ^ expected) == 0xffff);
        }
    }
}
