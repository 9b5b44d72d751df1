//! Who holds how much.
//!
//! The only place where resources are taken or given back, so that LEASE-1 and LEASE-2 are the ledger's alone.
//! Beside the node's sum it keeps one account a job, an owner and a class (an owner's leases of one shape and key): by
//! these the next to be served is chosen, and the next to be recalled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::ids::{JobId, OwnerId};
use crate::resources::ResourceSet;

/// Whose accounts a lease is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) job: JobId,
    pub(super) owner: OwnerId,
    pub(super) shape: ResourceSet,
    /// Which of the owner's tasks its leases serve.
    pub(super) key: u32,
}

/// What somebody holds, less what it lends. An account lasts as long as a lease or an open request is on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) held: ResourceSet,
    uses: u32,
    /// When it was last served, or came; twice the leases of this node until then. Among equals, who waited longest
    /// is next; whoever comes anew passes only the one that was served last.
    pub(super) turn: u64,
}

/// Every account, or what they would be if some leases were back.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    jobs: BTreeMap<JobId, Account>,
    owners: BTreeMap<OwnerId, Account>,
    /// By shape within: of one owner and key there is one, but of a raylet's, which are all actors'. They are looked up often.
    classes: BTreeMap<(OwnerId, u32), BTreeMap<ResourceSet, Account>>,
}

impl Accounts {
    fn each(&mut self, holder: &Holder, mut change: impl FnMut(&mut Account)) {
        change(self.jobs.entry(holder.job).or_default());
        change(self.owners.entry(holder.owner).or_default());
        let shapes = self.classes.entry((holder.owner, holder.key)).or_default();
        change(shapes.entry(holder.shape.clone()).or_default());
    }

    pub(super) fn take(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.each(holder, |account| account.held.add(amount));
    }

    pub(super) fn give(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.each(holder, |account| account.held.sub(amount));
    }

    pub(super) fn job(&self, job: JobId) -> Option<&Account> {
        self.jobs.get(&job)
    }

    pub(super) fn owner(&self, owner: OwnerId) -> Option<&Account> {
        self.owners.get(&owner)
    }

    /// Owners that have leases or open requests.
    pub(super) fn owners(&self) -> impl Iterator<Item = OwnerId> {
        self.owners.keys().copied()
    }

    /// Those of them that a range holds.
    pub(super) fn owners_in(&self, range: RangeInclusive<OwnerId>) -> impl Iterator<Item = OwnerId> {
        self.owners.range(range).map(|(owner, _)| *owner)
    }

    pub(super) fn class(&self, owner: OwnerId, key: u32, shape: &ResourceSet) -> Option<&Account> {
        self.classes.get(&(owner, key))?.get(shape)
    }

    fn class_of(&self, holder: &Holder) -> Option<&Account> {
        self.class(holder.owner, holder.key, &holder.shape)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.owners.is_empty() && self.classes.is_empty()
    }

    fn prune(&mut self, holder: &Holder) {
        let unused = |account: Option<&Account>| account.is_some_and(|account| account.uses == 0);
        if unused(self.jobs.get(&holder.job)) {
            self.jobs.remove(&holder.job);
        }
        if unused(self.owners.get(&holder.owner)) {
            self.owners.remove(&holder.owner);
        }
        if unused(self.class_of(holder))
            && let Some(shapes) = self.classes.get_mut(&(holder.owner, holder.key))
        {
            shapes.remove(&holder.shape);
            if shapes.is_empty() {
                self.classes.remove(&(holder.owner, holder.key));
            }
        }
    }

    /// How much of `total` its job, then its owner holds.
    #[cfg(test)]
    pub(super) fn size(&self, holder: &Holder, total: &ResourceSet) -> (u64, u64) {
        let share = |account: Option<&Account>| account.map_or(0, |account| account.held.dominant_share(total));
        (share(self.job(holder.job)), share(self.owner(holder.owner)))
    }

    /// Whether `has` holds more of `total` than `wants`, as far as the two are different: by job, then by owner,
    /// then by class. Nobody holds more than itself.
    #[cfg(test)]
    pub(super) fn holds_more(&self, has: &Holder, wants: &Holder, total: &ResourceSet) -> bool {
        let share = |account: Option<&Account>| account.map_or(0, |account| account.held.dominant_share(total));
        if has.job != wants.job {
            share(self.job(has.job)) > share(self.job(wants.job))
        } else if has.owner != wants.owner {
            share(self.owner(has.owner)) > share(self.owner(wants.owner))
        } else {
            share(self.class_of(has)) > share(self.class_of(wants))
        }
    }
}

/// The accounts as they would be if some leases were back, or others placed. Only what is different is kept.
#[derive(Debug)]
pub(super) struct Imagined<'a> {
    accounts: &'a Accounts,
    jobs: BTreeMap<JobId, ResourceSet>,
    owners: BTreeMap<OwnerId, ResourceSet>,
    classes: BTreeMap<Holder, ResourceSet>,
}

impl<'a> Imagined<'a> {
    pub(super) fn of(accounts: &'a Accounts) -> Self {
        Self { accounts, jobs: BTreeMap::new(), owners: BTreeMap::new(), classes: BTreeMap::new() }
    }

