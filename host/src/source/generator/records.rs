//! The records of the devices: a pure function of the parameters.
//!
//! ```text
//! slot      0  1  2  3  4 ...        one for each device in turn, evenly over the period `every`
//! device 7  o  o  .  .  .  oooo  o   late spell: held back, then all at once, in the order of their events
//! device 9  o  o           o  o  o   offline spell: never
//! ```
//! A device's time is cut into blocks of an hour; in some blocks lies one spell off the air. Whether, where and how
//! long is a hash of seed, device and block, so any slot can be computed without those before it.
//!
//! Invariants
//! - The same parameters give the same bytes for ever, on every machine: hashes and integers only, and for Zipf's
//!   weights additions and divisions in a fixed order.
//! - Arrival times never fall.
//!
//! Not here: frames and pace (`generator`), files (`produce`).

use super::Devices;

/// Time of the first record where nothing else is said: a whole minute.
const START_MS: i64 = 1_700_000_040_000;
/// Spells off the air are laid out in blocks of so long.
const BLOCK_US: u64 = 3_600_000_000;
/// How wrong a wrong clock is: evenly between two of these, in ms.
const CLOCK_STEPS_MS: [u64; 6] = [5_000, 60_000, 600_000, 3_600_000, 21_600_000, 86_400_000];

/// What a hash is for: equal counters give independent numbers.
#[derive(Clone, Copy)]
enum Use {
    Pair = 2,
    Impressions = 3,
    Watch = 4,
    Delay = 6,
    Spell = 7,
    SpellPlace = 8,
    Clock = 9,
    ClockOffset = 10,
    PairOrder = 100,
}

/// What is known of a record beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it arrives, in ms since the epoch.
    pub arrival_ms: i64,
    /// When it happened by the device's clock, in ms since the epoch.
    pub event_ms: i64,
    /// Who sends it.
    pub device: u64,
}

impl Record {
    /// The device as it stands in the text, such as `d-00042`: the partition key, so that a device keeps its order.
    pub fn device_name(&self) -> String {
        format!("d-{:05}", self.device)
    }
}

/// Where a stream of records stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub slot: u64,
    /// Records of this slot that were given.
    pub sub: u64,
}

/// The records, one after the other.
#[derive(Clone, Debug)]
pub struct Records {
    seed: u64,
    devices: u64,
    stride: u64,
    every_us: u64,
    start_ms: i64,
    delay_ms: u64,
    creatives: u64,
    block: u64,
    spell_min: u64,
    spell_max: u64,
    late: u64,
    offline: u64,
    ahead: u64,
    behind: u64,
    zipf: Zipf,
    place: Place,
    /// Records of the current slot.
    burst: u64,
}

enum Spell {
    Late,
    Off,
}

impl Records {
    /// From the first one.
    pub fn new(devices: &Devices) -> Self {
        Self::at(devices, devices.start_ms.unwrap_or(START_MS), Place::default())
    }

    /// From a place in a stream that began at `start_ms`.
    pub(super) fn at(d: &Devices, start_ms: i64, place: Place) -> Self {
        let block = (BLOCK_US / d.every_us).max(8);
        let spell_min = (block / 30).max(1);
        let spell_max = block * 3 / 4;
        // A share of the records is a share of the rounds: so many blocks need a spell of the mean length.
        let blocks = block as f64 / ((spell_min + spell_max) as f64 / 2.0);
        let mut records = Self {
            seed: d.seed,
            devices: d.devices,
            stride: stride(d.devices),
            every_us: d.every_us,
            start_ms,
            delay_ms: d.delay_ms,
            creatives: d.creatives,
            block,
            spell_min,
            spell_max,
            late: threshold(d.late * blocks),
            offline: threshold(d.offline * blocks),
            ahead: threshold(d.ahead),
            behind: threshold(d.behind),
            zipf: Zipf::new(d.seed, d.placements * d.creatives),
            place,
            burst: 0,
        };
        records.burst = records.burst_of(place.slot);
        records.settle();
        records
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Time of the first slot, in ms since the epoch.
    pub(super) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// When the next record arrives, in ms since the epoch.
    pub fn arrival_ms(&self) -> i64 {
        self.slot_ms(self.place.slot)
    }

    /// Appends the text of the next record, without a newline.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Record {
        let back = self.burst - 1 - self.place.sub;
        let slot = self.place.slot - back * self.devices;
        let device = self.device(slot);
        let delay = below(self.hash(Use::Delay, slot), self.delay_ms + 1);
        let event_ms = self.slot_ms(slot) - delay as i64 + self.clock_ms(device);
        let record = Record { arrival_ms: self.arrival_ms(), event_ms, device };
        self.write(out, slot, &record);
        self.place.sub += 1;
        self.settle();
        record
    }

    fn write(&self, out: &mut Vec<u8>, slot: u64, record: &Record) {
        let pair = self.zipf.pick(self.hash(Use::Pair, slot) >> 32);
        out.extend_from_slice(b"{\"device\":\"d-");
        decimal(out, record.device, 5);
        out.extend_from_slice(b"\",\"placement\":\"p-");
        decimal(out, pair / self.creatives, 3);
        out.extend_from_slice(b"\",\"creative\":\"c-");
        decimal(out, pair, 4);
        out.extend_from_slice(b"\",\"ts\":");
        if record.event_ms < 0 {
            out.push(b'-');
        }
        decimal(out, record.event_ms.unsigned_abs(), 1);
        out.extend_from_slice(b",\"impressions\":");
        decimal(out, below(self.hash(Use::Impressions, slot), 5) + 1, 1);
        out.extend_from_slice(b",\"watch_ms\":");
        decimal(out, below(self.hash(Use::Watch, slot), 30_001), 1);
        out.push(b'}');
    }

