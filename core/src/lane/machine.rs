//! The machine: `step` says what to do, `answer` takes what came of it.
//!
//! ```text
//! loop { match lane.step() {
//!     Do(command)   -> lane.answer(store.execute(command))
//!     Wait{..}      -> sleep, lane.waited()
//!     Compute(base) -> lane.offer(content that joins onto base.tip)
//!     End(why)      -> leave the lane
//! } }
//! ```
//! The next content may be offered while one is applied; then COMMIT(n) and INTENT(n+1) are one write.
//!
//! Invariants: as in `lane`. What a store answers is believed only where the protocol can survive its being late or
//! lost; what crashes and other hosts cannot explain halts the lane.
//!
//! Not here: what commands and answers mean (`command`).

use super::chunk::{ChunkName, StateRef, genuine};
use super::command::{Answer, Applied, Atomicity, Base, Command, Config, End, Halt, Step};
use super::content::{Content, State, decode_pend};
use super::head::{Head, LaneKey, StoredHead, StoredPend};
use super::lineage::Birth;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

/// Where the machine stands. Each place has one command, and one set of answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    Read(Why),
    Allocate { now_ms: i64 },
    Create(Box<StoredHead>),
    Sweep,
    SweepDelete(Vec<ChunkName>),
    FetchPend(Vec<ChunkName>),
    FetchState(Vec<ChunkName>),
    Ready,
    PutChunks,
    Intent,
    Apply,
    PutNext,
    Commit,
    Delete(Vec<ChunkName>, Box<At>),
    Transact,
    Wait { why: String, then: Box<At> },
    End(End),
}

/// Why the head is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Why {
    /// To begin.
    Start,
    /// To see what became of a write, or who else is there.
    Verify {
        /// Where to go on if nothing has changed.
        resume: Box<At>,
        /// A fence above our number that a row carries.
        fence: Option<u64>,
    },
    /// A chunk was not there.
    Missing(ChunkName),
}

/// One lane's protocol.
#[derive(Clone, Debug)]
pub struct Lane {
    key: LaneKey,
    config: Config,
    /// What the head begins with, if there is none yet.
    birth: Birth,
    at: At,
    /// As last read or written.
    head: Option<Head>,
    /// What the head had pending at the start, and the clock then; until it is loaded.
    found: Option<(StoredPend, i64)>,
    /// The content whose intent is asked for or written: `head.n + 1`.
    current: Option<Arc<Content>>,
    /// The one after `current`, offered early.
    next: Option<Arc<Content>>,
    /// Effects of `current` that are not answered yet.
    open: Vec<u32>,
    /// Failed attempts in a row.
    attempt: u32,
    /// Whether `current` was read back rather than offered: the engine must be restored after it.
    adopted: bool,
    /// The state that the next base carries.
    state: Option<State>,
}

impl Lane {
    /// A machine that begins by reading the head.
    pub fn new(key: LaneKey, config: Config) -> Self {
        Self::child(key, config, Birth::default())
    }

    /// The same for a lane that goes on where others have ended. Once the lane has a head, that one counts.
    pub fn child(key: LaneKey, config: Config, birth: Birth) -> Self {
        Self {
            key,
            config,
            birth,
            at: At::Read(Why::Start),
            head: None,
            found: None,
            current: None,
            next: None,
            open: Vec::new(),
            attempt: 0,
            adopted: false,
            state: None,
        }
    }

    /// The head as this host knows it; others may be further on.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether effects of a content are being applied that an earlier host left pending.
    pub fn recovering(&self) -> bool {
        self.adopted
    }