    fn each(&mut self, holder: &Holder, change: impl Fn(&mut ResourceSet)) {
        let held = |account: Option<&Account>| account.map(|account| account.held.clone()).unwrap_or_default();
        let accounts = self.accounts;
        change(self.jobs.entry(holder.job).or_insert_with(|| held(accounts.job(holder.job))));
        change(self.owners.entry(holder.owner).or_insert_with(|| held(accounts.owner(holder.owner))));
        match self.classes.get_mut(holder) {
            Some(class) => change(class),
            None => {
                let mut class = held(accounts.class_of(holder));
                change(&mut class);
                self.classes.insert(holder.clone(), class);
            }
        }
    }

    pub(super) fn take(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.each(holder, |held| held.add(amount));
    }

    pub(super) fn give(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.each(holder, |held| held.sub(amount));
    }

    fn job(&self, holder: &Holder) -> Option<&ResourceSet> {
        self.jobs.get(&holder.job).or_else(|| Some(&self.accounts.job(holder.job)?.held))
    }

    fn owner(&self, holder: &Holder) -> Option<&ResourceSet> {
        self.owners.get(&holder.owner).or_else(|| Some(&self.accounts.owner(holder.owner)?.held))
    }

    fn class(&self, holder: &Holder) -> Option<&ResourceSet> {
        self.classes.get(holder).or_else(|| Some(&self.accounts.class_of(holder)?.held))
    }

    /// How much of `total` its job, then its owner holds.
    pub(super) fn size(&self, holder: &Holder, total: &ResourceSet) -> (u64, u64) {
        let share = |held: Option<&ResourceSet>| held.map_or(0, |held| held.dominant_share(total));
        (share(self.job(holder)), share(self.owner(holder)))
    }

    /// Whether `has` holds more of `total` than `wants`, as far as the two are different: by job, then by owner,
    /// then by class. Nobody holds more than itself.
    pub(super) fn holds_more(&self, has: &Holder, wants: &Holder, total: &ResourceSet) -> bool {
        let share = |held: Option<&ResourceSet>| held.map_or(0, |held| held.dominant_share(total));
        if has.job != wants.job {
            share(self.job(has)) > share(self.job(wants))
        } else if has.owner != wants.owner {
            share(self.owner(has)) > share(self.owner(wants))
        } else {
            share(self.class(has)) > share(self.class(wants))
        }
    }
}

/// Whose accounts have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Everybody's shares: the whole has.
    All,
    Of(BTreeSet<OwnerId>),
}

#[derive(Clone, Debug)]
pub(super) struct Ledger {
    total: ResourceSet,
    /// Less than nothing while unblocked tasks have taken back what was lent on (LEASE-1).
    available: ResourceSet,
    accounts: Accounts,
    turns: u64,
    /// Since it was last asked.
    changed: Changed,
}

impl Ledger {
    pub(super) fn new(total: ResourceSet) -> Self {
        let changed = Changed::Of(BTreeSet::new());
        Self { available: total.clone(), total, accounts: Accounts::default(), turns: 0, changed }
    }

    pub(super) fn total(&self) -> &ResourceSet {
        &self.total
    }

    pub(super) fn available(&self) -> &ResourceSet {
        &self.available
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What is used stays used: a node that shrinks may owe.
    pub(super) fn set_total(&mut self, total: ResourceSet) {
        self.available.add(&total);
        self.available.sub(&self.total);
        self.total = total;
        self.changed = Changed::All;
    }

    /// Whose accounts have changed since this was asked last.
    pub(super) fn changed(&mut self) -> Changed {
        std::mem::replace(&mut self.changed, Changed::Of(BTreeSet::new()))
    }

    fn change_of(&mut self, holder: &Holder) {
        if let Changed::Of(owners) = &mut self.changed {
            owners.insert(holder.owner);
        }
    }

    /// A request or a lease begins.
    pub(super) fn join(&mut self, holder: &Holder) {
        let turn = (2 * self.turns).saturating_sub(1);
        self.accounts.each(holder, |account| {
            if account.uses == 0 {
                account.turn = turn;
            }
            account.uses += 1;
        });
    }

    /// A request or a lease ends.
    pub(super) fn leave(&mut self, holder: &Holder) {
        self.accounts.each(holder, |account| account.uses = account.uses.saturating_sub(1));
        self.accounts.prune(holder);
    }

    /// A lease begins, holding `hold`.
    pub(super) fn open(&mut self, holder: &Holder, hold: &ResourceSet) {
        self.join(holder);
        self.turns += 1;
        let turn = 2 * self.turns;
        self.accounts.each(holder, |account| account.turn = turn);
        self.take(holder, hold);
    }

    /// A lease ends, holding `hold` (less what it lends).
    pub(super) fn close(&mut self, holder: &Holder, hold: &ResourceSet) {
        self.give(holder, hold);
        self.leave(holder);
    }

    /// Take without asking: whoever grants has asked; whoever unblocks need not.
    pub(super) fn take(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.available.sub(amount);
        self.accounts.take(holder, amount);
        self.change_of(holder);
    }

    pub(super) fn give(&mut self, holder: &Holder, amount: &ResourceSet) {
        self.available.add(amount);
        self.accounts.give(holder, amount);
        self.change_of(holder);
    }
}
