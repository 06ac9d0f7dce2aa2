//! The order in which letters are driven: by arrival, then lane, batch and position.
//!
//! Where no arrival is known (lines of files) letters come in their lane's order: by batch, and within a batch by position
//! with its numbers read as numbers, so that line 9 is before line 10.

use super::mark::Place;
use crate::store::StoredDeadLetter;
use std::cmp::Ordering;

impl Ord for Place {
    fn cmp(&self, o: &Self) -> Ordering {
        let place = |p: &Self| (p.arrival, p.n);
        let (a, b) = (place(self), place(o));
        a.0.cmp(&b.0)
            .then_with(|| self.lane.cmp(&o.lane))
            .then(a.1.cmp(&b.1))
            .then_with(|| natural(&self.position, &o.position))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}

/// Letters by lane, batch and position.
pub fn by_place(a: &StoredDeadLetter, b: &StoredDeadLetter) -> Ordering {
    a.lane.cmp(&b.lane).then(a.n.cmp(&b.n)).then_with(|| natural(&a.position, &b.position))
}

/// Compares texts with the numbers in them read as numbers. Only equal texts are equal.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(c), Some(d)) = (x.chars().next(), y.chars().next()) else {
            // `07` and `7` are one number, and two texts.
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        };
        let order = if c.is_ascii_digit() && d.is_ascii_digit() {
            let (m, rest_x) = number(x);
            let (n, rest_y) = number(y);
            (x, y) = (rest_x, rest_y);
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
            c.cmp(&d)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits that a text begins with, without zeros before them, and what follows.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_the_order_of_their_numbers() {
        let sorted = ["", "7", "07", "a.ndjson:9", "a.ndjson:10", "a.ndjson:010", "a2:1", "a10:1", "b", "ä9", "ä10"];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                let expected =
                    if a.len() != b.len() && a.trim_start_matches('0') == *b { Ordering::Greater } else { i.cmp(&j) };
                if !a.contains('0') && !b.contains('0') || i == j {
                    assert_eq!(natural(a, b), expected, "{a:?} {b:?}");
                }
                assert_eq!(natural(a, b), natural(b, a).reverse(), "{a:?} {b:?}");
                assert_eq!(natural(a, b) == Ordering::Equal, a == b);
            }
        }
        assert_eq!(natural("a.ndjson:9", "a.ndjson:10"), Ordering::Less);
        assert_eq!(natural("18446744073709551616/2", "18446744073709551615/10"), Ordering::Greater);
    }
}
