//! The event stream: server-sent events, one per record, whose `id` is the cursor to resume after.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Deserialize;

use super::Desk;
use super::answer::{Asked, Failure, blocking};
use super::id::status_of;
use crate::bundle::ExecutionId;
use crate::ledger::{JournalError, Queries};
use crate::sequence::{Record, Recorded};
use crate::view::{self, Names};

/// Records that are read from the journal at a time.
const BATCH: usize = 256;

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    since: Option<u64>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn events(
    State(desk): State<Desk>,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let queries = desk.open_queries()?;
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let (journal, asked) = (queries.clone(), query.since.or(resumed));
    let since = match tokio::task::spawn_blocking(move || journal.resume(asked)).await {
        Ok(Err(gone @ JournalError::Gone { .. })) => return Err(Failure::not_found(gone.to_string())),
        Ok(other) => other.map_err(|error| Failure::internal(&error))?,
        Err(error) => return Err(Failure::internal(&error)),
    };
    let walk = Walk {
        since,
        follow: query.follow,
        snapshots: desk.handle.snapshots(),
        names: BTreeMap::new(),
        ready: Vec::new(),
        queries,
        desk,
    };
    let stream =
        futures_util::stream::unfold(walk, |mut walk| async move { walk.next().await.map(|event| (Ok(event), walk)) });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

struct Walk {
    desk: Desk,
    queries: Queries,
    since: u64,
    follow: bool,
    snapshots: tokio::sync::watch::Receiver<std::sync::Arc<crate::handle::Snapshot>>,
    names: BTreeMap<ExecutionId, Names>,
    ready: Vec<Event>,
}

impl Walk {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            let (queries, since) = (self.queries.clone(), self.since);
            let records = blocking(move || queries.events(since, BATCH)).await.ok()?;
            if records.is_empty() {
                if !self.follow || self.snapshots.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            for (cursor, recorded) in records {
                let names = self.names(&recorded).await;
                let line = view::event_line(cursor, &recorded, &names);
                let event = Event::default().id(cursor.to_string()).json_data(&line).ok()?;
                self.ready.push(event);
                self.since = cursor;
            }
            self.ready.reverse();
        }
    }

    async fn names(&mut self, recorded: &Recorded) -> Names {
        let id = recorded.execution;
        if let Record::Accepted { plan, .. } = &recorded.record {
            self.names.insert(id, Names::of_plan(plan));
        }
        if let Some(known) = self.names.get(&id) {
            return known.clone();
        }
        let status = status_of(&self.desk, &self.desk.handle.snapshot(), id).await;
        let names = status.map(|status| Names::of_status(&status)).unwrap_or_default();
        self.names.insert(id, names.clone());
        names
    }
}
