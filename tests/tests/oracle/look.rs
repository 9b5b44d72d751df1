//! Looking whether the cluster is as the model says, and the end of a story.

use std::collections::BTreeSet;

use actinic::ObjectId;
use actinic::prelude::*;

use super::model::{Held, Object, Owner, State};
use super::remote::*;
use super::run::{Checked, Run, SOON, Side, said};

impl Run {
    // ---- looking

    /// Everything that is reachable from somebody alive can be got, and is right.
    pub(super) async fn check(&mut self) -> Checked {
        self.model.settle();
        self.land(|_| true).await?;
        let expected = self.model.expected();
        let mut todo = Vec::new();
        for (side, known) in self.sides.iter().zip(&self.model.drivers) {
            let mut walk = Walk::new(&expected);
            let ids = self.model.ids(&known.actors);
            walk.enter(&known.refs, &side.refs, &ids, &side.handles).map_err(|wrong| wrong.to_string())?;
            while let Some((node, next)) = walk.next() {
                let got = actinic::get(&next).timeout(PATIENCE).await;
                walk.got(node, &next, got).map_err(|wrong| format!("a driver: {wrong}"))?;
            }
            todo.append(&mut walk.actors);
        }
        let mut seen = BTreeSet::new();
        while let Some(keeper) = todo.pop() {
            let id = Handle::id(&keeper);
            let actor = self.model.actors.iter().position(|actor| actor.id == id).ok_or("an unknown actor")?;
            if !seen.insert(actor) {
                continue;
            }
            if !self.model.actors[actor].alive {
                let ping = actinic::get(&keeper.ping()).timeout(PATIENCE).await;
                if !matches!(ping, Err(Error::ActorDied { .. })) {
                    return Err(format!("actor {actor} was killed, and its ping is {ping:?}"));
                }
                continue;
            }
            let checked = keeper.check(expected.clone(), self.model.expected_slots(actor));
            let more = actinic::get(&checked).timeout(PATIENCE * 2).await;
            todo.extend(more.map_err(|error| format!("actor {actor} ({id}): {error:?}"))?);
        }
        Ok(())
    }

    /// Exactly what is reachable is alive.
    pub(super) async fn quiesce(&mut self) -> Checked {
        self.check().await?;
        let begun = tokio::time::Instant::now();
        loop {
            let wrong = self.compare().await?;
            if wrong.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                let idle = self.cluster.idle().await.map_err(|error| error.to_string());
                return Err(format!("after {SOON:?}:\n  {}\n{idle:?}", wrong.join("\n  ")));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn compare(&self) -> Checked<Vec<String>> {
        let alive = self.cluster.alive().await.map_err(said("alive"))?;
        let mut wrong = Vec::new();
        let mut known = BTreeSet::new();
        let mut stored = BTreeSet::new();
        for (number, object) in self.model.live_objects() {
            if self.processes && !matches!(object.owner, Owner::Driver(_)) {
                continue;
            }
            let Some(id) = self.ids.get(&number).copied().or_else(|| noted(object.name.tag)) else {
                wrong.push(format!("object {number} was not made: {object:?}"));
                continue;
            };
            known.insert(id);
            if object.name.large && object.state == State::Ready {
                stored.insert(id);
            }
            if !alive.objects.contains(&id) {
                wrong.push(format!("object {number} ({id}) is gone: {object:?}"));
            }
            if object.name.large && object.state == State::Ready && !alive.stored.contains(&id) {
                wrong.push(format!("object {number} ({id}) is nowhere: {object:?}"));
            }
        }
        let which = |id: &ObjectId| {
            let known = |(number, object): &(usize, &Object)| {
                self.ids.get(number).copied().or_else(|| noted(object.name.tag)) == Some(*id)
            };
            self.model.objects.iter().enumerate().find(known).map(|(number, object)| format!("{number}: {object:?}"))
        };
        let owned = |(number, object): (usize, &Object)| match object.owner {
            Owner::Driver(_) => self.ids.get(&number).copied(),
            _ => None,
        };
        let by_drivers: BTreeSet<ObjectId> = self.model.objects.iter().enumerate().filter_map(owned).collect();
        let mine = |id: &&ObjectId| !self.processes || by_drivers.contains(id);
        for id in alive.objects.difference(&known).filter(mine) {
            wrong.push(format!("object {id} is alive and should not be: {:?}", which(id)));
        }
        for id in alive.stored.difference(&stored).filter(mine) {
            wrong.push(format!("object {id} is stored and should not be: {:?}", which(id)));
        }
        for (number, actor) in self.model.actors.iter().enumerate() {
            if alive.actors.contains(&actor.id) != actor.alive {
                wrong.push(format!("actor {number} is not as it should be: {actor:?}"));
            }
        }
        Ok(wrong)
    }

    // ---- the end

    /// A driver other than the first leaves, with all that it has.
    pub(super) async fn leave(&mut self, side: usize) -> Checked {
        self.land(|_| true).await?;
        let Side { cluster, gate, refs, handles } = self.sides.remove(side);
        let cluster = cluster.ok_or("the first driver cannot leave")?;
        cluster.shutdown().await.map_err(said("leaving"))?;
        drop((gate, refs, handles));
        self.model.driver_dies(side);
        self.model.drivers.remove(side);
        self.model.settle();
        Ok(())
    }

    /// Lets everything go; what remains are actors that hold each other.
    pub(super) async fn let_go(&mut self) -> Checked {
        for (side, known) in self.sides.iter_mut().zip(&mut self.model.drivers) {
            *known = Held::default();
            side.refs.clear();
            side.handles.clear();
        }
        self.model.settle();
        Ok(())
    }

    /// Ends actors that hold each other, by their names.
    pub(super) async fn end_cycles(&mut self) -> Checked {
        loop {
            self.model.settle();
            let Some(actor) = self.model.actors.iter().position(|actor| actor.alive) else { return Ok(()) };
            let found = self.find(0, actor).await?;
            let killed = actinic::kill(&found).into_future();
            killed.await.map_err(said("kill"))?;
            self.model.actor_dies(actor);
        }
    }

    /// Nothing is left: not a record, a count, a byte or an actor.
    pub(super) async fn end(mut self) -> Checked {
        self.sides.iter_mut().for_each(|side| side.refs.clear());
        let mut others = Vec::new();
        for side in std::mem::take(&mut self.sides) {
            others.extend(side.cluster);
        }
        let idle = self.cluster.idle().await.map_err(|error| format!("{error}"));
        for other in others {
            other.shutdown().await.map_err(said("leaving"))?;
        }
        idle
    }
}
