//! Random histories in a lossless but unordered, repeating network of raylets that crash and leave.

use std::collections::{HashMap, VecDeque};

use super::random::Chance;
use super::*;

/// What a raylet does about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Alive,
}

/// A raylet, as it really is.
#[derive(Debug)]
struct Raylet {
    runs: BTreeMap<ActorRun, (Phase, ResourceSet)>,
    never: BTreeSet<ActorRun>,
    /// What waits for room.
    queue: VecDeque<(ActorRun, Arc<ActorSpec>)>,
    free: ResourceSet,
    version: u64,
    /// It is gone, and the GCS may not know yet.
    gone: bool,
    to: VecDeque<Action>,
    from: VecDeque<Event>,
}

impl Raylet {
    fn end(&mut self, node: NodeId, run: ActorRun) -> bool {
        let Some((_, hold)) = self.runs.remove(&run) else { return false };
        self.free.add(&hold);
        while self.queue.front().is_some_and(|(_, spec)| spec.shape.fits(&self.free)) {
            let (run, spec) = self.queue.pop_front().unwrap();
            self.admit(node, run, &spec);
        }
        true
    }

    fn admit(&mut self, node: NodeId, run: ActorRun, spec: &ActorSpec) {
        self.free.sub(&spec.hold);
        self.runs.insert(run, (Phase::Starting, spec.hold.clone()));
        self.from.push_back(Event::ActorPlaced { run, node });
        self.report(node);
    }

    /// One that waits for room does not any more.
    fn take_back(&mut self, run: ActorRun) -> bool {
        let waiting = self.queue.len();
        self.queue.retain(|(other, _)| *other != run);
        self.queue.len() < waiting
    }

    fn report(&mut self, node: NodeId) {
        self.version += 1;
        let view = NodeView { node, version: self.version, available: self.free.clone(), queued: 0 };
        self.from.push_back(Event::ReportView { view });
    }

    /// Obeys one action.
    fn obey(&mut self, node: NodeId, action: Action) {
        match action {
            Action::PlaceActor { run, spec, .. } => {
                assert!(!self.runs.contains_key(&run), "GCS-3");
                if self.never.contains(&run) {
                    return;
                }
                if spec.shape.fits(&self.free) {
                    self.admit(node, run, &spec);
                } else if run.attempt % 2 == 1 {
                    self.queue.push_back((run, spec));
                } else {
                    self.from.push_back(Event::ActorFailed { run, node, cause: StartFailure::NoRoom });
                }
            }
            Action::RecallActor { run, .. } => {
                if self.take_back(run) {
                    self.from.push_back(Event::ActorFailed { run, node, cause: StartFailure::NoRoom });
                } else if self.runs.contains_key(&run) {
                    self.from.push_back(Event::ActorPlaced { run, node });
                }
            }
            Action::EndActor { run, how, .. } => {
                self.never.insert(run);
                if self.take_back(run) {
                    self.from.push_back(Event::ActorDied { run, node, cause: ActorEnd::Ended });
                }
                if self.end(node, run) {
                    let cause = if how == EndHow::Kill { crash() } else { ActorEnd::Ended };
                    self.from.push_back(Event::ActorDied { run, node, cause });
                    self.report(node);
                }
            }
            _ => {}
        }
    }

    /// Something happens to one of its runs.
    fn live(&mut self, node: NodeId, chance: &mut Chance) {
        let runs: Vec<ActorRun> = self.runs.keys().copied().collect();
        if runs.is_empty() {
            return;
        }
        let run = chance.of(&runs);
        let started = self.runs[&run].0 == Phase::Alive;
        if !started && !chance.one_in(4) {
            self.come_alive(node, run);
        } else if started && chance.one_in(2) {
            self.end(node, run);
            let cause = if chance.one_in(5) { ActorEnd::Exited { detail: String::new() } } else { crash() };
            self.from.push_back(Event::ActorDied { run, node, cause });
            self.report(node);
        } else if !started {
            self.end(node, run);
            let cause = match chance.below(4) {
                0 => StartFailure::ConstructorError { text: "no".to_owned(), error: Bytes::new() },
                _ => StartFailure::WorkerDied { detail: "exit status 1".to_owned() },
            };
            self.from.push_back(Event::ActorFailed { run, node, cause });
            self.report(node);
        }
    }