    /// What to do now. Asking again gives the same.
    pub fn step(&self) -> Step {
        let alias = self.head.as_ref().map_or(0, |h| h.alias);
        Step::Do(match &self.at {
            At::Read(_) => Command::ReadHead,
            At::Allocate { .. } => Command::AllocateAlias,
            At::Create(head) => Command::CreateHead { head: (**head).clone() },
            At::Sweep => Command::ListChunks { alias },
            At::SweepDelete(names) | At::Delete(names, _) => Command::DeleteChunks { alias, names: names.clone() },
            At::FetchPend(names) | At::FetchState(names) => Command::GetChunks { alias, names: names.clone() },
            At::PutChunks => Command::PutChunks { alias, chunks: self.current().chunks.clone() },
            At::PutNext => {
                let next = self.next.as_ref().expect("the chunks of an offered content");
                Command::PutChunks { alias, chunks: next.chunks.clone() }
            }
            At::Intent => Command::Intent { pend: stored_pend(self.current()) },
            At::Apply => Command::Apply { alias, content: Arc::clone(self.current()), effects: self.open.clone() },
            At::Commit => {
                assert!(self.open.is_empty(), "I4: {} effects are not answered", self.open.len());
                let c = self.current();
                let head = self.known().after(c);
                let pend = self.next.as_deref().map(stored_pend);
                Command::Commit { n: c.n, digest: c.digest, head: head.stored(pend) }
            }
            At::Transact => {
                let c = self.current();
                Command::Transact { content: Arc::clone(c), head: self.known().after(c).stored(None) }
            }
            At::Ready => return Step::Compute(Base { tip: self.known().tip(), state: self.state.clone() }),
            At::Wait { why, .. } => return Step::Wait { attempt: self.attempt, why: why.clone() },
            At::End(end) => return Step::End(end.clone()),
        })
    }

    /// Whether a content may be offered now: after `Compute`, and while another one is applied.
    pub fn wants(&self) -> bool {
        match &self.at {
            At::Ready => true,
            // Not any more once COMMIT may have been sent without it: a COMMIT with it would be another write than the
            // one whose answer is awaited.
            At::Apply => self.next.is_none() && !self.adopted,
            At::Wait { then, .. } => **then == At::Apply && self.next.is_none() && !self.adopted,
            _ => false,
        }
    }

    /// Takes the next content.
    ///
    /// # Panics
    /// If none is wanted, or it does not join onto the contents before it (I2).
    pub fn offer(&mut self, content: Content) {
        assert!(self.wants(), "a content was offered out of turn");
        let c = Arc::new(content);
        if self.at != At::Ready {
            let before = self.current();
            let joins = c.n == before.n + 1 && c.prev == before.digest && c.from == before.to;
            assert!(joins, "content {} does not join onto content {}", c.n, before.n);
            self.next = Some(c);
            return;
        }
        // Asserts the joining before anything is written.
        self.known().after(&c);
        self.state = None;
        self.at = match self.config.atomicity {
            Atomicity::Transaction => At::Transact,
            Atomicity::Items if c.chunks.is_empty() => At::Intent,
            Atomicity::Items => At::PutChunks,
        };
        self.take_up(c, false);
    }

    /// After a `Wait`.
    pub fn waited(&mut self) {
        if let At::Wait { then, .. } = &mut self.at {
            self.at = mem::replace(then, At::Ready);
        }
    }

