//! Chance that can be repeated: every draw is a function of a seed, a rule's name and how often the rule was asked.
//!
//! No state is shared between rules, so what happens beside a rule's own calls changes nothing of what it does.

/// A number of 64 bits for the `n`-th question to a rule.
pub fn draw(seed: u64, rule: &str, n: u64) -> u64 {
    // FNV-1a tells names apart; SplitMix64's finaliser, applied to each part, spreads neighbours over all bits.
    let name = rule.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(mix(mix(seed) ^ name) ^ n)
}

/// The same draw as a fraction from 0 (inclusive) to 1 (exclusive).
pub fn fraction(seed: u64, rule: &str, n: u64) -> f64 {
    // 53 bits are what a double holds exactly.
    (draw(seed, rule, n) >> 11) as f64 / (1_u64 << 53) as f64
}

/// SplitMix64: one step and its finaliser.
fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_name_and_number_and_on_nothing_else() {
        assert_eq!(draw(1, "a", 0), draw(1, "a", 0));
        let all = [draw(1, "a", 0), draw(2, "a", 0), draw(1, "b", 0), draw(1, "a", 1)];
        for (place, one) in all.iter().enumerate() {
            assert!(!all[place + 1..].contains(one), "{all:?}");
        }
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for n in 0..10_000 {
            let fraction = fraction(7, "spread", n);
            assert!((0.0..1.0).contains(&fraction));
            tenths[(fraction * 10.0) as usize] += 1;
        }
        // 1,000 are expected in each; six standard deviations are 180.
        assert!(tenths.iter().all(|count| (820..1180).contains(count)), "{tenths:?}");
    }
}
