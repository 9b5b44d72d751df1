//! Amounts of resources: what a node has, what a task asks.
//!
//! Resources are logical: they admit work, they do not confine it. An amount is a whole number of
//! ten-thousandths, so that whatever is taken and given back leaves exactly what was there before (RES-1), in any
//! order and however often. Floating point appears only at the edges: what a user writes, what a user reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest resource name, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The most kinds of resources one set holds when it comes from elsewhere.
const KINDS_MAX: usize = 256;
/// The largest amount: a hundred terabytes, if bytes. Sums of many still fit.
const AMOUNT_MAX: f64 = 1e14;

/// Why an amount or a name was refused: the resource, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ResourceError {
    /// Neither negative nor "not a number".
    #[error("resource {name}: {value} is not an amount; amounts are zero or more")]
    NotAnAmount {
        /// Which resource.
        name: ResourceName,
        /// What was asked.
        value: f64,
    },
    /// Amounts are multiples of 1/10000.
    #[error("resource {name}: {value} is finer than 0.0001, the smallest step")]
    TooFine {
        /// Which resource.
        name: ResourceName,
        /// What was asked.
        value: f64,
    },
    /// Amounts have a bound.
    #[error("resource {name}: {value} is more than 1e14, the largest amount")]
    TooMuch {
        /// Which resource.
        name: ResourceName,
        /// What was asked.
        value: f64,
    },
    /// A GPU can be shared, but more than one is given whole.
    #[error("resource GPU: {value} is more than one and not whole; only a fraction of one GPU can be shared")]
    FractionalGpus {
        /// What was asked.
        value: f64,
    },
    /// The resources with options of their own are not custom ones.
    #[error("resource {name}: not allowed among custom resources; use the option {option}")]
    Reserved {
        /// Which resource.
        name: ResourceName,
        /// The option that asks for it.
        option: &'static str,
    },
    /// Names are neither empty nor very long.
    #[error("a resource's name has 1 to 256 bytes, this one has {bytes}")]
    BadName {
        /// How long the name was.
        bytes: usize,
    },
    /// A set that came from elsewhere was not one.
    #[error("a set of resources names {name} twice")]
    Twice {
        /// Which resource.
        name: ResourceName,
    },
    /// A set that came from elsewhere was too large.
    #[error("a set of resources has at most 256 kinds, this one has {kinds}")]
    TooManyKinds {
        /// How many there were.
        kinds: usize,
    },
}

/// What is counted: "CPU", "GPU", "memory", "object_store_memory", `node:<ip>` or a name of the user's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ResourceName {
    /// "CPU": the only resource that a blocked task lends.
    Cpu,
    /// "GPU".
    Gpu,
    /// "memory", in bytes.
    Memory,
    /// "object_store_memory", in bytes.
    ObjectStoreMemory,
    /// Any other name, shared by all who hold a copy of it.
    Custom(Arc<str>),
}

impl ResourceName {
    /// The name as users write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Memory => "memory",
            Self::ObjectStoreMemory => "object_store_memory",
            Self::Custom(name) => name,
        }
    }

    /// The resource of the node at this address: one each, so that work can be sent to it by name.
    pub fn node(ip: impl fmt::Display) -> Self {
        Self::Custom(format!("node:{ip}").into())
    }

    fn option(&self) -> Option<&'static str> {
        match self {
            Self::Cpu => Some("num_cpus"),
            Self::Gpu => Some("num_gpus"),
            Self::Memory => Some("memory"),
            Self::ObjectStoreMemory => Some("object_store_memory"),
            Self::Custom(_) => None,
        }
    }
}

impl TryFrom<&str> for ResourceName {
    type Error = ResourceError;
    fn try_from(name: &str) -> Result<Self, ResourceError> {
        Ok(match name {
            "CPU" => Self::Cpu,
            "GPU" => Self::Gpu,
            "memory" => Self::Memory,
            "object_store_memory" => Self::ObjectStoreMemory,
            _ if name.is_empty() || name.len() > NAME_BYTES_MAX => {
                return Err(ResourceError::BadName { bytes: name.len() });
            }
            _ => Self::Custom(name.into()),
        })
    }
}