    fn come_alive(&mut self, node: NodeId, run: ActorRun) {
        if let Some(of_run) = self.runs.get_mut(&run) {
            of_run.0 = Phase::Alive;
            self.from.push_back(Event::ActorReady { run, node, seat: seat(node, run) });
        }
    }
}

/// A GCS and its raylets, with messages under way.
struct Cluster {
    world: World,
    chance: Chance,
    raylets: BTreeMap<NodeId, Raylet>,
    left: BTreeSet<NodeId>,
    last_node: u128,
    last_actor: u128,
    last_process: u128,
    specs: Vec<ActorSpec>,
    /// What was seen by anybody: the last incarnation and state of each id, and the address of each incarnation.
    seen: HashMap<(ProcessId, ActorId), (u32, bool)>,
    addresses: HashMap<(ActorId, u32), Address>,
    placed: BTreeSet<ActorRun>,
    warned: BTreeSet<NodeId>,
    trace: u64,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let mut cluster = Cluster {
            world: World::new(0),
            chance: Chance(seed),
            raylets: BTreeMap::new(),
            left: BTreeSet::new(),
            last_node: 0,
            last_actor: 0,
            last_process: 20,
            specs: Vec::new(),
            seen: HashMap::new(),
            addresses: HashMap::new(),
            placed: BTreeSet::new(),
            warned: BTreeSet::new(),
            trace: 0,
        };
        for _ in 0..3 {
            cluster.join();
        }
        cluster
    }

    fn tell(&mut self, event: Event) {
        self.world.tell(event);
        for action in std::mem::take(&mut self.world.out) {
            for byte in format!("{action:?}").bytes() {
                self.trace = self.trace.wrapping_mul(31).wrapping_add(byte.into());
            }
            self.watch(action);
        }
    }

    /// What every observer may rely on.
    fn watch(&mut self, action: Action) {
        match action {
            Action::PlaceActor { node, run, .. } => {
                assert!(self.placed.insert(run), "GCS-3: a run goes to one node once");
                self.raylets.get_mut(&node).unwrap().to.push_back(action);
            }
            Action::RecallActor { node, .. } => self.raylets.get_mut(&node).unwrap().to.push_back(action),
            Action::EndActor { node, how, .. } => {
                let to = &mut self.raylets.get_mut(&node).unwrap().to;
                // The urgent lane passes the ordered one.
                if how == EndHow::Kill && self.chance.one_in(2) { to.push_front(action) } else { to.push_back(action) }
            }
            Action::Publish { to, rows } => {
                for info in rows {
                    self.observe(to, info);
                }
            }
            Action::Warn(Warning::NodeDied { node, .. }) => {
                assert!(self.warned.insert(node) && !self.left.contains(&node), "GCS-7");
            }
            _ => {}
        }
    }

    fn observe(&mut self, to: ProcessId, info: ActorInfo) {
        let dead = info.state == ActorState::Dead;
        let seen = self.seen.entry((to, info.id)).or_insert((info.incarnation, dead));
        assert!(info.incarnation >= seen.0 && (dead || !seen.1), "GCS-1: {info:?} after {seen:?}");
        *seen = (info.incarnation, dead);
        if let Some(address) = info.address {
            let real = self.world.core.actor(info.id).unwrap().spec.id;
            assert_eq!(*self.addresses.entry((real, info.incarnation)).or_insert(address), address, "GCS-1");
        }
    }

    fn join(&mut self) {
        self.last_node += 1;
        let row = node_row(self.last_node, 4);
        let raylet = Raylet {
            runs: BTreeMap::new(),
            never: BTreeSet::new(),
            queue: VecDeque::new(),
            free: row.total.clone(),
            version: 0,
            gone: false,
            to: VecDeque::new(),
            from: VecDeque::new(),
        };
        self.raylets.insert(row.id, raylet);
        self.tell(Event::RegisterNode { row: Box::new(row) });
    }

    fn some_process(&mut self) -> ProcessId {
        let number = self.last_process - self.chance.below(4) as u128;
        let node = self.last_node - self.chance.below(3) as u128;
        process(node.max(1), number)
    }

    fn create(&mut self) {
        if !self.specs.is_empty() && self.chance.one_in(8) {
            let spec = self.specs[self.chance.below(self.specs.len())].clone();
            return self.tell(Event::CreateActor { spec: Arc::new(spec), reply: ReplyId(0) });
        }
        if self.chance.one_in(4) {
            let actor = self.some_actor();
            let event = if self.chance.one_in(5) {
                Event::ActorNotMade { actor, text: "bad".to_owned(), error: Bytes::new() }
            } else {
                Event::ActorArguments { actor, creation: Bytes::from_static(b"args") }
            };
            return self.tell(event);
        }
        self.last_actor += 1;
        let (process, chance) = (self.some_process(), &mut self.chance);
        let hold = cpus(chance.of(&[0, 0, 1, 2]));
        let name = chance.of(&[None, None, Some("a"), Some("b"), Some("c")]);
        let node = node_id(self.last_node - chance.below(3) as u128);
        let scheduling = match chance.below(4) {
            0 => Scheduling::Spread,
            1 => Scheduling::NodeAffinity { node, soft: chance.one_in(2) },
            _ => Scheduling::Default,
        };
        let spec = with!(spec(self.last_actor); name: name.map(str::to_owned), get_if_exists: name.is_some() && chance.one_in(2), max_restarts: chance.of(&[0, 1, 3, -1]), detached: chance.one_in(4), owner: OwnerId { process, number: chance.below(2) as u32 }, shape: hold.union(&cpus(1)), hold, scheduling, creation: if chance.one_in(4) { Bytes::new() } else { Bytes::from_static(b"args") });
        self.specs.push(spec.clone());
        if self.chance.one_in(6) {
            let to = self.some_process();
            self.tell(Event::Subscribe { actor: spec.id, owner: Some(spec.owner), to });
        }
        if self.chance.one_in(12) {
            return self.tell(Event::KillActor { actor: spec.id, no_restart: true, reply: None });
        }
        self.tell(Event::CreateActor { spec: Arc::new(spec), reply: ReplyId(0) });
    }

    fn some_actor(&mut self) -> ActorId {
        actor_id((self.last_actor + 2).saturating_sub(self.chance.below(12) as u128))
    }

    fn request(&mut self) {
        let actor = self.some_actor();
        match self.chance.below(5) {
            0 => {
                let no_restart = self.chance.one_in(2);
                self.tell(Event::KillActor { actor, no_restart, reply: None });
            }
            1 => self.tell(Event::HandlesGone { actor }),
            2 => self.tell(Event::StopActor { actor }),
            _ => {
                let to = self.some_process();
                // A handle names the owner of its actor; some subscribe before it is asked for.
                let owner = self.specs.iter().find(|spec| spec.id == actor).map(|spec| spec.owner);
                if owner.is_some() {
                    self.tell(Event::Subscribe { actor, owner, to });
                }
            }
        }
    }

    fn fault(&mut self) {
        let nodes: Vec<NodeId> =
            self.raylets.iter().filter(|(_, raylet)| !raylet.gone).map(|(node, _)| *node).collect();
        match self.chance.below(6) {
            0 => self.join(),
            1 if nodes.len() > 1 => {
                let node = self.chance.of(&nodes);
                let left = self.chance.one_in(3);
                self.raylets.get_mut(&node).unwrap().gone = true;
                if left {
                    self.left.insert(node);
                    self.tell(Event::NodeLeft { node });
                }
            }
            2 if !nodes.is_empty() => {
                let node = self.chance.of(&nodes);
                self.tell(Event::NodeSuspected { node });
            }
            3 => self.find_gone_nodes(),
            4 => {
                let process = self.some_process();
                self.last_process += 1;
                self.tell(Event::ProcessDied { process });
            }
            _ => {
                let owner = OwnerId { process: self.some_process(), number: 1 };
                self.tell(Event::OwnerDied { owner });
            }
        }
    }

    fn find_gone_nodes(&mut self) {
        let gone: Vec<NodeId> = self.raylets.iter().filter(|(_, raylet)| raylet.gone).map(|(node, _)| *node).collect();
        for node in gone {
            self.tell(Event::NodeDead { node, cause: super::gone() });
        }
    }

    /// A raylet reads a message, one of its runs does something, or a message of it arrives, perhaps twice.
    fn step(&mut self, node: NodeId, calm: bool) -> bool {
        let Some(raylet) = self.raylets.get_mut(&node) else { return false };
        if !raylet.gone
            && let Some(action) = raylet.to.pop_front()
        {
            raylet.obey(node, action);
            return true;
        }
        if !calm && !raylet.gone && self.chance.one_in(3) {
            raylet.live(node, &mut self.chance);
        } else if calm
            && let Some(run) = raylet.runs.iter().find(|(_, state)| state.0 == Phase::Starting).map(|(run, _)| *run)
        {
            raylet.come_alive(node, run);
        }
        let Some(event) = raylet.from.pop_front() else { return false };
        if self.chance.one_in(6) {
            self.tell(event.clone());
        }
        self.tell(event);
        true
    }

    fn run(&mut self) {
        self.tell(Event::JobStarted { row: Box::new(job_row(1, owner(1, 1))) });
        for _ in 0..400 {
            match self.chance.below(20) {
                0..4 => self.create(),
                4..7 => self.request(),
                7 if self.chance.one_in(2) => self.fault(),
                8 => {
                    self.world.now += ms(100);
                    for node in
                        self.raylets.iter().filter(|(_, raylet)| !raylet.gone).map(|(n, _)| *n).collect::<Vec<_>>()
                    {
                        self.tell(Event::Heartbeat { node });
                    }
                    self.tell(Event::Tick);
                }
                _ => {
                    let nodes: Vec<NodeId> = self.raylets.keys().copied().collect();
                    let node = self.chance.of(&nodes);
                    self.step(node, false);
                }
            }
        }
        self.calm_down();
    }

    /// No more faults: everything under way arrives, and everything that can start does.
    fn calm_down(&mut self) {
        self.find_gone_nodes();
        self.raylets.retain(|_, raylet| !raylet.gone);
        for _ in 0..100 {
            let nodes: Vec<NodeId> = self.raylets.keys().copied().collect();
            for node in &nodes {
                while self.step(*node, true) {}
                self.raylets.get_mut(node).unwrap().report(*node);
                self.tell(Event::Heartbeat { node: *node });
            }
            self.world.now += ms(500);
            self.tell(Event::Tick);
        }
    }

    /// The GCS and the raylets agree: whoever is alive runs once, whoever is dead does not, and nothing is held for nobody.
    fn judge(&self) {
        let mut running: BTreeMap<ActorId, Vec<ActorRun>> = BTreeMap::new();
        for (node, raylet) in &self.raylets {
            for run in raylet.runs.keys() {
                running.entry(run.actor).or_default().push(*run);
            }
            let known = &self.world.core.nodes[node];
            assert!(known.in_flight.is_empty() && known.free == raylet.free, "nothing is held for nobody");
        }
        for row in self.world.core.actors(&ActorFilter::default()) {
            let runs = running.remove(&row.spec.id).unwrap_or_default();
            match row.state {
                ActorState::Alive => assert_eq!(runs, [row.run()], "GCS-1"),
                ActorState::Dead => assert!(runs.is_empty(), "GCS-5: {row:?} runs as {runs:?}"),
                _ => {
                    assert!(runs.is_empty());
                    assert!(self.world.core.why_pending(row.spec.id).is_some(), "who waits can say for what");
                    let fits = self.raylets.values().any(|raylet| row.spec.shape.fits(&raylet.free));
                    let bound = matches!(row.spec.scheduling, Scheduling::NodeAffinity { .. });
                    let unready = row.state == ActorState::DependenciesUnready;
                    assert!(bound || unready || !fits, "GCS-8: {row:?} waits for nothing");
                }
            }
            assert!(
                row.spec.detached && !row.spec.waits()
                    || row.state == ActorState::Dead
                    || !self.world.core.is_owner_dead(row.spec.owner)
            );
        }
        assert!(running.is_empty());
    }
}

/// GCS-1 to GCS-8 hold through crashes, kills, dead nodes and owners, late and repeated messages.
#[test]
fn nothing_is_lost_or_doubled_in_the_storm() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(seed);
        cluster.run();
        cluster.judge();
    }
}

/// The same events give the same actions.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut cluster = Cluster::new(seed);
        cluster.run();
        cluster.trace
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
