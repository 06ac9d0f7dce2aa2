//! Gaps on their way into the ledger, and the operator's word about them.
//!
//! Invariant: a gap is in the ledger before a lane goes on past it, and stays there.
//!
//! Not here: who finds them (`survey`, `lane`, sources), how the ledger is kept (`store`).

use super::RunError;
use super::lane::Context;
use crate::clock;
use crate::source::{LaneInfo, SourceError};
use crate::store::{Gap, GapKind};

/// Writes a gap down; whether the lane may go on past it.
pub(super) async fn note(
    context: &Context,
    lane: &str,
    kind: GapKind,
    position: Option<&str>,
    found: &str,
) -> Result<bool, RunError> {
    let now_ms = clock::now_ms();
    let gap = Gap {
        lane: lane.to_owned(),
        kind,
        position: position.map(str::to_owned),
        found: found.to_owned(),
        found_ms: now_ms,
        accepted_ms: context.config.accept_gaps.then_some(now_ms),
    };
    let stands = context.store.note_gap(&context.layout, &gap).await?;
    let accepted = stands.accepted_ms.is_some();
    if accepted {
        tracing::error!(
            lane,
            kind = kind.name(),
            ?position,
            found,
            "records are lost; going on past them, as accepted"
        );
    }
    Ok(accepted)
}

/// What ends a lane with a gap that nobody has accepted.
pub(super) fn error(info: &LaneInfo, found: &str) -> RunError {
    let mend = "it is in the gap ledger; pass --accept-gaps to go on with the oldest record that is left, or recount what the \
                source still holds under a new --generation";
    RunError::Source { lane: info.name.clone(), error: SourceError::Gap(format!("{found}; {mend}")) }
}
