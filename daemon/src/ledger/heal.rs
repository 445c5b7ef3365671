//! A frame with one wrong byte is put right: its checksum tells which byte it is and what it was.
//!
//! A cyclic checksum is linear: what a single wrong byte adds to it depends on that byte's error and its distance from
//! the end alone. Run backwards from the difference, the register holds nothing but the error when the byte is reached.
//! Must not: guess; what is put right fits its checksum and reads as a frame.

use super::frame::{FRAME_HEADER, FRAME_MAX, checksum, decode, field, may_begin};

/// The reflected polynomial of CRC-32C.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();
/// Which entry of the table has this highest byte; each highest byte occurs once.
const INDEX: [u8; 256] = index();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut register = index as u32;
        let mut bit = 0;
        while bit < 8 {
            register = if register & 1 == 1 { (register >> 1) ^ POLYNOMIAL } else { register >> 1 };
            bit += 1;
        }
        table[index] = register;
        index += 1;
    }
    table
}

const fn index() -> [u8; 256] {
    let mut found = [0; 256];
    let mut entry = 0;
    while entry < 256 {
        found[(TABLE[entry] >> 24) as usize] = entry as u8;
        entry += 1;
    }
    found
}

/// One byte that was put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongByte {
    /// Where it is, from the start of the frame.
    pub(super) at: usize,
    /// What it must be.
    pub(super) right: u8,
}

/// The one byte that keeps these bytes, a frame and what follows it, from beginning with a whole frame.
pub(super) fn wrong_byte(bytes: &[u8]) -> Option<WrongByte> {
    if bytes.len() <= FRAME_HEADER {
        return None;
    }
    in_payload_or_checksum(bytes).or_else(|| in_length(bytes)).filter(|wrong| {
        let mut right = bytes.to_vec();
        right[wrong.at] = wrong.right;
        decode(&right).is_ok_and(|found| found.is_some())
    })
}

fn in_payload_or_checksum(bytes: &[u8]) -> Option<WrongByte> {
    let length = field(bytes, 0) as usize;
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER.checked_add(length)?)?;
    let difference = checksum(&bytes[..4], payload) ^ field(bytes, 4);
    let parts = difference.to_le_bytes();
    if let Some(at) = (0..4).find(|at| parts[*at] != 0 && u32::from(parts[*at]) << (8 * at) == difference) {
        return Some(WrongByte { at: 4 + at, right: bytes[4 + at] ^ parts[at] });
    }
    let mut register = difference;
    for (at, byte) in payload.iter().enumerate().rev() {
        register = step_back(register);
        if let Ok(error) = u8::try_from(register) {
            return Some(WrongByte { at: FRAME_HEADER + at, right: byte ^ error });
        }
    }
    None
}

/// What the register of a reflected checksum held before a zero byte went through.
fn step_back(register: u32) -> u32 {
    let index = usize::from(INDEX[(register >> 24) as usize]);
    ((register ^ TABLE[index]) << 8) | index as u32
}

fn in_length(bytes: &[u8]) -> Option<WrongByte> {
    let stored = field(bytes, 4);
    let candidates = (0..4).flat_map(|at| (0..=u8::MAX).map(move |right| WrongByte { at, right }));
    candidates.into_iter().find(|wrong| {
        let mut length = [bytes[0], bytes[1], bytes[2], bytes[3]];
        length[wrong.at] = wrong.right;
        let size = u32::from_le_bytes(length) as usize;
        let fits = size > 0 && size <= FRAME_MAX;
        let (Some(payload), Some(rest)) =
            (bytes.get(FRAME_HEADER..FRAME_HEADER + size), bytes.get(FRAME_HEADER + size..))
        else {
            return false;
        };
        fits && may_begin(rest) && checksum(&length, payload) == stored
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::frame::{Frame, encode};

    fn frame() -> Vec<u8> {
        encode(&Frame::Started { boot: "b".repeat(40), version: "1".to_owned(), offset_ms: 7 }).expect("small")
    }

    #[test]
    fn every_single_wrong_byte_is_found_and_put_right_last_frame_or_not() {
        for rest in [Vec::new(), frame()] {
            let whole = [frame(), rest].concat();
            for at in 0..frame().len() {
                for error in [1, 0x10, 0x80, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] ^= error;
                    let wrong = wrong_byte(&damaged).unwrap_or_else(|| panic!("byte {at} ^ {error}"));
                    assert_eq!((wrong.at, wrong.right), (at, whole[at]), "^ {error}");
                }
            }
        }
    }

    #[test]
    fn two_wrong_bytes_and_half_a_frame_are_not_guessed_at() {
        let whole = frame();
        for at in 8..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x11;
            damaged[at + 1] ^= 0x22;
            assert_eq!(wrong_byte(&damaged), None, "byte {at}");
        }
        for end in 0..whole.len() {
            assert_eq!(wrong_byte(&whole[..end]), None, "cut at {end}");
        }
    }
}