    /// Takes the answer to the command that `step` gave.
    ///
    /// # Panics
    /// If the store gives an answer that the command does not have: a bug in the store.
    pub fn answer(&mut self, answer: Answer) {
        let at = mem::replace(&mut self.at, At::Ready);
        if let Answer::Unknown { detail } = answer {
            return self.unknown(at, detail);
        }
        if !matches!(at, At::Apply) {
            self.attempt = 0;
        }
        self.at = match (at, answer) {
            (_, Answer::Impossible { detail }) => halt(Halt::Impossible { detail }),
            (at, Answer::Expired) => self.expired(at),
            (At::Read(why), Answer::Head { stored, now_ms }) => self.read(why, stored, now_ms),
            (At::Allocate { now_ms }, Answer::Alias(alias)) => {
                let mut head = Head::new(self.key.clone(), alias, self.config.table.clone(), now_ms);
                self.birth.bear(&mut head);
                At::Create(Box::new(head.stored(None)))
            }
            (At::Create(_), Answer::Written | Answer::Refused) => At::Read(Why::Start),
            (At::Sweep, Answer::Names(names)) => self.sweep(names),
            (At::SweepDelete(_), Answer::Written) => self.recover(),
            (At::FetchPend(names), Answer::Chunks(chunks)) => match join(&names, chunks) {
                Ok(body) => self.pending(&body, names),
                Err(at) => at,
            },
            (At::FetchState(names), Answer::Chunks(chunks)) => match join(&names, chunks) {
                Ok(bytes) => self.restore(&bytes),
                Err(at) => at,
            },
            (At::PutChunks, Answer::Written) => At::Intent,
            (At::Intent, Answer::Written) => self.apply(),
            (At::Apply, Answer::Applied(answers)) => self.applied(answers),
            (At::PutNext, Answer::Written) => At::Commit,
            (At::Commit | At::Transact, Answer::Written) => self.committed(),
            (at @ (At::Intent | At::Commit | At::Transact), Answer::Refused) => verify(at, None),
            (At::Delete(_, then), Answer::Written) => *then,
            (at, answer) => panic!("a store answered {answer:?} at {at:?}"),
        };
    }

    /// All that its future depends on, for the search over states.
    #[cfg(test)]
    pub(super) fn fingerprint(&self, h: &mut impl core::hash::Hasher) {
        use core::hash::Hash;
        let head = self.head.as_ref().map(|h| (h.n, h.last, h.alias));
        let found = self.found.as_ref().map(|(p, _)| p.digest);
        (&self.at, head, found, &self.current, &self.next, &self.open, self.adopted, self.state.is_some()).hash(h);
    }

    /// Digests of the contents at hand, for the search over states.
    #[cfg(test)]
    pub(super) fn digests(&self) -> impl Iterator<Item = [u8; 32]> {
        self.current.iter().chain(&self.next).map(|c| c.digest)
    }

    fn current(&self) -> &Arc<Content> {
        self.current.as_ref().expect("a content is at hand from INTENT to COMMIT")
    }

    fn known(&self) -> &Head {
        self.head.as_ref().expect("the head was read")
    }

    fn take_up(&mut self, c: Arc<Content>, adopted: bool) {
        self.open = (0..c.len()).collect();
        self.adopted = adopted;
        self.current = Some(c);
    }

    fn unknown(&mut self, at: At, why: String) {
        let then = match at {
            // What is not deleted now is swept by whoever takes the lane over.
            At::Delete(_, then) => {
                self.at = *then;
                return;
            }
            At::SweepDelete(_) => {
                self.at = self.recover();
                return;
            }
            at @ (At::Intent | At::Commit | At::Transact) => verify(at, None),
            At::Create(_) => At::Read(Why::Start),
            at => at,
        };
        self.attempt = self.attempt.saturating_add(1);
        self.at = At::Wait { why, then: Box::new(then) };
    }

    fn expired(&mut self, at: At) -> At {
        match at {
            At::Delete(_, then) => *then,
            At::SweepDelete(_) => self.recover(),
            at @ (At::PutChunks | At::Intent | At::Apply | At::PutNext | At::Commit | At::Transact) => verify(at, None),
            // No content is at hand: nothing to verify.
            _ => At::Read(Why::Start),
        }
    }