impl TryFrom<String> for ResourceName {
    type Error = ResourceError;
    fn try_from(name: String) -> Result<Self, ResourceError> {
        Self::try_from(name.as_str())
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount, in ten-thousandths. Negative where a node owes more than it has: never in what is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One CPU, one GPU, one byte.
    pub const ONE: Self = Self(Self::STEPS);
    /// The smallest steps in one.
    const STEPS: i64 = 10_000;

    /// A whole amount.
    pub const fn whole(amount: u32) -> Self {
        Self(amount as i64 * Self::STEPS)
    }

    /// What a user wrote, or the rule that it breaks.
    pub fn parse(name: &ResourceName, value: f64) -> Result<Self, ResourceError> {
        let name = || name.clone();
        if value.is_nan() || value < 0.0 {
            return Err(ResourceError::NotAnAmount { name: name(), value });
        }
        if value > AMOUNT_MAX {
            return Err(ResourceError::TooMuch { name: name(), value });
        }
        Self::of_steps(value).ok_or_else(|| ResourceError::TooFine { name: name(), value })
    }

    /// None of what is no whole number of steps, to the precision of whoever wrote it.
    pub(crate) fn of_steps(value: f64) -> Option<Self> {
        let steps = value * Self::STEPS as f64;
        // 1.0 - 0.9 is a tenth to whoever wrote it, and so is 0.1 of an `f32`: what floating point itself adds is forgiven.
        let single = f64::from(value as f32) == value;
        let off = 1e-6 + steps * if single { f64::from(f32::EPSILON) } else { 1e-12 };
        // What rounds to nothing would be a wish for nothing.
        let is_whole = (steps - steps.round()).abs() <= off && (steps == 0.0 || steps.round() > 0.0);
        is_whole.then_some(Self(steps.round() as i64))
    }

    /// How many of the smallest steps.
    pub const fn steps(self) -> i64 {
        self.0
    }

    /// For those who read it.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Self::STEPS as f64
    }

    /// Whole ones in it, rounded down; none in a debt.
    pub fn floor(self) -> u64 {
        (self.0 / Self::STEPS).max(0) as u64
    }

    /// No part of one is in it.
    pub const fn is_whole(self) -> bool {
        self.0 % Self::STEPS == 0
    }

    // Amounts are bounded where they enter, so this saturates only if thousands of the largest are added up.
    fn plus(self, other: Self) -> Self {
        debug_assert!(self.0.checked_add(other.0).is_some(), "amounts are bounded");
        Self(self.0.saturating_add(other.0))
    }

    fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_f64())
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Amounts by resource. Sorted, without zeros, and `None` if there are none, so that equal sets are equal values. Shared
/// until they change: a node may have a million leases of the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(ResourceName, Quantity)>", into = "Vec<(ResourceName, Quantity)>")]
pub struct ResourceSet(Option<Arc<Vec<(ResourceName, Quantity)>>>);

impl ResourceSet {
    /// Nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    /// What a task, an actor or a node's options say, or the first rule that they break.
    pub fn from_options<'a>(
        cpus: f64,
        gpus: f64,
        memory: f64,
        custom: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<Self, ResourceError> {
        if gpus > 1.0 && gpus.is_finite() && gpus.fract() != 0.0 {
            return Err(ResourceError::FractionalGpus { value: gpus });
        }
        let mut set = Self::new();
        let fixed = [(ResourceName::Cpu, cpus), (ResourceName::Gpu, gpus), (ResourceName::Memory, memory)];
        for (name, value) in fixed {
            let amount = Quantity::parse(&name, value)?;
            set.change(&name, amount);
        }
        for (name, value) in custom {
            let name = ResourceName::try_from(name)?;
            if let Some(option) = name.option() {
                return Err(ResourceError::Reserved { name, option });
            }
            let amount = Quantity::parse(&name, value)?;
            set.change(&name, amount);
        }
        Ok(set)
    }

