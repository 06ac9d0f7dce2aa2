//! XXH64 with seed 0, by Yann Collet's specification: 64 bits of a text that look random.
//!
//! Not here: protection from people. Who chooses values with the hash in mind can make them collide; what is built on
//! it may then estimate wrongly, and must stay as fast and as small as ever.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of a text.
#[inline(never)]
pub(crate) fn hash(text: &[u8]) -> u64 {
    let (stripes, mut rest) = text.as_chunks::<32>();
    let mut h = P5;
    if !stripes.is_empty() {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let [a, b, c, d] = lanes;
        h = a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12));
        h = h.wrapping_add(d.rotate_left(18));
        for lane in lanes {
            h = (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        }
    }
    h = h.wrapping_add(text.len() as u64);
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        h = (h ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        rest = more;
    }
    if let Some((word, more)) = rest.split_first_chunk::<4>() {
        h = (h ^ u64::from(u32::from_le_bytes(*word)).wrapping_mul(P1)).rotate_left(23);
        h = h.wrapping_mul(P2).wrapping_add(P3);
        rest = more;
    }
    for byte in rest {
        h = (h ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    h = (h ^ (h >> 33)).wrapping_mul(P2);
    h = (h ^ (h >> 29)).wrapping_mul(P3);
    h ^ (h >> 32)
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// Made with the reference implementation (xxHash 0.8.4, through Python's `xxhash`).
    #[test]
    fn the_reference_agrees() {
        let text: [u8; 101] = core::array::from_fn(|i| (i * 7) as u8);
        for (len, expected) in VECTORS {
            assert_eq!(hash(&text[..len]), expected, "{len} bytes");
        }
    }

    const VECTORS: [(usize, u64); 14] = [
        (0, 0xEF46DB3751D8E999),
        (1, 0xE934A84ADB052768),
        (3, 0x9FF70A635A6209AB),
        (4, 0xAE5ACDC00A55AC41),
        (7, 0xD734A6B26F3DA63E),
        (8, 0x87116B3365B924EB),
        (12, 0x14B8433B9A14E611),
        (15, 0x02C53AB1E360882F),
        (31, 0x0F187C62B1E722B7),
        (32, 0x91B0CB0931A8C629),
        (33, 0x931B043CF8D65B94),
        (44, 0xA9AF7C776B75EF86),
        (64, 0xBF3052E3445775D0),
        (101, 0x42312F4D55D9BD17),
    ];
}
