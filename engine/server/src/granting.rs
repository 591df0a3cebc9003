//! Handing out tasks that ask for more than cpus.
//!
//! They are tried before others, so that GPUs do not wait for work that needs none. Sessions take turns, one task a turn; in a session the
//! order is that of `wanting.rs`.

use super::effects::Effects;
use super::ledger::Ledger;
use super::placer::{Placer, Round, Turn};
use super::reactor::Server;
use super::wanting::First;
use rain_model::graph::{Batch, Kind};
use rain_model::id::{GovernorId, SessionId};
use rain_model::resources::{Grant, Request};
use rain_protocol::client::RequestError;
use rain_protocol::cut::quoted;
use std::collections::BTreeSet;

/// Governors that are compared for a task, beside those that hold its inputs.
const COMPARED_MAX: usize = 8;
/// Tasks that are handed out in one turn of the server.
const PLACED_MAX: usize = 1_000;
/// Rounds, one after the other, in which nothing is handed out though something may have become free; one or two are usual.
const IN_VAIN_MAX: u32 = 8;

/// What was found for a task.
enum Choice {
    Governor(GovernorId, Grant),
    /// Nowhere is enough.
    Short,
    /// Somewhere is enough, but it is kept for another task.
    Kept,
    /// Somewhere is enough, but the governor has enough to do.
    Full,
}

/// What is known in one round: less and less is free.
#[derive(Default)]
pub(super) struct Known {
    /// What can be given nowhere.
    short: BTreeSet<Vec<Request>>,
    /// Some task waits for a governor that has less to do.
    is_full: bool,
    /// Sessions for which something is kept for another task than before.
    moved: BTreeSet<SessionId>,
}

