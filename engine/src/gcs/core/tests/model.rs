//! Random histories in which every message arrives at once, against an exact model.

use super::random::Chance;
use super::*;

/// What the model thinks of an actor: `Err` is how it died.
#[derive(Debug)]
struct Expected {
    state: Result<u32, &'static str>,
    spec: ActorSpec,
}

impl Expected {
    fn fault(&mut self, kind: &'static str) {
        if let Ok(restarts) = self.state {
            let left = self.spec.max_restarts < 0 || i64::from(restarts) < self.spec.max_restarts;
            self.state = if left { Ok(restarts + 1) } else { Err(kind) };
        }
    }

    fn end(&mut self, kind: &'static str) {
        if self.state.is_ok() {
            self.state = Err(kind);
        }
    }
}

fn kind(reason: &DeathReason) -> &'static str {
    match reason {
        DeathReason::ConstructorError { .. } => "constructor",
        DeathReason::WorkerDied { .. } => "crash",
        DeathReason::NodeDied { .. } => "node",
        DeathReason::OwnerDied { .. } => "owner",
        DeathReason::JobEnded { .. } => "job",
        DeathReason::Killed => "kill",
        DeathReason::Exited { .. } => "exit",
        DeathReason::OutOfScope => "scope",
        DeathReason::Refused { .. } => "refused",
        _ => "other",
    }
}

struct Model {
    world: World,
    actors: BTreeMap<u128, Expected>,
    jobs: BTreeSet<u128>,
    dead_owners: BTreeSet<OwnerId>,
    nodes: BTreeSet<u128>,
    last_node: u128,
}

impl Model {
    /// Raylets start whatever they are asked to, at once.
    fn settle(&mut self) {
        loop {
            let placed = self.world.placed();
            self.world.out.clear();
            if placed.is_empty() {
                return;
            }
            let mut out = Vec::new();
            for (node, run) in placed {
                self.world.ready(node, run);
                out.append(&mut self.world.out);
            }
            self.world.out = out;
        }
    }

    fn holder(&self, name: &str) -> Option<u128> {
        let mut holders =
            self.actors.iter().filter(|(_, actor)| actor.state.is_ok() && actor.spec.name.as_deref() == Some(name));
        let found = holders.next().map(|(n, _)| *n);
        assert!(holders.next().is_none(), "GCS-2");
        found
    }

    fn create(&mut self, chance: &mut Chance) {
        let n = self.actors.len() as u128 + 1;
        let name = chance.of(&[None, None, Some("a"), Some("b")]);
        let job = chance.of(&[1, 2]);
        let spec = with!(spec(n); name: name.map(str::to_owned), max_restarts: chance.of(&[0, 1, 2, -1]), detached: chance.one_in(4), job: job_id(job), owner: owner(1, chance.of(&[10, 11, 12, 13])), scheduling: Scheduling::Spread);
        let owner_dead = self.dead_owners.contains(&spec.owner) || !self.nodes.contains(&1);
        let refused = owner_dead || !self.jobs.contains(&job);
        let refused = refused || name.is_some_and(|name| self.holder(name).is_some());
        let state = if refused { Err("refused") } else { Ok(0) };
        let reply = self.world.create(spec.clone());
        assert_eq!(matches!(reply, Reply::Refused(_)), refused);
        self.actors.insert(n, Expected { state, spec });
    }

    fn with_owner_end(&mut self, ends: impl Fn(&ActorSpec) -> bool, kind: &'static str) {
        for actor in self.actors.values_mut().filter(|actor| !actor.spec.detached && ends(&actor.spec)) {
            actor.end(kind);
        }
    }

    fn hurt(&mut self, chance: &mut Chance, n: u128) {
        let row = self.world.row(n);
        let (run, Some(node)) = (row.run(), row.node) else { return };
        let actor = self.actors.get_mut(&n).unwrap();
        match chance.below(6) {
            0 | 1 => {
                self.world.die(node, run, crash());
                actor.fault("crash");
            }
            2 => {
                self.world.die(node, run, ActorEnd::Exited { detail: String::new() });
                actor.end("exit");
            }
            3 => {
                self.world.kill(n, true);
                actor.end("kill");
            }
            4 => {
                self.world.kill(n, false);
                actor.fault("kill");
            }
            _ => {
                self.world.tell(Event::HandlesGone { actor: actor_id(n) });
                if !actor.spec.detached && actor.state.is_ok() {
                    self.world.die(node, run, ActorEnd::Ended);
                    actor.end("scope");
                }
            }
        }
    }

    fn hurt_many(&mut self, chance: &mut Chance) {
        match chance.below(4) {
            0 => {
                let process = process(1, chance.of(&[10, 11, 12, 13]));
                self.world.tell(Event::ProcessDied { process });
                self.dead_owners.insert(OwnerId { process, number: 0 });
                self.with_owner_end(|spec| spec.owner.process == process, "owner");
            }
            1 => {
                let job = chance.of(&[1, 2]);
                self.world.tell(Event::JobEnded { job: job_id(job) });
                self.jobs.remove(&job);
                self.with_owner_end(|spec| spec.job == job_id(job), "job");
            }
            2 => {
                self.last_node += 1;
                self.nodes.insert(self.last_node);
                self.world.tell(Event::RegisterNode { row: Box::new(node_row(self.last_node, 4)) });
            }
            _ => {
                let up: Vec<u128> = self.nodes.iter().copied().filter(|n| *n != 1).collect();
                if up.len() > 1 {
                    let n = chance.of(&up);
                    let there = |row: &&ActorRow| row.node == Some(node_id(n)) && row.state != ActorState::Dead;
                    let rows: Vec<ActorId> =
                        self.world.core.actors(&ActorFilter::default()).filter(there).map(|row| row.spec.id).collect();
                    self.nodes.remove(&n);
                    self.world.tell(Event::NodeDead { node: node_id(n), cause: gone() });
                    for actor in self.actors.values_mut().filter(|actor| rows.contains(&actor.spec.id)) {
                        actor.fault("node");
                    }
                }
            }
        }
    }

    fn compare(&mut self) {
        for (n, actor) in &self.actors {
            let row = self.world.core.actor(actor_id(*n)).unwrap();
            let found = match &row.death {
                Some(death) => Err(kind(&death.reason)),
                None => Ok(row.restarts),
            };
            assert_eq!(found, actor.state, "actor {n}: {row:?}");
            assert_eq!(row.state == ActorState::Alive, actor.state.is_ok());
        }
        for name in ["a", "b"] {
            let expected = self.holder(name).map(actor_id);
            assert_eq!(self.world.look_up(name, "ns").map(|info| info.id), expected);
        }
    }
}

/// GCS-2, GCS-4, GCS-6: where every message arrives at once, a model of a page says exactly what becomes of each actor.
#[test]
fn a_simple_model_agrees() {
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let world = World::new(3);
        let (jobs, nodes) = ([1, 2].into(), [1, 2, 3].into());
        let mut model =
            Model { world, actors: BTreeMap::new(), jobs, dead_owners: BTreeSet::new(), nodes, last_node: 3 };
        model.world.tell(Event::JobStarted { row: Box::new(job_row(2, owner(1, 2))) });
        for _ in 0..120 {
            match chance.below(10) {
                0..4 => model.create(&mut chance),
                4..9 if !model.actors.is_empty() => {
                    let n = chance.below(model.actors.len()) as u128 + 1;
                    model.hurt(&mut chance, n);
                }
                9 if chance.one_in(3) => model.hurt_many(&mut chance),
                _ => {}
            }
            model.settle();
            model.compare();
        }
    }
}