    /// Only CPUs.
    pub fn cpus(amount: Quantity) -> Self {
        Self::from_iter([(ResourceName::Cpu, amount)])
    }

    /// How much of this resource.
    pub fn get(&self, name: &ResourceName) -> Quantity {
        let amounts = self.amounts();
        match amounts.binary_search_by(|(n, _)| n.cmp(name)) {
            Ok(at) => amounts[at].1,
            Err(_) => Quantity::ZERO,
        }
    }

    /// How much CPU.
    pub fn cpu(&self) -> Quantity {
        self.get(&ResourceName::Cpu)
    }

    /// The part of it that a blocked task lends.
    pub fn cpu_part(&self) -> Self {
        Self::cpus(self.cpu())
    }

    /// Whether it has anything but CPU, which a waiting task does not lend.
    pub fn has_more_than_cpu(&self) -> bool {
        *self != self.cpu_part()
    }

    /// Every resource of which there is more or less than nothing, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, Quantity)> {
        self.amounts().iter().map(|(name, amount)| (name, *amount))
    }

    /// Nothing of anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Something that could be asked for: nothing negative, and nothing beyond the bound on amounts.
    pub fn is_demand(&self) -> bool {
        self.iter().all(|(_, amount)| amount >= Quantity::ZERO && amount.to_f64() <= AMOUNT_MAX)
    }

    /// Add all of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            self.change(name, amount);
        }
    }

    /// Take all of `other` away, into debt if need be.
    pub fn sub(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            self.change(name, amount.negated());
        }
    }

    /// As much `count` times.
    pub fn times(&self, count: u32) -> Self {
        let scaled = |amount: Quantity| Quantity(amount.0.saturating_mul(count.into()));
        self.iter().map(|(name, amount)| (name.clone(), scaled(amount))).collect()
    }

    /// Of each resource, the larger amount.
    pub fn union(&self, other: &Self) -> Self {
        let mut larger = self.clone();
        for (name, amount) in other.iter() {
            let more = amount.plus(self.get(name).negated());
            if more > Quantity::ZERO {
                larger.change(name, more);
            }
        }
        larger
    }

    /// Whether there is enough of everything it needs. What it does not need may be owed: a task that asks no CPU
    /// fits a node whose CPUs are oversubscribed.
    pub fn fits(&self, available: &Self) -> bool {
        self.iter().all(|(name, amount)| amount <= available.get(name))
    }

    /// Whether it fits when `reserved` is set aside. Only what both need is contested.
    pub fn fits_beside(&self, available: &Self, reserved: &Self) -> bool {
        self.iter().all(|(name, amount)| amount.plus(reserved.get(name)) <= available.get(name))
    }

    /// Nothing of it is more than in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.fits(other)
    }

    /// The largest share of `total` that any of its resources is, in millionths.
    pub fn dominant_share(&self, total: &Self) -> u64 {
        let share = |(name, amount): (&ResourceName, Quantity)| match total.get(name).0 {
            _ if amount.0 <= 0 => 0,
            whole if whole <= 0 => u64::MAX,
            whole => u64::try_from(i128::from(amount.0) * 1_000_000 / i128::from(whole)).unwrap_or(u64::MAX),
        };
        self.iter().map(share).max().unwrap_or(0)
    }

    /// For those who read it: amounts by name.
    pub fn to_map(&self) -> BTreeMap<String, f64> {
        self.iter().map(|(name, amount)| (name.as_str().to_owned(), amount.to_f64())).collect()
    }

    /// As [`to_map`](Self::to_map), with a zero for what `total` has and this has not.
    pub fn to_map_of(&self, total: &Self) -> BTreeMap<String, f64> {
        let mut map = self.to_map();
        for (name, _) in total.iter() {
            map.entry(name.as_str().to_owned()).or_insert(0.0);
        }
        map
    }

    fn change(&mut self, name: &ResourceName, by: Quantity) {
        if by == Quantity::ZERO {
            return;
        }
        let amounts = Arc::make_mut(self.0.get_or_insert_default());
        match amounts.binary_search_by(|(n, _)| n.cmp(name)) {
            Ok(at) => {
                amounts[at].1 = amounts[at].1.plus(by);
                if amounts[at].1 == Quantity::ZERO {
                    amounts.remove(at);
                }
            }
            Err(at) => amounts.insert(at, (name.clone(), by)),
        }
        if amounts.is_empty() {
            self.0 = None;
        }
    }

    fn amounts(&self) -> &[(ResourceName, Quantity)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<(ResourceName, Quantity)> for ResourceSet {
    fn from_iter<T: IntoIterator<Item = (ResourceName, Quantity)>>(amounts: T) -> Self {
        let mut set = Self::new();
        for (name, amount) in amounts {
            set.change(&name, amount);
        }
        set
    }
}

impl TryFrom<Vec<(ResourceName, Quantity)>> for ResourceSet {
    type Error = ResourceError;
    fn try_from(mut amounts: Vec<(ResourceName, Quantity)>) -> Result<Self, ResourceError> {
        if amounts.len() > KINDS_MAX {
            return Err(ResourceError::TooManyKinds { kinds: amounts.len() });
        }
        // They come from other processes: what is added up later relies on it.
        let most = AMOUNT_MAX as u64 * Quantity::STEPS as u64;
        if let Some((name, amount)) = amounts.iter().find(|(_, amount)| amount.0.unsigned_abs() > most) {
            return Err(ResourceError::TooMuch { name: name.clone(), value: amount.to_f64() });
        }
        amounts.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = amounts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(ResourceError::Twice { name: pair[0].0.clone() });
        }
        amounts.retain(|(_, amount)| *amount != Quantity::ZERO);
        Ok(Self((!amounts.is_empty()).then(|| Arc::new(amounts))))
    }
}

