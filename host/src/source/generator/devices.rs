//! What the generated devices are like, and the text that says so: `devices=15000,every=90s,late=0.01,seed=1`.
//!
//! Not here: the records (`records`), the speed at which they are given (`generator`).

use plimsoll_core::policy::duration;
use std::fmt;

/// The most devices: their numbers have at most eight digits.
const DEVICES_MAX: u64 = 100_000_000;
/// The most pairs of placement and creative: their weights are a table in memory.
const PAIRS_MAX: u64 = 1_000_000;
/// The most that may be late or missing together: a device needs time on the air between its spells off it.
const SPELLS_MAX: f64 = 0.3;

/// Parameters of the generator. [`Devices::default`] is what the defaults below say, [`Devices::parse`] changes them.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `devices` | 15000 | how many |
/// | `every` | 90s | each device reports so often |
/// | `rate` | | records a second of all devices together, in place of `every` |
/// | `seed` | 1 | another seed, another stream; the same seed, the same records |
/// | `delay` | 30s | a record arrives up to so long after its event |
/// | `late` | 0.01 | share of records held back while a device is offline and sent at once when it is back, after 2 to 45 min |
/// | `offline` | 0.01 | share of records that never come, since the device is off |
/// | `ahead` | 0.001 | share of devices whose clock runs 5 s to 24 h ahead |
/// | `behind` | 0.001 | share of devices whose clock runs 5 s to 24 h behind |
/// | `placements` | 200 | how many placements |
/// | `creatives` | 20 | creatives of each placement; the pairs come with Zipf's frequencies |
/// | `records` | | so many and no more; unbounded if absent |
/// | `start` | | time of the first record in ms since the epoch; the wall clock's if paced, else 1700000040000 |
/// | `paced` | 0 | so many seconds of the stream in a second of the wall clock; 0: as fast as possible |
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// Another seed, another stream.
    pub seed: u64,
    pub(super) devices: u64,
    pub(super) every_us: u64,
    pub(super) delay_ms: u64,
    pub(super) late: f64,
    pub(super) offline: f64,
    pub(super) ahead: f64,
    pub(super) behind: f64,
    pub(super) placements: u64,
    pub(super) creatives: u64,
    pub(super) records: Option<u64>,
    pub(super) start_ms: Option<i64>,
    pub(super) paced: f64,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            seed: 1,
            devices: 15_000,
            every_us: 90_000_000,
            delay_ms: 30_000,
            late: 0.01,
            offline: 0.01,
            ahead: 0.001,
            behind: 0.001,
            placements: 200,
            creatives: 20,
            records: None,
            start_ms: None,
            paced: 0.0,
        }
    }
}

const SETTINGS: &str =
    "devices, every, rate, seed, delay, late, offline, ahead, behind, placements, creatives, records, start, paced";

impl Devices {
    /// Reads settings, separated by commas; empty text is the default.
    ///
    /// # Errors
    /// A sentence that names the setting, what was found and what would be right.
    pub fn parse(spec: &str) -> Result<Self, String> {
        let mut d = Self::default();
        let mut rate = None;
        let mut seen = Vec::new();
        for setting in spec.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let Some((name, value)) = setting.split_once('=').map(|(n, v)| (n.trim(), v.trim())) else {
                return Err(format!("`{setting}` has no value, expected NAME=VALUE with a name of {SETTINGS}"));
            };
            if seen.contains(&name) {
                return Err(format!("`{name}` is set twice"));
            }
            seen.push(name);
            match name {
                "devices" => d.devices = count(name, value, 1, DEVICES_MAX)?,
                "every" => d.every_us = span(name, value)? * 1000,
                "rate" => rate = Some(count(name, value, 1, 100_000_000)?),
                "seed" => d.seed = count(name, value, 0, u64::MAX)?,
                "delay" => d.delay_ms = span(name, value)?,
                "late" => d.late = number(name, value, SPELLS_MAX)?,
                "offline" => d.offline = number(name, value, SPELLS_MAX)?,
                "ahead" => d.ahead = number(name, value, 1.0)?,
                "behind" => d.behind = number(name, value, 1.0)?,
                "placements" => d.placements = count(name, value, 1, PAIRS_MAX)?,
                "creatives" => d.creatives = count(name, value, 1, PAIRS_MAX)?,
                "records" => d.records = Some(count(name, value, 0, u64::MAX)?),
                "start" => d.start_ms = Some(time(name, value)?),
                "paced" => d.paced = number(name, value, 1e6)?,
                _ => return Err(format!("unknown setting `{name}`, expected one of {SETTINGS}")),
            }
        }
        if let Some(rate) = rate {
            if seen.contains(&"every") {
                return Err("`every` and `rate` say the same thing; set one of them".to_owned());
            }
            d.every_us = d.devices * 1_000_000 / rate;
        }
        d.check()?;
        Ok(d)
    }

    /// What holds between settings.
    fn check(&self) -> Result<(), String> {
        if self.every_us == 0 {
            return Err("each device would report more than a million times a second; set more `devices`".to_owned());
        }
        if self.late + self.offline > SPELLS_MAX {
            return Err(format!(
                "`late` {} and `offline` {} are more than {SPELLS_MAX} together: devices would never be on the air",
                self.late, self.offline
            ));
        }
        if self.ahead + self.behind > 1.0 {
            let (ahead, behind) = (self.ahead, self.behind);
            return Err(format!("`ahead` {ahead} and `behind` {behind} are more than all devices together"));
        }
        let pairs = self.placements * self.creatives;
        if pairs > PAIRS_MAX {
            return Err(format!("`placements` times `creatives` is {pairs}, at most {PAIRS_MAX}"));
        }
        Ok(())
    }

    /// Everything that the records depend on, but for their number and pace: the identity of the stream.
    pub(super) fn identity(&self) -> String {
        let Self { seed, devices, every_us, delay_ms, late, offline, ahead, behind, placements, creatives, .. } = self;
        let start = self.start_ms.map(|ms| format!(",start={ms}")).unwrap_or_default();
        format!(
            "seed={seed},devices={devices},every={every_us}us,delay={delay_ms}ms,late={late},offline={offline},\
             ahead={ahead},behind={behind},placements={placements},creatives={creatives}{start}"
        )
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = u128::from(self.devices) * 1_000_000 / u128::from(self.every_us);
        write!(f, "{} generated devices (seed {}, {rate} records/s of their time)", self.devices, self.seed)
    }
}

