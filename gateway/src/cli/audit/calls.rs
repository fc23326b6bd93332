//! Recorded calls with their bodies: out of the files of the record, or through the controller, which answers in pages.
//!
//! What is asked of calls here may answer "none", so a page that left something out would look like good news. The end
//! of the record is where the controller says so, and whatever does not reach it is a problem.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::complain_each;
use crate::{
    audit::query::{Filter, Record, Sources, every_whole_call},
    cli::{evidence::Connection, output::note, person::block_on},
    controller::query,
};

/// The most that the controller takes.
const PAGE: &str = "500";
/// A person may ask as often, for as long as they like.
const PACE: Duration = Duration::from_millis(200);

pub(in crate::cli) enum Calls {
    Files(Sources),
    Controller(Connection),
}

/// How far it came.
#[derive(Debug, Default)]
pub(in crate::cli) struct Reading {
    /// What could not be read.
    pub(in crate::cli) problems: BTreeSet<String>,
    /// Calls and pages that the controller gave.
    pages: Option<(u64, u64)>,
}

impl Calls {
    /// Hands each call that matches to `take`, the newest of the record first as a rule, until it breaks off.
    pub(in crate::cli) fn each(
        &self,
        filter: &Filter,
        mut take: impl FnMut(&Record) -> ControlFlow<()>,
    ) -> anyhow::Result<Reading> {
        match self {
            Self::Files(sources) => {
                let report = every_whole_call(sources, filter, |record| take(&record));
                let problems = report.problems.iter().map(ToString::to_string);
                Ok(Reading {
                    problems: problems.collect(),
                    pages: None,
                })
            }
            Self::Controller(connection) => block_on(async {
                let evidence = connection.open().await?;
                through_pages(async |path| evidence.get(&path).await, filter, take).await
            }),
        }
    }
}

impl Reading {
    /// Says on stderr how much was read, and whether it was not all.
    pub(in crate::cli) fn tell(&self) -> bool {
        if let Some((calls, pages)) = self.pages {
            note!(
                "Read {calls} calls in {pages} answers of the controller. Calls of the last minute may still be in the \
                 gateways' logs."
            );
        }
        complain_each(&self.problems)
    }
}

/// From the newest to the oldest.
async fn through_pages(
    ask: impl AsyncFn(String) -> anyhow::Result<Value>,
    filter: &Filter,
    mut take: impl FnMut(&Record) -> ControlFlow<()>,
) -> anyhow::Result<Reading> {
    let mut reading = Reading::default();
    let (mut calls, mut pages) = (0, 0);
    let mut end = End::of(filter);
    loop {
        let page = Page::read(ask(path(filter, end.until)).await?)?;
        pages += 1;
        reading.problems.extend(page.problems);
        let mut is_new = false;
        for call in page.calls.iter().rev().filter(|call| end.is_new(call)) {
            (is_new, calls) = (true, calls + 1);
            reading.pages = Some((calls, pages));
            if take(call).is_break() {
                return Ok(reading);
            }
        }
        reading.pages = Some((calls, pages));
        if !page.has_more {
            return Ok(reading);
        }
        if !is_new {
            reading.problems.insert(end.stuck());
            return Ok(reading);
        }
        end.move_to(&page.calls);
        sleep(PACE).await;
    }
}

/// Up to when calls are still to be read, and those of that very moment that were.
struct End {
    until: Option<Timestamp>,
    seen: BTreeSet<String>,
}

impl End {
    fn of(filter: &Filter) -> Self {
        Self {
            until: filter.until,
            seen: BTreeSet::new(),
        }
    }

    fn is_new(&self, call: &Record) -> bool {
        !self.seen.contains(call.audit_id())
    }

    /// The oldest call of a page, which has its calls in order. The next page begins with it again: another may have
    /// come at the same moment.
    fn move_to(&mut self, calls: &[Record]) {
        let time = |call: &Record| call.received().unwrap_or_default();
        let Some(oldest) = calls.first().map(time) else {
            return;
        };
        if self.until != Some(oldest) {
            self.seen.clear();
        }
        self.until = Some(oldest);
        let then = calls.iter().take_while(|call| time(call) == oldest);
        self.seen
            .extend(then.map(|call| call.audit_id().to_owned()));
    }

    fn stuck(&self) -> String {
        let until = self.until.map_or_else(
            || "the record".to_owned(),
            |until| format!("the record up to {until}"),
        );
        format!(
            "{until}: the controller has more calls, and an answer of it has room for none; read the store itself \
             (--store)"
        )
    }
}

/// One answer, oldest call first.
struct Page {
    calls: Vec<Record>,
    problems: Vec<String>,
    has_more: bool,
}

impl Page {
    fn read(mut answer: Value) -> anyhow::Result<Self> {
        const NO_PAGE: &str =
            "the controller answered what is no list with its end; is it an older one?";
        let calls: Vec<Map<String, Value>> =
            serde_json::from_value(answer["items"].take()).context(NO_PAGE)?;
        Ok(Self {
            calls: calls.into_iter().map(Record).collect(),
            problems: serde_json::from_value(answer["problems"].take()).context(NO_PAGE)?,
            has_more: answer["truncated"].as_bool().context(NO_PAGE)?,
        })
    }
}

fn path(filter: &Filter, until: Option<Timestamp>) -> String {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let given = [
        ("bodies", Some("true".to_owned())),
        ("limit", Some(PAGE.to_owned())),
        ("since", time(filter.since)),
        ("until", time(until)),
        ("agent", filter.agent.clone()),
        ("namespace", filter.namespace.clone()),
    ];
    let given = given.iter();
    let given = given.filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    format!("/v1/records{}", query(given))
}

#[cfg(test)]
mod tests;