    fn read(&mut self, why: Why, stored: Option<StoredHead>, now_ms: i64) -> At {
        let Some(stored) = stored else {
            return match why {
                Why::Start => At::Allocate { now_ms },
                _ => wrong_head("none".into(), "the head that was there before".into()),
            };
        };
        let head = match Head::decode(&stored.bytes) {
            Ok(head) => head,
            Err(e) => return halt(Halt::Unreadable { what: "the lane's head", detail: e.to_string() }),
        };
        if let Some(wrong) = self.wrong(&head, &stored) {
            return wrong;
        }
        match why {
            Why::Start => self.start(head, stored.pend, now_ms),
            Why::Missing(name) => still_missing(name, &head, stored.pend.as_ref()),
            // What lay about for days while this host slept is read back or computed anew, as by a host that takes over:
            // the rows and fences that it was made for may be gone.
            Why::Verify { resume, fence: None } if self.aged(&resume, now_ms) => self.start(head, stored.pend, now_ms),
            Why::Verify { resume, fence } => self.verified(*resume, fence, head, stored.pend),
        }
    }

    /// What crashes and other hosts cannot have made of the head.
    fn wrong(&self, head: &Head, stored: &StoredHead) -> Option<At> {
        let (found, expected) = if head.key != self.key {
            (format!("lane {}", head.key), format!("lane {}", self.key))
        } else if head.table != self.config.table {
            (format!("rows table {}", head.table), format!("rows table {}", self.config.table))
        } else if head.n != stored.n {
            (format!("n = {} beside bytes with n = {}", stored.n, head.n), "one number".into())
        } else if let Some(p) = stored.pend.as_ref().filter(|p| p.n != head.n + 1) {
            (format!("n = {} with batch {} pending", head.n, p.n), format!("batch {} pending", head.n + 1))
        } else if let Some(ours) = self.head.as_ref().filter(|ours| ours.alias != head.alias) {
            (format!("alias {}", head.alias), format!("alias {}", ours.alias))
        } else if let Some(ours) = self.head.as_ref().filter(|ours| ours.n > head.n) {
            (format!("n = {}", head.n), format!("{} or more, as committed before", ours.n))
        } else {
            return None;
        };
        Some(wrong_head(found, expected))
    }

    /// Whether a content at hand is older than an intent may be (its own age is judged when it is read back), or would be
    /// before long if its intent were only written now.
    fn aged(&self, resume: &At, now_ms: i64) -> bool {
        let max_ms = self.config.intent_age_ms_max;
        let older = |c: &Arc<Content>, ms| now_ms.saturating_sub(c.written_ms) > ms;
        let unwritten = matches!(resume, At::PutChunks | At::Intent | At::Transact);
        let ours = if unwritten { max_ms / 2 } else { max_ms };
        self.current.as_ref().is_some_and(|c| older(c, ours))
            || self.next.as_ref().is_some_and(|c| older(c, max_ms / 2))
    }

    fn start(&mut self, head: Head, pend: Option<StoredPend>, now_ms: i64) -> At {
        self.head = Some(head);
        self.current = None;
        self.next = None;
        self.state = None;
        match (self.config.atomicity, pend) {
            (Atomicity::Transaction, None) => self.recover(),
            (Atomicity::Transaction, Some(p)) => {
                wrong_head(format!("batch {} pending", p.n), "nothing pending where there are transactions".into())
            }
            (Atomicity::Items, pend) => {
                self.found = pend.map(|p| (p, now_ms));
                At::Sweep
            }
        }
    }

    /// Chunks of committed contents that the head does not name: nobody can name them again.
    fn sweep(&mut self, mut names: Vec<ChunkName>) -> At {
        let head = self.known();
        names.retain(|name| name.n <= head.n && !head.state.names().contains(name));
        if names.is_empty() { self.recover() } else { At::SweepDelete(names) }
    }

    /// Goes on where the last host stopped.
    fn recover(&mut self) -> At {
        let Some((p, _)) = &self.found else { return self.rest() };
        let unreadable =
            |e: crate::wire::WireError| halt(Halt::Unreadable { what: "the pending intent", detail: e.to_string() });
        match decode_pend(&p.bytes) {
            Err(e) => unreadable(e),
            Ok(Err(names)) => At::FetchPend(names),
            Ok(Ok(body)) => {
                let body = body.to_vec();
                self.pending(&body, Vec::new())
            }
        }
    }

