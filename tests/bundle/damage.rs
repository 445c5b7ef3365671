//! Transfers go wrong: every cut, every flipped byte and any noise is refused.

use perigee::bundle::read::ReadError;
use perigee::bundle::write::BLOCK;
use proptest::prelude::*;

use super::sample::{ROOMY, Sample, unpack};

#[test]
fn a_bundle_cut_at_any_block_is_refused_as_cut_short() {
    let whole = Sample::new().pack();
    for end in (0..whole.len()).step_by(BLOCK) {
        let refused = unpack(&whole[..end], ROOMY).expect_err("cut");
        assert!(matches!(refused, ReadError::Truncated { at, .. } if at == end as u64), "{end}: {refused}");
    }
}

#[test]
fn a_bundle_cut_inside_a_block_is_refused_as_cut_short() {
    let whole = Sample::new().pack();
    for block in (0..whole.len()).step_by(BLOCK) {
        for end in [block + 1, block + 3, block + 257, block + BLOCK - 1] {
            let refused = unpack(&whole[..end], ROOMY).expect_err("cut");
            assert!(matches!(refused, ReadError::Truncated { at, .. } if at == end as u64), "{end}: {refused}");
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let whole = Sample::new().pack();
    let mut bad = whole.clone();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            bad[at] ^= flip;
            assert!(unpack(&bad, ROOMY).is_err(), "byte {at} with {flip:#x}");
            bad[at] ^= flip;
        }
    }
    assert_eq!(bad, whole);
}

#[test]
fn bytes_after_the_end_are_refused() {
    let whole = Sample::new().pack();
    for more in [vec![0], vec![0; BLOCK], vec![0; 10 * BLOCK], b"x".to_vec(), whole.clone()] {
        let refused = unpack(&[whole.clone(), more].concat(), ROOMY).expect_err("there is more");
        assert!(matches!(refused, ReadError::Trailing { at } if at == whole.len() as u64), "{refused}");
    }
}

#[test]
fn a_missing_or_single_end_block_is_refused() {
    let whole = Sample::new().pack();
    for blocks in [1, 2] {
        let refused = unpack(&whole[..whole.len() - blocks * BLOCK], ROOMY).expect_err("no end");
        assert!(matches!(&refused, ReadError::Truncated { inside, .. } if inside.contains("end")), "{refused}");
    }
}

#[test]
fn nothing_and_text_are_no_bundles() {
    assert!(matches!(unpack(b"", ROOMY), Err(ReadError::Truncated { at: 0, .. })));
    assert!(unpack("id: my-operation\n".repeat(100).as_bytes(), ROOMY).is_err());
    assert!(unpack(&[0; 4096], ROOMY).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn noise_is_refused_without_a_panic(
        noise in prop::collection::vec(any::<u8>(), 0..4096),
        magic in any::<bool>(),
    ) {
        let start: &[u8] = if magic { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[] };
        prop_assert!(unpack(&[start, &noise].concat(), ROOMY).is_err());
    }

    #[test]
    fn a_bundle_with_noise_anywhere_inside_is_refused_or_whole(
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let whole = Sample::new().pack();
        let mut bad = whole.clone();
        let start = at.index(whole.len());
        for (byte, noise) in bad[start..].iter_mut().zip(&noise) {
            *byte = *noise;
        }
        prop_assert_eq!(unpack(&bad, ROOMY).is_ok(), bad == whole);
    }

    #[test]
    fn bytes_that_were_inserted_or_lost_are_refused(
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..600),
        lost in 0_usize..600,
    ) {
        let whole = Sample::new().pack();
        let start = at.index(whole.len());
        let after = (start + lost).min(whole.len());
        let bad = [&whole[..start], &noise, &whole[after..]].concat();
        prop_assert_eq!(unpack(&bad, ROOMY).is_ok(), bad == whole);
    }
}
