//! How often each fault fired, and how often it mattered: changed what a host did, or was refused by the protocol.

use super::plan::Fault;

#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub fired: [u64; Fault::KINDS],
    pub mattered: [u64; Fault::KINDS],
    /// Lanes that were rightly stopped: an intent had lain there for days.
    pub halted: u64,
    pub requests: u64,
    pub events: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (mine, its) in self.fired.iter_mut().zip(other.fired) {
            *mine += its;
        }
        for (mine, its) in self.mattered.iter_mut().zip(other.mattered) {
            *mine += its;
        }
        self.halted += other.halted;
        self.requests += other.requests;
        self.events += other.events;
    }

    pub fn faults(&self) -> u64 {
        self.fired.iter().sum()
    }

    /// A line per kind.
    pub fn table(&self) -> String {
        let line =
            |i: usize| format!("{:<13}{:>9} fired {:>9} mattered\n", Fault::NAMES[i], self.fired[i], self.mattered[i]);
        (0..Fault::KINDS).map(line).collect()
    }
}