    /// The pending content's bytes are at hand.
    fn pending(&mut self, body: &[u8], names: Vec<ChunkName>) -> At {
        let (p, now_ms) = self.found.take().expect("a content was found pending");
        let mut c = match Content::decode(body) {
            Ok(c) => c,
            Err(e) => return halt(Halt::Unreadable { what: "the pending intent", detail: e.to_string() }),
        };
        let head = self.known();
        if c.digest != p.digest || c.n != p.n || c.prev != head.last || c.from != head.pos {
            let detail = format!("it is not the content of batch {} that joins onto this head", p.n);
            return halt(Halt::Unreadable { what: "the pending intent", detail });
        }
        let age_ms = now_ms.saturating_sub(c.written_ms);
        if age_ms > self.config.intent_age_ms_max {
            return halt(Halt::OldIntent { n: c.n, age_ms, max_ms: self.config.intent_age_ms_max });
        }
        c.pend_names = names;
        self.take_up(Arc::new(c), true);
        self.apply()
    }

    /// Nothing is pending: the end of the lane, or the state that the next content is computed from.
    fn rest(&mut self) -> At {
        let head = self.known();
        if head.done {
            return At::End(End::Done);
        }
        match &head.state {
            StateRef::Chunks(names) => At::FetchState(names.clone()),
            StateRef::Inline(bytes) => {
                let bytes = bytes.clone();
                self.restore(&bytes)
            }
            StateRef::Empty => {
                self.state = Some(State::default());
                At::Ready
            }
        }
    }

    fn restore(&mut self, bytes: &[u8]) -> At {
        match State::decode(bytes) {
            Ok(state) => {
                self.state = Some(state);
                At::Ready
            }
            Err(e) => halt(Halt::Unreadable { what: "the lane's state", detail: e.to_string() }),
        }
    }

    /// The intent is written: its effects, or COMMIT where there are none left.
    fn apply(&self) -> At {
        if !self.open.is_empty() {
            return At::Apply;
        }
        match &self.next {
            Some(next) if !next.chunks.is_empty() => At::PutNext,
            _ => At::Commit,
        }
    }

    fn applied(&mut self, answers: Vec<Applied>) -> At {
        assert_eq!(answers.len(), self.open.len(), "one answer per effect");
        let n = self.current().n;
        let asked = mem::take(&mut self.open);
        let many = asked.len();
        let (mut fence, mut why, mut expired) = (None, None, false);
        for (i, answer) in asked.into_iter().zip(answers) {
            match answer {
                Applied::Done => continue,
                Applied::Fenced(f) if f == n => continue,
                Applied::Fenced(f) => fence = fence.max(Some(f)),
                Applied::Unknown(detail) => why = Some(detail),
                Applied::Expired => expired = true,
                Applied::Impossible(detail) => return halt(Halt::Impossible { detail }),
            }
            self.open.push(i);
        }
        if let Some(f) = fence {
            assert!(f > n, "a store refused batch {n} for fence {f}");
            return verify(At::Apply, fence);
        }
        if expired {
            return verify(At::Apply, None);
        }
        let Some(why) = why else {
            self.attempt = 0;
            return self.apply();
        };
        self.attempt = if self.open.len() < many { 1 } else { self.attempt.saturating_add(1) };
        At::Wait { why, then: Box::new(At::Apply) }
    }

    /// COMMIT was answered.
    fn committed(&mut self) -> At {
        let c = self.current.take().expect("a content was committed");
        let before = self.known();
        let head = before.after(&c);
        let mut drop: Vec<ChunkName> = before.state.names().iter().chain(&c.pend_names).copied().collect();
        drop.retain(|name| !head.state.names().contains(name));
        drop.sort();
        drop.dedup();
        self.head = Some(head);
        let then = self.onwards();
        if drop.is_empty() { then } else { At::Delete(drop, Box::new(then)) }
    }

