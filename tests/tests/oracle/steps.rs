//! Stories: plain data drawn from a seed, which can be made shorter and printed.

use std::fmt;

use super::remote::Kind;

/// One step. Numbers are taken modulo what there is to choose from; a step that does not apply is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Put {
        by: u8,
        large: bool,
        picks: Picks,
    },
    Clone {
        by: u8,
        pick: u8,
    },
    Drop {
        by: u8,
        pick: u8,
    },
    CloneHandle {
        by: u8,
        pick: u8,
    },
    DropHandle {
        by: u8,
        pick: u8,
    },
    /// Takes refs and handles out of a value.
    Open {
        by: u8,
        pick: u8,
    },
    Submit {
        by: u8,
        kind: Kind,
        form: Form,
        large: bool,
        picks: Picks,
        on: u8,
    },
    /// A call that ends when its number is opened.
    Gate {
        by: u8,
    },
    OpenGate {
        pick: u8,
    },
    Cancel {
        by: u8,
        pick: u8,
    },
    /// A task that is cancelled when it may have begun or ended.
    Race {
        by: u8,
        kind: Kind,
        large: bool,
        picks: Picks,
        on: u8,
    },
    Spawn {
        by: u8,
        picks: Picks,
        on: u8,
    },
    /// Looks an actor up by its name.
    Find {
        by: u8,
        pick: u8,
    },
    /// An actor gets refs and handles, to keep.
    Keep {
        by: u8,
        to: u8,
        picks: Picks,
        wait: bool,
    },
    /// An actor keeps what is in a value.
    KeepInside {
        by: u8,
        to: u8,
        pick: u8,
    },
    Give {
        by: u8,
        from: u8,
        slot: u8,
        how: How,
        gate: Option<u8>,
        large: bool,
        wait: bool,
    },
    Forget {
        by: u8,
        from: u8,
        slot: u8,
    },
    /// An actor gives what it keeps to another.
    Pass {
        by: u8,
        from: u8,
        slot: u8,
        to: u8,
    },
    /// A call of a new actor whose handle is dropped while the call waits for its argument.
    LastCall {
        by: u8,
        pick: u8,
        large: bool,
    },
    Kill {
        by: u8,
        pick: u8,
    },
    /// Loses a message of this kind.
    Lose {
        what: u8,
    },
    /// Looks whether everything reachable can be got.
    Check,
    /// Looks whether exactly that is alive.
    Quiesce,
}

/// Refs, handles, and one more ref, whose value the call gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picks {
    pub(super) refs: u8,
    pub(super) actors: u8,
    pub(super) one: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Sync,
    /// Gets the value of another ref too.
    On,
    Async,
    /// Two returns.
    Twice,
    /// Waits inside for a ref that may not be ready.
    Gated,
    /// Both, without holding a thread.
    GatedAsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Give,
    GiveUp,
    Wrapped,
    /// In the result of a task that the actor submits, which waits for a ref if the step says.
    Ordered,
}

/// A cluster and what happens in it.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) seed: u64,
    /// Nodes beside the head.
    pub(super) nodes: u64,
    pub(super) drivers: usize,
    pub(super) faults: u64,
    /// Each with its place in the story as it was drawn.
    pub(super) steps: Vec<(usize, Step)>,
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story { seed, nodes, drivers, faults, steps } = self;
        write!(f, "seed {seed}, {nodes} nodes beside the head, {drivers} drivers, faults {faults}:")?;
        steps.iter().try_for_each(|(at, step)| write!(f, "\n  {at}: {step:?}"))
    }
}

/// SplitMix64: enough chance for a story, and the same one for a seed for ever.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

pub(super) fn story(seed: u64) -> Story {
    let mut chance = Chance(seed);
    let nodes = chance.next() % 3;
    let drivers = 1 + (chance.next() % 2) as usize;
    let faults = chance.next() % 4;
    let length = 20 + (chance.next() % 50) as usize;
    let steps = (0..length).map(|at| (at, step(chance.next()))).collect();
    Story { seed, nodes, drivers, faults, steps }
}

/// The step that a number stands for. The ranges are the weights.
fn step(number: u64) -> Step {
    let [what, by, a, b, c, d, e, f] = number.to_be_bytes();
    let kind = match e % 16 {
        0..=3 => Kind::Bundle,
        4 => Kind::Discard,
        5..=7 => Kind::Wrap,
        8..=10 => Kind::Relay,
        11 | 12 => Kind::Post,
        13 => Kind::Fail,
        _ => Kind::Keep,
    };
    let form = match f % 12 {
        0..=2 => Form::Sync,
        3..=5 => Form::On,
        6 => Form::Async,
        7 => Form::Twice,
        8..=9 => Form::Gated,
        _ => Form::GatedAsync,
    };
    let large = a < 90;
    let picks = Picks { refs: b, actors: c, one: d };
    match what {
        0..=25 => Step::Put { by, large, picks },
        26..=35 => Step::Clone { by, pick: a },
        36..=65 => Step::Drop { by, pick: a },
        66..=69 => Step::CloneHandle { by, pick: a },
        70..=79 => Step::DropHandle { by, pick: a },
        80..=95 => Step::Open { by, pick: a },
        96..=143 => Step::Submit { by, kind, form, large, picks, on: a },
        144..=151 => Step::Gate { by },
        152..=161 => Step::OpenGate { pick: a },
        162..=167 => Step::Cancel { by, pick: a },
        168..=173 => Step::Race { by, kind, large, picks, on: a },
        174..=183 => Step::Spawn { by, picks, on: a },
        184..=187 => Step::Find { by, pick: a },
        188..=199 => Step::Keep { by, to: a, picks, wait: d < 128 },
        200..=203 => Step::KeepInside { by, to: a, pick: b },
        204..=215 => {
            let how = [How::Give, How::GiveUp, How::Wrapped, How::Ordered][usize::from(d % 4)];
            let gate = (f < 128).then_some(f);
            Step::Give { by, from: a, slot: b, how, gate, large: c < 90, wait: e < 128 }
        }
        216..=218 => Step::Forget { by, from: a, slot: b },
        219..=225 => Step::Pass { by, from: a, slot: b, to: c },
        226..=229 => Step::LastCall { by, pick: a, large: b < 90 },
        230..=233 => Step::Kill { by, pick: a },
        234..=237 => Step::Lose { what: a },
        238..=248 => Step::Check,
        _ => Step::Quiesce,
    }
}