impl<D: Clone> Placer<'_, D> {
    /// Hands out one task that asks for more than cpus, if there is enough for one.
    pub(super) fn wanting_turn(&mut self, ledger: &mut Ledger, known: &mut Known) -> Turn {
        let mut is_first = true;
        for first in self.session.wanting.firsts() {
            let task = first.task;
            let is_ready = self.session.tasks.get(task).is_some_and(|record| record.is_ready());
            let Some(batch) = self.session.batch_of(task).filter(|_| is_ready).cloned() else {
                // It was cancelled or given away meanwhile; the next one of its class has a turn of its own.
                self.session.wanting.remove(&first);
                return Turn::More;
            };
            let kind = batch.kind(task).clone();
            if !first.was_given_back() && known.short.contains(&kind.resources) {
                self.keep_for_first(ledger, &first, &kind, &mut is_first);
                continue;
            }
            match self.choose_granting(ledger, &batch, &first, &kind) {
                Choice::Governor(id, grant) => {
                    self.session.wanting.remove(&first);
                    ledger.give((self.session.id, task), id, grant.clone());
                    self.place_granted(&batch, task, id, grant);
                    return if self.session.wanting.is_empty() { Turn::Empty } else { Turn::More };
                }
                Choice::Short => {
                    known.short.insert(kind.resources.clone());
                    self.keep_for_first(ledger, &first, &kind, &mut is_first);
                }
                Choice::Kept => {
                    // For a task of the session that comes after it, or does not wait any more.
                    let has_moved = self.keep_for_first(ledger, &first, &kind, &mut is_first);
                    if has_moved && known.moved.insert(self.session.id) {
                        return Turn::More;
                    }
                }
                Choice::Full => {
                    known.is_full = true;
                    self.keep_for_first(ledger, &first, &kind, &mut is_first);
                }
            }
        }
        if self.session.wanting.is_empty() {
            ledger.unreserve(self.session.id);
            return Turn::Empty;
        }
        Turn::Blocked
    }

    /// Keeps something for the first task of the session that finds no governor, for whatever reason: so it is for the same task as long as
    /// nothing else happens; whether it was kept for another one of the session.
    fn keep_for_first(&self, ledger: &mut Ledger, first: &First, kind: &Kind, is_first: &mut bool) -> bool {
        if !std::mem::take(is_first) {
            return false;
        }
        let governors = &*self.governors;
        let is_good = |cpus: u32| {
            move |id: GovernorId| governors.get(id).is_some_and(|governor| governor.is_alive() && governor.cpus >= cpus)
        };
        let anywhere = |request: &&Request| {
            let mut alive = governors.iter().filter(|(id, _)| is_good(request.cpus)(*id));
            alive.any(|(id, _)| ledger.has(id, request))
        };
        let wanted =
            if kind.resources.len() == 1 { kind.resources.first() } else { kind.resources.iter().find(anywhere) };
        let Some(request) = wanted.cloned() else { return false };
        ledger.reserve((self.session.id, first.task), &request, is_good(request.cpus))
    }

    /// The first alternative for which there is a governor, and the best one for it.
    fn choose_granting(&self, ledger: &Ledger, batch: &Batch, first: &First, kind: &Kind) -> Choice {
        let mut why = Choice::Short;
        for request in &kind.resources {
            match (self.choose_for(ledger, batch, first, request), &why) {
                (found @ Choice::Governor(..), _) => return found,
                (other, Choice::Short) | (other @ Choice::Full, _) => why = other,
                _ => {}
            }
        }
        if matches!(why, Choice::Governor(..)) || !first.was_given_back() || !self.session.has_losses {
            return why;
        }
        // Tasks that have what it asks for may wait for it: there it goes first.
        let beyond = |request: &Request| {
            let fits =
                self.governors.iter().filter(|(_, governor)| governor.is_alive() && governor.cpus >= request.cpus);
            let granted =
                fits.filter_map(|(id, governor)| Some((governor.load(), id, ledger.find_in_all(id, request)?)));
            granted.min_by_key(|(load, id, _)| (*load, *id))
        };
        match kind.resources.iter().find_map(beyond) {
            Some((_, id, grant)) => Choice::Governor(id, grant),
            None => why,
        }
    }

    fn choose_for(&self, ledger: &Ledger, batch: &Batch, first: &First, request: &Request) -> Choice {
        let window = if first.was_given_back() { u64::from(u32::MAX) } else { self.window() };
        let holder = (self.session.id, first.task);
        let has_room = |id: GovernorId| {
            self.governors.get(id).is_some_and(|governor| governor.load() < window * u64::from(governor.cpus))
        };
        if !self.governors.least_loaded(request.cpus).any(has_room) {
            // As many governors as there are would be looked at in vain.
            return if ledger.fitting(request).next().is_some() { Choice::Full } else { Choice::Short };
        }
        let largest = self.largest_inputs(batch.inputs(first.task));
        let (mut is_kept, mut is_full) = (false, false);
        let mut rank = |id: GovernorId| {
            let governor =
                self.governors.get(id).filter(|governor| governor.is_alive() && governor.cpus >= request.cpus)?;
            let grant = ledger.find(id, request)?;
            let (load, cpus) = (governor.load(), u64::from(governor.cpus));
            let may_take = ledger.may_take(holder, id, &grant);
            let has_room = load < window * cpus;
            is_kept |= !may_take;
            is_full |= may_take && !has_room;
            let held = self.bytes_held(&largest, id);
            let rank = (load >= cpus, std::cmp::Reverse(held), load * 1000 / cpus.max(1), id);
            (may_take && has_room).then_some((rank, grant))
        };
        let near = self.holders_of(&largest).chain(self.governors.least_loaded(request.cpus));
        let near: Vec<_> = near.filter_map(&mut rank).collect();
        let others: Vec<_> = ledger.fitting(request).filter_map(&mut rank).take(COMPARED_MAX).collect();
        match near.into_iter().chain(others).min_by_key(|(rank, _)| *rank) {
            Some(((.., id), grant)) => Choice::Governor(id, grant),
            None if is_full => Choice::Full,
            None if is_kept => Choice::Kept,
            None => Choice::Short,
        }
    }
}