impl From<ResourceSet> for Vec<(ResourceName, Quantity)> {
    fn from(set: ResourceSet) -> Self {
        set.0.map(Arc::unwrap_or_clone).unwrap_or_default()
    }
}

impl fmt::Display for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, amount)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let unit = match name {
                ResourceName::Memory | ResourceName::ObjectStoreMemory => " bytes",
                _ => "",
            };
            write!(f, "{comma}{name}: {amount}{unit}")?;
        }
        if self.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(cpus: f64, gpus: f64) -> Result<ResourceSet, ResourceError> {
        ResourceSet::from_options(cpus, gpus, 0.0, [])
    }

    /// What is added up later relies on it.
    #[test]
    fn an_amount_beyond_the_bound_is_not_read() {
        for steps in [i64::MAX, i64::MIN, AMOUNT_MAX as i64 * Quantity::STEPS + 1] {
            let bytes = postcard::to_stdvec(&vec![(ResourceName::Cpu, Quantity(steps))]).unwrap();
            assert!(postcard::from_bytes::<ResourceSet>(&bytes).is_err(), "{steps}");
        }
        let most = ResourceSet::from_options(AMOUNT_MAX, 0.0, 0.0, []).unwrap();
        assert_eq!(postcard::from_bytes::<ResourceSet>(&postcard::to_stdvec(&most).unwrap()).unwrap(), most);
    }

    /// RES-02.
    #[test]
    fn broken_rules_are_named_with_their_resource() {
        for bad in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert!(matches!(options(bad, 0.0), Err(ResourceError::NotAnAmount { name: ResourceName::Cpu, .. })));
        }
        assert!(matches!(options(0.00005, 0.0), Err(ResourceError::TooFine { .. })));
        assert!(matches!(options(1.00001, 0.0), Err(ResourceError::TooFine { .. })));
        assert!(matches!(options(1e-12, 0.0), Err(ResourceError::TooFine { .. })), "it would be none at all");
        for tenths in [0.1_f32, 0.3, 0.7, 100.1] {
            assert!(options(f64::from(tenths), 0.0).is_ok(), "{tenths}");
        }
        assert!(matches!(options(f64::INFINITY, 0.0), Err(ResourceError::TooMuch { .. })));
        assert!(matches!(options(0.0, 1.5), Err(ResourceError::FractionalGpus { .. })));
        assert!(options(0.0, 0.5).is_ok() && options(0.0, 2.0).is_ok());
        for reserved in ["CPU", "GPU", "memory", "object_store_memory"] {
            let custom = ResourceSet::from_options(1.0, 0.0, 0.0, [(reserved, 1.0)]);
            assert!(matches!(custom, Err(ResourceError::Reserved { .. })), "{reserved}");
        }
        let text = options(-1.0, 0.0).expect_err("negative").to_string();
        assert_eq!(text, "resource CPU: -1 is not an amount; amounts are zero or more");
    }

    #[test]
    fn what_floating_point_adds_is_forgiven() {
        for (value, steps) in [(1.0 - 0.9, 1_000), (0.1 + 0.2, 3_000), (123_456.789_1, 1_234_567_891)] {
            assert_eq!(Quantity::parse(&ResourceName::Cpu, value).map(Quantity::steps), Ok(steps));
        }
    }

    #[test]
    fn reads_as_users_write_it() {
        let set = ResourceSet::from_options(2.0, 0.5, 0.0, [("pin", 0.0001), ("none", 0.0)]).expect("valid");
        assert_eq!(set.to_string(), "CPU: 2, GPU: 0.5, pin: 0.0001");
        assert_eq!(set.to_map()["pin"], 0.0001);
        assert_eq!(ResourceSet::new().to_map_of(&set)["GPU"], 0.0);
        let bytes = ResourceSet::from_options(0.0, 0.0, 1e9, []).expect("valid");
        assert_eq!(bytes.to_string(), "memory: 1000000000 bytes");
    }

    #[test]
    fn a_set_from_elsewhere_is_checked() {
        let twice = vec![(ResourceName::Cpu, Quantity::ONE), (ResourceName::Cpu, Quantity::ONE)];
        assert!(ResourceSet::try_from(twice).is_err());
        let unsorted = vec![(ResourceName::Gpu, Quantity::ONE), (ResourceName::Cpu, Quantity::ONE)];
        let set = ResourceSet::try_from(unsorted).expect("one of each");
        assert_eq!(set, options(1.0, 1.0).expect("valid"));
    }

    fn any_set() -> impl Strategy<Value = ResourceSet> {
        let name = prop_oneof![
            Just(ResourceName::Cpu),
            Just(ResourceName::Gpu),
            (0..3).prop_map(|n| ResourceName::Custom(format!("r{n}").into()))
        ];
        let amount = (0..100_000_i64).prop_map(Quantity);
        proptest::collection::vec((name, amount), 0..5).prop_map(ResourceSet::from_iter)
    }

    proptest! {
        /// RES-03, RES-1: nothing drifts.
        #[test]
        fn taking_and_giving_back_leaves_what_was(total in any_set(), parts in proptest::collection::vec(any_set(), 0..20)) {
            let mut left = total.clone();
            for part in &parts {
                left.sub(part);
            }
            for part in parts.iter().rev() {
                left.add(part);
            }
            prop_assert_eq!(left, total);
        }

        #[test]
        fn what_fits_leaves_no_debt(total in any_set(), part in any_set()) {
            let mut left = total.clone();
            left.sub(&part);
            prop_assert_eq!(part.fits(&total), left.is_demand());
            prop_assert!(part.fits(&part.union(&total)) && total.fits(&part.union(&total)));
            prop_assert_eq!(part.fits_beside(&total, &ResourceSet::new()), part.fits(&total));
        }

        #[test]
        fn every_ten_thousandth_survives_the_round_trip(steps in 0..1_000_000_000_i64) {
            let amount = Quantity(steps);
            prop_assert_eq!(Quantity::parse(&ResourceName::Cpu, amount.to_f64()), Ok(amount));
        }
    }
}
