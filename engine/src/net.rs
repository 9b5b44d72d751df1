//! A process's ear on the network: messages from other processes, handed to the components they are for.

use std::sync::Arc;

use actinic_transport::{DownReason, Endpoint, Lane, Messages, Peer, PeerEvent, Receiver, ReplyTo};

use crate::actor::host::ActorHost;
use crate::api::error::Error;
use crate::gcs::{Answer, GcsPost, Heard};
use crate::ids::{OwnerId, TaskId};
use crate::object::{Resolved, Target};
use crate::object_manager::ServeObjects;
use crate::process::{FORCE_AFTER, Process};
use crate::protocol::calls::{
    CALLS, CallerMark, REPLIES, TASKS, WireCall, WireCalls, WireOutcome, WireReplies, WireTasks, WireValue,
};
use crate::protocol::refs::WireRefs;
use crate::protocol::workers::{Keep, ToWorker};
use crate::protocol::{
    AskGcs, AskRaylet, GCS, OBJECT, OBJECTS, OWNER, ObjectAnswer, OwnerMessage, RAYLET, RayletAnswer, ToGcs, ToOwner,
    ToRaylet, WORKER,
};
use crate::raylet::{AskState, Attach, ProcessGone, RayletPost};
use crate::task::What;
use crate::value::Value;
use crate::wait::{Borrower, Waiter};
use crate::worker::job::Job;
use crate::worker::remote::RemoteJob;

/// The components that live in a process.
#[derive(Clone, Default)]
pub(crate) struct Components {
    pub(crate) raylet: Option<RayletPost>,
    pub(crate) gcs: Option<GcsPost>,
    /// The raylet, GCS or worker of this process ends it when this process's own raylet is gone.
    pub(crate) home: Option<actinic_transport::ProcessId>,
}

/// Makes a process hear what arrives at its endpoint.
pub(crate) fn listen(process: &Arc<Process>, endpoint: &Endpoint, components: &Components) {
    let ear = |hear: fn(&Ear, &Peer, &mut Messages<'_>)| -> Arc<dyn Receiver> {
        Arc::new(Hears { ear: Ear { process: Arc::clone(process), components: components.clone() }, hear })
    };
    endpoint.register(OWNER, ear(Ear::owner));
    endpoint.register(RAYLET, ear(Ear::raylet));
    endpoint.register(GCS, ear(Ear::gcs));
    endpoint.register(WORKER, ear(Ear::worker));
    endpoint.register(OBJECTS, ear(Ear::objects));
    endpoint.register(TASKS, ear(Ear::tasks));
    endpoint.register(REPLIES, ear(Ear::replies));
    endpoint.register(CALLS, ear(Ear::calls));
    endpoint.register(OBJECT, ear(Ear::object));
    endpoint.set_bulk(Arc::new(ServeObjects(Arc::clone(process))));
    let (process, components) = (Arc::clone(process), components.clone());
    endpoint.on_peer_event(Arc::new(move |event| {
        if let PeerEvent::Down(id, reason) = event {
            let why = reason.to_string();
            process.process_dead(id, &why);
            for actor in process.actors() {
                actor.caller_left(id);
            }
            if let Some(raylet) = &components.raylet {
                raylet.do_send(ProcessGone(id, why.clone()));
            }
            if let Some(gcs) = &components.gcs {
                let certain = matches!(reason, DownReason::Declared | DownReason::Goodbye | DownReason::Unreachable(_));
                gcs.tell(Heard::SessionLost(id, certain));
            }
            if components.home == Some(id) {
                // Of a node that is its head; of a worker or a driver, its node.
                let why = if components.raylet.is_some() { format!("its head is gone: {why}") } else { why };
                process.home_lost(&why);
            } else if components.raylet.is_none() && process.gcs.get().is_some_and(|gcs| gcs.is_at(id)) {
                // It would be told of no actor any more, and what it tells would be lost.
                process.home_lost(&format!("the session with its cluster's GCS is over: {why}"));
            }
        }
    }));
}

struct Ear {
    process: Arc<Process>,
    components: Components,
}