impl<D: Clone> Server<D> {
    /// Hands out tasks that ask for more than cpus, as far as there is enough.
    pub(super) fn place_wanting(&mut self, effects: &mut Effects<D>) {
        self.ledger.looked_at();
        let (mut round, mut known, mut blocked) = (Round::default(), Known::default(), Vec::new());
        while let Some((id, had)) = self.wanting.pop() {
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.failure.is_none()) else {
                continue;
            };
            session.had = session.had.max(had);
            let before = session.had;
            let governors = &mut self.governors;
            let mut placer = Placer { session, governors, round: &mut round, effects };
            let turn = placer.wanting_turn(&mut self.ledger, &mut known);
            if session.had > before {
                self.wanting.served(before);
            }
            let had = session.had;
            match turn {
                Turn::Empty => {}
                Turn::More => self.wanting.put_back(id, had),
                Turn::Blocked => blocked.push((id, had)),
            }
            self.note_excess(id);
            if round.count() >= PLACED_MAX {
                self.ledger.change();
                self.has_more = true;
                break;
            }
        }
        for (id, had) in blocked {
            self.wanting.put_back(id, had);
        }
        if known.is_full {
            self.ledger.await_room();
        }
        // What is kept for others may have become free after a task was looked at.
        let is_unsettled = self.ledger.has_changed() && !self.wanting.is_empty();
        self.rounds_in_vain = if round.count() > 0 || !is_unsettled { 0 } else { self.rounds_in_vain + 1 };
        self.has_more |= is_unsettled && self.rounds_in_vain < IN_VAIN_MAX;
        round.send(effects);
    }

    /// Notes tasks of a session that ask for more than cpus and have become ready.
    pub(super) fn note_wanting(&mut self, id: SessionId) {
        let now = self.now();
        if let Some(session) = self.sessions.get_mut(&id)
            && session.wanting.take_new(now)
        {
            self.wanting.add(id, session.had);
            self.ledger.change();
        }
    }

    /// Refuses kinds that ask for what no governor has.
    pub(super) fn check_resources(&self, kinds: &[Kind]) -> Result<(), RequestError> {
        let fits = |request: &Request| {
            self.governors.iter().any(|(id, governor)| governor.cpus >= request.cpus && self.ledger.has(id, request))
        };
        for kind in kinds {
            if !kind.resources.is_empty() && !kind.resources.iter().any(fits) {
                let why = self.why_never(&kind.resources[0]);
                let name = quoted(kind.display_name());
                return Err(RequestError::request(format!("submit refused: {name} asks for {why}")));
            }
        }
        Ok(())
    }

    /// What of a request no governor has.
    pub(super) fn why_never(&self, request: &Request) -> String {
        let all = || self.governors.iter().filter_map(|(id, _)| self.ledger.supplies(id));
        for (name, wanted) in &request.amounts {
            match all().filter_map(|supplies| supplies.get(name)).map(|supply| supply.total()).max() {
                None => {
                    let names: BTreeSet<&str> =
                        all().flat_map(|supplies| supplies.keys().map(String::as_str)).collect();
                    let names: Vec<&str> = std::iter::once("cpus").chain(names).collect();
                    return format!("{wanted} {name}, which no governor has; there are {}", names.join(", "));
                }
                Some(most) if most < *wanted => {
                    return format!("{wanted} {name}, but the governor with most of it has {most}");
                }
                Some(_) => {}
            }
        }
        let cpus = self.governors.cpus_max().unwrap_or_default();
        if request.cpus > cpus {
            return format!("{} cpus, but the largest governor has {cpus}", request.cpus);
        }
        let parts = request.amounts.iter().map(|(name, wanted)| format!("{wanted} {name}"));
        let parts: Vec<String> = std::iter::once(format!("{} cpus", request.cpus)).chain(parts).collect();
        format!("{}, which no governor has at once", parts.join(", "))
    }
}
