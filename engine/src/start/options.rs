//! What a node offers, and where a process listens.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use actinic_transport::Net;

use crate::api::error::{Error, Result};
use crate::api::options::not_empty;
use crate::env::Env;
use crate::resources::{ResourceName, ResourceSet};

/// What a node offers, as `init()` and `actinic start` say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOptions {
    pub(crate) num_cpus: Option<f64>,
    pub(crate) num_gpus: Option<f64>,
    pub(crate) memory: Option<f64>,
    pub(crate) resources: Vec<(String, f64)>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) object_store_memory: Option<u64>,
    pub(crate) processes: bool,
    /// Worker processes enter before their program's `main`: it is a test binary.
    pub(crate) early: bool,
    /// What worker processes log; else what the environment says.
    pub(crate) log_level: Option<tracing::level_filters::LevelFilter>,
    /// Certificates of the cluster that is started live so long, instead of 7 days; for tests.
    pub(crate) certificate_life: Option<Duration>,
    /// How long a worker process may take from its start to its introduction, instead of a minute; for tests.
    pub(crate) hello_within: Option<Duration>,
}

impl NodeOptions {
    /// Notes a label.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a key that is empty, or that another label has.
    pub(crate) fn add_label(&mut self, key: String, value: String) -> Result<()> {
        let key = not_empty("label", "a key", key)?;
        if self.labels.contains_key(&key) {
            return Err(Error::invalid_argument(format!("label: the key {key:?} is given twice"))
                .remedy("give each label a key of its own"));
        }
        self.labels.insert(key, value);
        Ok(())
    }

    pub(super) fn store_bytes(&self, env: &Env) -> u64 {
        self.object_store_memory.unwrap_or_else(|| env.machine().memory * 3 / 10)
    }

    /// A thread for each CPU, since an async task may compute as well as wait; and two at least, so that one that does not
    /// await at all leaves the others a thread.
    pub(super) fn async_width(&self, env: &Env) -> usize {
        let cpus = self.num_cpus.unwrap_or(env.machine().cores as f64).ceil();
        // Some tests have a thousand CPUs.
        (cpus as usize).clamp(2, 64)
    }

    pub(super) fn total(&self, env: &Env, ip: IpAddr) -> Result<ResourceSet> {
        let machine = env.machine();
        let cpus = self.num_cpus.unwrap_or(machine.cores as f64);
        let memory = self.memory.unwrap_or((machine.memory * 6 / 10) as f64);
        let custom = self.resources.iter().map(|(name, amount)| (name.as_str(), *amount));
        let invalid = |error: crate::resources::ResourceError| Error::invalid_argument(error.to_string());
        let mut total = ResourceSet::from_options(cpus, self.num_gpus.unwrap_or(machine.gpus as f64), memory, custom)
            .map_err(invalid)?;
        let extra = [(ResourceName::ObjectStoreMemory, self.store_bytes(env) as f64), (ResourceName::node(ip), 1.0)];
        let mut set = Vec::new();
        for (name, amount) in extra {
            let amount = crate::resources::Quantity::parse(&name, amount).map_err(invalid)?;
            set.push((name, amount));
        }
        total.add(&ResourceSet::from_iter(set));
        Ok(total)
    }
}

/// Where a process listens, and on what network.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) net: Net,
    pub(crate) listen: SocketAddr,
}

impl Place {
    pub(crate) fn loopback() -> Place {
        Place { net: Net::Udp, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
    }

    /// Where a process listens if nobody says: on this machine, or on a machine of its own in a simulation.
    pub(crate) fn of(env: &Env) -> Place {
        match env.world() {
            None => Place::loopback(),
            Some(world) => {
                let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                Place { net: Net::Sim(world.net().clone()), listen }
            }
        }
    }
}
