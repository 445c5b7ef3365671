//! How much a test tries, and where.
#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part of it")]

/// Whether the long form was asked for.
pub fn long() -> bool {
    std::env::var_os("PERIGEE_TORTURE").is_some_and(|form| form == "long")
}

/// The short or the long of it.
pub fn trials(short: usize, of_long: usize) -> usize {
    if long() { of_long } else { short }
}

/// Numbers that look random and are the same in every run.
pub fn scattered(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or(0)
    }
}