    /// Goes to the next slot that has records left.
    fn settle(&mut self) {
        while self.place.sub >= self.burst {
            self.place = Place { slot: self.place.slot + 1, sub: 0 };
            self.burst = self.burst_of(self.place.slot);
        }
    }

    /// How many records arrive at a slot.
    fn burst_of(&self, slot: u64) -> u64 {
        let (device, round) = (self.device(slot), slot / self.devices);
        let (block, at) = (round / self.block, round % self.block);
        match self.spell(device, block) {
            Some((_, from, to)) if (from..to).contains(&at) => 0,
            Some((Spell::Late, from, to)) if at == to => to - from + 1,
            _ => 1,
        }
    }

    /// The rounds of a block in which a device is off the air. It is back before the block ends.
    fn spell(&self, device: u64, block: u64) -> Option<(Spell, u64, u64)> {
        let id = block * self.devices + device;
        let chance = self.hash(Use::Spell, id) >> 32;
        let kind = match chance {
            c if c < self.late => Spell::Late,
            c if c < self.late + self.offline => Spell::Off,
            _ => return None,
        };
        let hash = self.hash(Use::SpellPlace, id);
        let len = self.spell_min + below(hash, self.spell_max - self.spell_min + 1);
        let from = below(hash << 32, self.block - len);
        Some((kind, from, from + len))
    }

    /// How far a device's clock is ahead; negative behind.
    fn clock_ms(&self, device: u64) -> i64 {
        let chance = self.hash(Use::Clock, device) >> 32;
        let sign = match chance {
            c if c < self.ahead => 1,
            c if c < self.ahead + self.behind => -1,
            _ => return 0,
        };
        let hash = self.hash(Use::ClockOffset, device);
        let step = below(hash, CLOCK_STEPS_MS.len() as u64 - 1) as usize;
        let (from, to) = (CLOCK_STEPS_MS[step], CLOCK_STEPS_MS[step + 1]);
        sign * (from + below(hash << 32, to - from + 1)) as i64
    }

    /// Devices in a shuffled order, the same in every round.
    fn device(&self, slot: u64) -> u64 {
        ((u128::from(slot % self.devices) * u128::from(self.stride)) % u128::from(self.devices)) as u64
    }

    fn slot_ms(&self, slot: u64) -> i64 {
        let (round, at) = (slot / self.devices, slot % self.devices);
        let within = (u128::from(at) * u128::from(self.every_us) / u128::from(self.devices)) as u64;
        self.start_ms + ((round * self.every_us + within) / 1000) as i64
    }

    fn hash(&self, of: Use, counter: u64) -> u64 {
        hash(self.seed, of as u64, counter)
    }
}

/// splitmix64 over seed, use and counter.
fn hash(seed: u64, of: u64, counter: u64) -> u64 {
    let seed = seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(of.wrapping_mul(0xA076_1D64_78BD_642F));
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let first = mix(counter.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed));
    mix(first.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// An even number in `0..n` from the upper half of a hash; `n` is at most 2^32.
fn below(hash: u64, n: u64) -> u64 {
    ((u128::from(hash >> 32) * u128::from(n)) >> 32) as u64
}

/// A share as a bound for 32 bits of a hash.
fn threshold(share: f64) -> u64 {
    (share * 4_294_967_296.0) as u64
}

/// A step through the devices that meets each once and neighbours seldom.
fn stride(devices: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (devices * 618 / 1000).max(1);
    (golden..).find(|s| gcd(*s, devices) == 1).expect("a number that is 1 more than a multiple comes")
}

fn decimal(out: &mut Vec<u8>, mut n: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while n > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Pairs of placement and creative: the i-th most frequent has the weight 1/i.
#[derive(Clone, Debug)]
struct Zipf {
    /// Cumulated weights, as bounds for 32 bits of a hash, and the pair of each rank.
    ranks: Vec<(u32, u32)>,
    /// For the upper bits of a hash, the first rank that can be meant.
    guide: Vec<u32>,
}

const GUIDE_BITS: u32 = 12;

impl Zipf {
    fn new(seed: u64, pairs: u64) -> Self {
        let weight = |rank: u64| 1.0 / (rank + 1) as f64;
        let total: f64 = (0..pairs).map(weight).sum();
        let mut order: Vec<u32> = (0..pairs as u32).collect();
        order.sort_by_key(|p| hash(seed, Use::PairOrder as u64, u64::from(*p)));
        let mut sum = 0.0;
        let bound = |(rank, pair): (u64, u32)| {
            sum += weight(rank);
            // `as` saturates, so that the last bound is the greatest number.
            ((sum / total * 4_294_967_296.0) as u32, pair)
        };
        let mut ranks: Vec<_> = (0..pairs).zip(order).map(bound).collect();
        ranks.last_mut().expect("at least one pair").0 = u32::MAX;
        let first = |bits: u32| ranks.partition_point(|(to, _)| *to < bits << (32 - GUIDE_BITS)) as u32;
        let guide = (0..1 << GUIDE_BITS).map(first).collect();
        Self { ranks, guide }
    }

    fn pick(&self, bits: u64) -> u64 {
        let bits = bits as u32;
        let mut rank = self.guide[(bits >> (32 - GUIDE_BITS)) as usize] as usize;
        while self.ranks[rank].0 < bits {
            rank += 1;
        }
        u64::from(self.ranks[rank].1)
    }
}