fn count(name: &str, value: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits: String = value.chars().filter(|c| *c != '_').collect();
    let n = digits.parse().ok().filter(|n| (min..=max).contains(n));
    n.ok_or_else(|| format!("`{name}` is `{value}`, expected a whole number from {min} to {max}"))
}

/// Milliseconds, more than none.
fn span(name: &str, value: &str) -> Result<u64, String> {
    let d = duration::parse(value).map_err(|e| format!("`{name}` is `{value}`, expected {e}"))?;
    let ms = u64::try_from(d.as_millis()).ok().filter(|ms| (1..=366 * 86_400_000).contains(ms));
    ms.ok_or_else(|| format!("`{name}` is `{value}`, expected 1ms to 366d"))
}

fn number(name: &str, value: &str, max: f64) -> Result<f64, String> {
    let x = value.parse::<f64>().ok().filter(|x| (0.0..=max).contains(x));
    x.ok_or_else(|| format!("`{name}` is `{value}`, expected a number from 0 to {max}"))
}

fn time(name: &str, value: &str) -> Result<i64, String> {
    // Years 1900 to 2200: nobody means seconds or nanoseconds by accident.
    let ms = value.parse().ok().filter(|ms| (-2_208_988_800_000..7_258_118_400_000).contains(ms));
    ms.ok_or_else(|| format!("`{name}` is `{value}`, expected milliseconds since 1970, like 1700000040000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_named() {
        assert_eq!(Devices::parse("").unwrap(), Devices::default());
        let d = Devices::parse(" devices=1_000, rate=10 ,seed=7,late=0.1,paced=2.5,records=5").unwrap();
        assert_eq!(
            (d.devices, d.every_us, d.seed, d.late, d.paced, d.records),
            (1000, 100_000_000, 7, 0.1, 2.5, Some(5))
        );
        assert_eq!(Devices::parse("every=1m30s").unwrap(), Devices::default());
        for (spec, part) in [
            ("speed=1", "unknown setting `speed`, expected one of devices"),
            ("devices", "`devices` has no value"),
            ("devices=0", "from 1 to"),
            ("devices=many", "`devices` is `many`"),
            ("every=90", "with a unit"),
            ("every=0s", "1ms to 366d"),
            ("late=1", "from 0 to 0.3"),
            ("late=NaN", "`NaN`"),
            ("late=0.2,offline=0.2", "never be on the air"),
            ("ahead=0.6,behind=0.6", "more than all devices"),
            ("every=1s,rate=5", "set one of them"),
            ("devices=1,rate=2000000", "set more `devices`"),
            ("seed=1,seed=2", "`seed` is set twice"),
            ("placements=10000,creatives=1000", "at most 1000000"),
            ("start=99999999999999999", "milliseconds since 1970"),
        ] {
            let e = Devices::parse(spec).unwrap_err();
            assert!(e.contains(part), "{spec}: {e}");
        }
    }
}
