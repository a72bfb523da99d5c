//! Blocks: whole frames, and pieces of frames, inside a record (protocol 4.2).

use std::ops::Range;

/// Octets of a block header.
pub const BLOCK_HEADER_LEN: usize = 4;

/// A frame is not split for less than this: a tiny piece costs the receiver more than the
/// sender's empty octets cost the line.
pub const MIN_PIECE: usize = 32;

const FIRST: u16 = 0x8000;
const LAST: u16 = 0x4000;
const TUNNEL: u16 = 0x0fff;

/// One block of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whether it holds the start of a frame.
    pub first: bool,
    /// Whether it holds the end of a frame.
    pub last: bool,
    /// The tunnel ID, 12 bits.
    pub tunnel: u16,
    /// Where its octets are in the plaintext.
    pub range: Range<usize>,
}

/// What follows in the plaintext is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed block")]
pub struct Malformed;

/// Fills a record's area with blocks.
#[derive(Debug, Default)]
pub struct BlockWriter {
    len: usize,
}

impl BlockWriter {
    /// A writer for an empty area.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes `len` octets behind a header's room at the front of an empty area, already written, for a whole frame.
    pub fn whole(&mut self, area: &mut [u8], tunnel: u16, len: usize) {
        if let Some((header, _)) = area.split_first_chunk_mut::<BLOCK_HEADER_LEN>() {
            let [a, b] = (FIRST | LAST | tunnel & TUNNEL).to_be_bytes();
            let [c, d] = (len as u16).to_be_bytes();
            *header = [a, b, c, d];
            self.len = BLOCK_HEADER_LEN + len;
        }
    }

    /// Appends the octets of a frame from `offset` on, as many as there is room for, and returns how many. 0:
    /// the record has to be closed first. When some are left, the rest belongs at the start of the next record.
    ///
    /// The frame is `head` and `rest` behind each other; `head` is shorter than [`MIN_PIECE`], so that it is never split.
    #[inline(always)]
    pub fn push<const HEAD: usize>(
        &mut self,
        area: &mut [u8],
        tunnel: u16,
        (head, rest): (&[u8; HEAD], &[u8]),
        offset: usize,
    ) -> usize {
        const { assert!(HEAD < MIN_PIECE) };
        let Some(left) = (HEAD + rest.len()).checked_sub(offset) else { return 0 };
        let room = area.len().saturating_sub(self.len + BLOCK_HEADER_LEN).min(usize::from(u16::MAX));
        if room < left.min(MIN_PIECE) || left == 0 {
            return 0;
        }
        let piece = left.min(room);
        let mut flags = tunnel & TUNNEL;
        if piece == left {
            flags |= LAST;
        }
        let block = &mut area[self.len..][..BLOCK_HEADER_LEN + piece];
        let body = &mut block[BLOCK_HEADER_LEN..];
        if offset == 0 {
            flags |= FIRST;
            body[..HEAD].copy_from_slice(head);
            body[HEAD..].copy_from_slice(&rest[..piece - HEAD]);
        } else {
            body.copy_from_slice(&rest[offset - HEAD..][..piece]);
        }
        block[..2].copy_from_slice(&flags.to_be_bytes());
        block[2..4].copy_from_slice(&(piece as u16).to_be_bytes());
        self.len += block.len();
        piece
    }
}

/// The blocks of a plaintext, up to the first that is malformed.
pub fn blocks(plaintext: &[u8]) -> Blocks<'_> {
    Blocks { plaintext, at: 0 }
}

/// Iterates over the blocks of a plaintext.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    plaintext: &'a [u8],
    at: usize,
}

impl Iterator for Blocks<'_> {
    type Item = Result<Block, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.plaintext.len() {
            return None;
        }
        let block = parse(self.plaintext, self.at);
        self.at = block.as_ref().map_or(self.plaintext.len(), |block| block.range.end);
        Some(block)
    }
}

/// Whether a frame begins in a plaintext that we made.
pub fn begins(plaintext: &[u8]) -> bool {
    blocks(plaintext).take(2).any(|block| block.is_ok_and(|block| block.first))
}

/// Calls `act` with the octets of each frame that begins in a plaintext, as far as they are in it; not with the session's own
/// blocks.
pub fn each_beginning(plaintext: &mut [u8], mut act: impl FnMut(&mut [u8])) {
    let mut at = 0;
    while at < plaintext.len() {
        let Ok(block) = parse(plaintext, at) else { return };
        at = block.range.end;
        if block.first && block.tunnel != 0 {
            act(&mut plaintext[block.range]);
        }
    }
}

#[inline]
fn parse(plaintext: &[u8], at: usize) -> Result<Block, Malformed> {
    let [a, b, c, d] = *plaintext[at..].first_chunk().ok_or(Malformed)?;
    let flags = u16::from_be_bytes([a, b]);
    let start = at + BLOCK_HEADER_LEN;
    let range = start..start + usize::from(u16::from_be_bytes([c, d]));
    let block = Block { first: flags & FIRST != 0, last: flags & LAST != 0, tunnel: flags & TUNNEL, range };
    let fits = !block.range.is_empty() && block.range.end <= plaintext.len();
    // Only the first block of a record goes on from another record, and only the last goes on in another.
    let placed = (block.first || at == 0) && (block.last || block.range.end == plaintext.len());
    let own = block.tunnel != 0 || (block.first && block.last);
    if fits && placed && own { Ok(block) } else { Err(Malformed) }
}