struct Hears {
    ear: Ear,
    hear: fn(&Ear, &Peer, &mut Messages<'_>),
}

impl Receiver for Hears {
    fn receive(&self, from: &Peer, messages: &mut Messages<'_>) {
        (self.hear)(&self.ear, from, messages);
    }
}

fn decode<'a, T: serde::Deserialize<'a>>(from: &Peer, body: &'a [u8]) -> Option<T> {
    match postcard::from_bytes(body) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::warn!(peer = %from.id(), %error, "a message could not be decoded and was dropped");
            None
        }
    }
}

impl Ear {
    fn owner(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            match decode::<ToOwner>(from, message.body) {
                Some(ToOwner::GetObject { object, lost }) => self.answer_object(from, object, lost),
                Some(ToOwner::Credit { actor, incarnation, window }) => match self.process.client(actor) {
                    Some(client) => client.granted(incarnation, window),
                    None => {
                        // The last handle went before it could know that it has a share.
                        let left = ToWorker::CallerLeft { actor: crate::actor::host::number(actor), incarnation };
                        let _ = from.tell(Lane::Ordered, WORKER, &left);
                    }
                },
                Some(ToOwner::To { owner, message: OwnerMessage::Cancel { seq, force, recursive } }) => {
                    self.cancel_asked(owner, seq, (force, recursive), message.reply);
                }
                Some(message) => self.process.deliver(message),
                None => {}
            }
        }
    }

    /// A borrower cancels: it hears when that is done, or that it is refused.
    fn cancel_asked(&self, owner: u32, seq: u64, (force, recursive): (bool, bool), reply: Option<ReplyTo>) {
        let process = Arc::clone(&self.process);
        self.process.spawn(async move {
            let done = process.cancel_owned(owner, seq, force, recursive).await;
            if let Some(reply) = reply {
                // The borrower may have gone.
                let _ = reply.answer(&done);
            }
        });
    }

    /// A borrower asks for an object of this process: it hears when there is an outcome.
    fn answer_object(&self, from: &Peer, object: crate::ids::ObjectId, lost: Vec<actinic_transport::ProcessId>) {
        let found = self.process.owner_numbered(object.task.owner.number);
        let Some(raw) = found.and_then(|owner| owner.find(object.task, object.index)) else {
            let error = Error::object_freed(format!("object {object} is not known to its owner any more"));
            let answer = ObjectAnswer { object, outcome: WireOutcome::Error(error) };
            let _ = from.tell(Lane::Ordered, OBJECT, &answer);
            return;
        };
        if let Target::Owned(task, ..) = raw.target()
            && matches!(task.what, What::Lifeline(_))
        {
            // Whoever asks gets a ref that counts.
            let value = WireValue { body: &[], buffers: Vec::new(), refs: WireRefs(vec![object]) };
            let answer = ObjectAnswer { object, outcome: WireOutcome::Value(value) };
            drop(self.process.send_with_refs(from, (OBJECT, None), &answer, vec![raw], || {}));
            return;
        }
        if !lost.is_empty() {
            return self.process.answer_lost(from, object, raw, lost);
        }
        let borrower = Borrower { process: Arc::clone(&self.process), to: from.clone(), kept: raw.clone() };
        if let Err((waiter, how)) = raw.subscribe(Waiter::Borrower(Box::new(borrower))) {
            waiter.notify(how);
        }
    }

    fn object(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(answer) = decode::<ObjectAnswer<'_>>(from, message.body) else { continue };
            let resolved = self.process.read_outcome(from, &answer.outcome);
            self.process.hear_again(answer.object, &resolved);
            let Some(borrowed) = self.process.borrowed_if_known(answer.object) else { continue };
            match &resolved {
                // A lifeline: it must not hold itself.
                Resolved::Value(value) if value.refs().iter().any(|inside| inside.id() == answer.object) => {
                    borrowed.slot.resolve(Resolved::Value(Value::default()));
                }
                _ => drop(borrowed.slot.resolve(resolved)),
            }
        }
    }

    fn raylet(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            if let Some(reply) = message.reply {
                match decode::<AskRaylet>(from, message.body) {
                    Some(question) => self.ask_raylet(from, question, reply),
                    None => reply.refuse("the question cannot be decoded"),
                }
            } else if let (Some(raylet), Some(told)) = (&self.components.raylet, decode::<ToRaylet>(from, message.body))
            {
                // All who have joined are trusted, and none is believed to speak for the GCS.
                let gcs = self.process.gcs_at.get().map(|at| at.id);
                if told.is_of_gcs() && gcs != Some(from.id()) {
                    tracing::debug!(from = %from.id(), "what only the GCS may say is not heard from others");
                    continue;
                }
                raylet.tell(told);
            }
        }
    }

    fn ask_raylet(&self, from: &Peer, question: AskRaylet, reply: ReplyTo) {
        match (question, &self.components.raylet) {
            (AskRaylet::Program { job }, _) => self.process.tell_program(job, reply),
            (AskRaylet::Attach { peer, offer }, Some(raylet)) => raylet.do_send(Attach { peer, offer, reply }),
            (AskRaylet::State, Some(raylet)) => {
                let raylet = raylet.clone();
                self.process.spawn(async move {
                    match raylet.send(AskState).await {
                        Ok(state) => drop(reply.answer(&RayletAnswer::State(state))),
                        Err(error) => reply.refuse(error.to_string()),
                    }
                });
            }
            (AskRaylet::Where { process: id }, Some(_)) => {
                let process = Arc::clone(&self.process);
                self.process.spawn(async move {
                    match process.where_is(id).await {
                        // The asker may have gone.
                        Ok(found) => drop(reply.answer(&RayletAnswer::Where(found))),
                        Err(error) => reply.refuse(error.to_string()),
                    }
                });
            }
            (AskRaylet::Renew { public_key }, Some(_)) => self.renew(from, &public_key, reply),
            (AskRaylet::Gcs, Some(_)) => {
                let gcs = self.process.gcs_at.get().cloned().unwrap_or_else(|| self.process.address());
                // The asker may have gone.
                let _ = reply.answer(&RayletAnswer::Gcs(gcs));
            }
            (_, None) => reply.refuse("there is no raylet in this process"),
        }
    }

    /// Signs for the process that the session is with, and for no other: it has proved who it is.
    fn renew(&self, from: &Peer, public_key: &[u8; 32], reply: ReplyTo) {
        let Some(signer) = self.process.signer.get() else { return reply.refuse("this process signs nobody") };
        match signer.grant(from.id(), public_key) {
            // The asker may have gone.
            Ok(grant) => drop(reply.answer(&RayletAnswer::Renewed(grant))),
            Err(error) => reply.refuse(error.to_string()),
        }
    }

    fn gcs(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(gcs) = &self.components.gcs else { continue };
            match message.reply {
                Some(reply) => match decode::<AskGcs>(from, message.body) {
                    Some(question) => gcs.tell(Heard::Asked(question, Answer::There(reply))),
                    None => reply.refuse("the question cannot be decoded"),
                },
                None => {
                    if let Some(told) = decode::<ToGcs>(from, message.body) {
                        gcs.tell(Heard::Told(told));
                    }
                }
            }
        }
    }

    fn tasks(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(tasks) = decode::<WireTasks<'_>>(from, message.body) else { continue };
            let Some(slot) = self.process.slot(tasks.worker) else {
                tracing::debug!(worker = %tasks.worker, "tasks for a worker that is gone; its raylet tells their owner");
                for task in &tasks.tasks {
                    // The refs in it were handed over, and are dropped here.
                    drop(RemoteJob::task(&self.process, from, tasks.owner, tasks.lease, task));
                }
                continue;
            };
            let mut ready = Vec::with_capacity(tasks.tasks.len());
            for task in &tasks.tasks {
                let job = RemoteJob::task(&self.process, from, tasks.owner, tasks.lease, task);
                if job.is_complete() {
                    ready.push(Job::Remote(job));
                    continue;
                }
                let (process, slot) = (Arc::clone(&self.process), Arc::clone(&slot));
                self.process.spawn(async move {
                    let fetched = job.fetch(&process, Some(&slot)).await;
                    slot.push_fetched(job, fetched);
                });
            }
            // A dead worker's process is ending.
            let _ = slot.push(ready);
        }
    }

    fn replies(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(replies) = decode::<WireReplies<'_>>(from, message.body) else { continue };
            let mut rest = &replies.replies[..];
            while let Some(first) = rest.first() {
                let count = rest.iter().take_while(|reply| reply.owner == first.owner).count();
                let (batch, after) = rest.split_at(count);
                rest = after;
                match self.process.owner_numbered(first.owner) {
                    Some(owner) => owner.replies(from, replies.lease, batch),
                    None => batch.iter().for_each(|reply| self.process.unowned(from, reply)),
                }
            }
        }
    }

    fn calls(&self, from: &Peer, messages: &mut Messages<'_>) {
        let mut last: Option<Arc<ActorHost>> = None;
        let (mut count, mut bytes) = (0, 0);
        for message in messages {
            let Some(calls) = decode::<WireCalls<'_>>(from, message.body) else { continue };
            // A burst is mostly for one actor.
            let fits =
                |host: &Arc<ActorHost>| host.number() == calls.actor && host.run().incarnation == calls.incarnation;
            if !last.as_ref().is_some_and(fits) {
                if let Some(before) = &last {
                    before.called_by(from.id(), std::mem::take(&mut count), std::mem::take(&mut bytes));
                }
                last = self.process.actor(calls.actor).filter(fits);
            }
            let Some(host) = last.clone() else {
                tracing::debug!(
                    actor = calls.actor,
                    "calls for an actor that is not here; their caller hears from the GCS"
                );
                for call in &calls.calls {
                    // The refs in it were handed over, and are dropped here.
                    drop(RemoteJob::call(&self.process, from, (calls.owner, calls.caller), None, "", call));
                }
                continue;
            };
            count += calls.calls.len() as u32;
            bytes += message.body.len();
            for call in &calls.calls {
                self.call(from, &host, (calls.owner, calls.caller), call);
            }
        }
        if let Some(host) = last {
            host.called_by(from.id(), count, bytes);
        }
    }

    fn call(&self, from: &Peer, host: &Arc<ActorHost>, caller: (u32, CallerMark), call: &WireCall<'_>) {
        let method = host.entry.find_method(call.method);
        let job = RemoteJob::call(&self.process, from, caller, method, host.entry.name(), call);
        if job.is_complete() {
            let _ = host.push(Job::Remote(job));
            return;
        }
        // The call keeps its place; the actor does not begin it before its arguments are here.
        let _ = host.push(Job::Remote(Arc::clone(&job)));
        let (process, host) = (Arc::clone(&self.process), Arc::clone(host));
        self.process.spawn(async move {
            job.fetched(job.fetch(&process, None).await);
            host.poke();
        });
    }

    fn worker(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(told) = decode::<ToWorker>(from, message.body) else { continue };
            match told {
                ToWorker::TakeBack { lease } => {
                    for slot in self.process.slots() {
                        slot.give_back_lease(lease);
                    }
                }
                ToWorker::Cancel { owner, seq, force } => {
                    self.cancel_task(TaskId { owner: OwnerId { process: from.id(), number: owner }, seq }, force);
                }
                ToWorker::CancelCall { owner, seq, actor } => {
                    let id = TaskId { owner: OwnerId { process: from.id(), number: owner }, seq };
                    if let Some(actor) = self.process.actor(actor)
                        && !actor.cancel(id)
                    {
                        self.process.tombstones.leave(id);
                    }
                }
                ToWorker::ForceEnds { owner, seq } => {
                    if let Some(reply) = message.reply {
                        let id = TaskId { owner: OwnerId { process: from.id(), number: owner }, seq };
                        // Whoever asked may be gone.
                        let _ = reply.answer(&self.process.force_ends(id));
                    }
                    continue;
                }
                ToWorker::CancelChildren { owner, seq } => {
                    let owner = OwnerId { process: from.id(), number: owner };
                    let reply = message.reply;
                    // Now: what it submits when it is dropped, which comes next, goes on.
                    let cancelling = self.process.cancel_children(TaskId { owner, seq });
                    self.process.spawn(async move {
                        for told in cancelling {
                            // A worker that cannot be asked is gone, and what it ran with it.
                            let _ = told.await;
                        }
                        if let Some(reply) = reply {
                            // Whoever asked may not wait.
                            let _ = reply.answer(&());
                        }
                    });
                    continue;
                }
                ToWorker::CallerLeft { actor, incarnation } => {
                    if let Some(actor) = self.process.actor(actor).filter(|host| host.run().incarnation == incarnation)
                    {
                        actor.caller_left(from.id());
                    }
                }
                ToWorker::EndActor { run, kill } => match self.process.actor(crate::actor::host::number(run.actor)) {
                    Some(actor) if actor.run() == run => actor.ask_end(kill),
                    // It has ended, or comes behind its kill, by the ordered lane.
                    _ if !self.process.cancel_start(run) && kill => self.process.killed_runs.leave(run),
                    _ => {}
                },
                ToWorker::StartActor { run, spec, lease } => {
                    let worker = self.process.slots().first().map(|slot| slot.host.worker);
                    if let Some(worker) = worker {
                        crate::actor::begin::begin(&self.process, run, spec, lease, worker);
                    }
                }
                ToWorker::IsNeeded => {
                    if let Some(reply) = message.reply {
                        // The raylet asks again.
                        let _ = reply.answer(&self.process.is_needed());
                    }
                    continue;
                }
            }
            if let Some(reply) = message.reply {
                // Whoever asked may not wait.
                let _ = reply.answer(&());
            }
        }
    }

    fn cancel_task(&self, id: TaskId, force: bool) {
        let slots = self.process.slots();
        if slots.iter().any(|slot| slot.cancel(id)) || self.process.store.cancel_fetches(id) {
            return;
        }
        let told = self.process.cancel_async(id);
        if !told && !slots.iter().any(|slot| slot.runs(id)) {
            self.process.tombstones.leave(id);
        } else if force && slots.iter().any(|slot| slot.runs_sync(id)) {
            self.process.end_by_force(id);
        } else if force {
            // It is told, and may end by itself.
            let process = Arc::clone(&self.process);
            self.process.spawn(async move {
                tokio::time::sleep(FORCE_AFTER).await;
                process.end_by_force(id);
            });
        }
    }

    /// The node's store takes an object that a worker made.
    fn objects(&self, from: &Peer, messages: &mut Messages<'_>) {
        for message in messages {
            let Some(keep) = decode::<Keep>(from, message.body) else { continue };
            let Some(reply) = message.reply else {
                self.process.store.remove(&keep.object);
                continue;
            };
            let (process, peer) = (Arc::clone(&self.process), from.clone());
            self.process.spawn(async move {
                let kept = process.keep_offered(&peer, &keep).await;
                // The worker may have gone meanwhile.
                let _ = reply.answer(&kept);
            });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use actinic_transport::{Authority, Config, Limits, Net, NodeId};

    use super::*;
    use crate::env::Env;
    use crate::process::Settings;
    use crate::protocol::REVISION;

    /// An endpoint of a simulation, on a machine of its own.
    pub(crate) fn endpoint(env: &Env, authority: &Authority) -> Endpoint {
        let identity = authority.node(NodeId(env.uuid())).unwrap().issue(env.uuid()).unwrap();
        let net = Net::Sim(env.world().unwrap().net().clone());
        let listen = "0.0.0.0:0".parse().unwrap();
        let (limits, seed) = (Limits::default(), env.seed());
        Endpoint::bind(Config { id: identity.id(), identity, net, listen, limits, revision: REVISION, seed }).unwrap()
    }

    /// A process of a simulation that hears, and belongs to no node.
    pub(crate) fn process(env: &Env, authority: &Authority) -> Arc<Process> {
        let endpoint = endpoint(env, authority);
        let settings = Settings { id: endpoint.id(), width: 1, async_width: 1, store_bytes: 1 << 20 };
        let process = Process::new(&settings, env.clone());
        process.set_endpoint(endpoint.clone(), vec![endpoint.local_addr()]);
        listen(&process, &endpoint, &Components::default());
        process
    }
}
