//! Scenarios drive the engine itself here: no module, no host.

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::scenario::Drive;

/// One engine at a time.
#[derive(Default)]
pub struct Native(Option<Engine>);

impl Native {
    fn engine(&mut self) -> &mut Engine {
        self.0.as_mut().expect("opened first")
    }
}

impl Drive for Native {
    fn open(&mut self, policy: &Policy, snapshot: Option<&[u8]>) -> Result<(), String> {
        let policy = Policy::from_canonical(policy.canonical()).map_err(|e| e.to_string())?;
        self.0 = Some(match snapshot {
            None => Engine::new(policy),
            Some(s) => Engine::restore(policy, s).map_err(|e| e.to_string())?,
        });
        Ok(())
    }

    fn apply(&mut self, frames: &[u8]) -> Result<(), String> {
        let mut padded = frames.to_vec();
        padded.resize(frames.len() + PADDING, 0);
        self.engine().apply(&padded, frames.len()).map_err(|e| e.to_string())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        self.engine().flush(FlushMode::Final, out);
        Ok(())
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        self.engine().panes(out);
        Ok(())
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.clear();
        self.engine().snapshot(out);
        Ok(())
    }
}