    /// After COMMIT: the next content where its intent went along, else a new base.
    fn onwards(&mut self) -> At {
        if let Some(next) = self.next.take() {
            self.take_up(next, false);
            return self.apply();
        }
        if mem::take(&mut self.adopted) || self.known().done { self.rest() } else { At::Ready }
    }

    /// The head was read to see what became of a write.
    fn verified(&mut self, resume: At, fence: Option<u64>, head: Head, pend: Option<StoredPend>) -> At {
        let top = pend.as_ref().map_or(head.n, |p| p.n);
        if let Some(fence) = fence {
            return if top >= fence { At::End(End::Behind) } else { halt(Halt::Fence { fence, n: top }) };
        }
        let c = Arc::clone(self.current());
        // Whether our intent was seen written: from then on nobody else can have written another one.
        let ours = !matches!(resume, At::PutChunks | At::Intent | At::Transact);
        let other = |found: String| {
            if ours { wrong_head(found, format!("our batch {}", c.n)) } else { At::End(End::Behind) }
        };
        if head.n + 1 == c.n {
            return match pend {
                None if ours => wrong_head(format!("n = {} and nothing pending", head.n), format!("batch {}", c.n)),
                None => resume,
                Some(p) if p.digest != c.digest => other(format!("another batch {} pending", p.n)),
                Some(_) if ours => resume,
                Some(_) => self.apply(),
            };
        }
        if head.n > c.n {
            return At::End(End::Behind);
        }
        if head.last != c.digest {
            return other(format!("another batch {} committed", head.n));
        }
        // Committed, by an attempt whose answer was lost or by a host that took over.
        match (pend, &self.next) {
            (None, _) => {
                let next = self.next.take();
                let at = self.committed();
                let Some(next) = next else { return at };
                // COMMIT went without the next content, so its INTENT is still to be written.
                self.take_up(Arc::clone(&next), false);
                let intent = if next.chunks.is_empty() { At::Intent } else { At::PutChunks };
                match at {
                    At::Delete(names, _) => At::Delete(names, Box::new(intent)),
                    _ => intent,
                }
            }
            (Some(p), Some(next)) if p.digest == next.digest => self.committed(),
            (Some(_), _) => At::End(End::Behind),
        }
    }
}

fn halt(halt: Halt) -> At {
    At::End(End::Halted(halt))
}

fn wrong_head(found: String, expected: String) -> At {
    halt(Halt::Head { found, expected })
}

fn verify(resume: At, fence: Option<u64>) -> At {
    At::Read(Why::Verify { resume: Box::new(resume), fence })
}

/// The bytes of chunks put together, or where to go when one is missing.
fn join(names: &[ChunkName], chunks: Vec<Option<Vec<u8>>>) -> Result<Vec<u8>, At> {
    assert_eq!(names.len(), chunks.len(), "one answer per chunk");
    let mut all = Vec::new();
    for (name, bytes) in names.iter().zip(chunks) {
        let Some(bytes) = bytes else { return Err(At::Read(Why::Missing(*name))) };
        if !genuine(name, &bytes) {
            return Err(halt(Halt::Unreadable { what: "a chunk", detail: "its bytes do not have its digest".into() }));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// A chunk was not there: whoever committed since has deleted it, or something else did.
fn still_missing(name: ChunkName, head: &Head, pend: Option<&StoredPend>) -> At {
    let pending = pend.and_then(|p| decode_pend(&p.bytes).ok().and_then(Result::err)).unwrap_or_default();
    if head.state.names().contains(&name) || pending.contains(&name) {
        let digest = name.digest[..6].iter().map(|b| format!("{b:02x}")).collect();
        return halt(Halt::Missing { n: name.n, digest });
    }
    At::End(End::Behind)
}

fn stored_pend(c: &Content) -> StoredPend {
    StoredPend { n: c.n, digest: c.digest, bytes: c.pend.clone() }
}
