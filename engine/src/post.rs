//! What is told to a component of this process: an address, and the messages that wait for its next turn.
//!
//! A mailbox keeps each message in a box and a node of its own. A component is told a hundred thousand things in one burst,
//! say of as many actors, between which it makes what stays: the boxes' places would remain as holes. So they wait in
//! batches, and the mailbox gets one word for each. After a full one the other components of the thread have their turn:
//! what they would tell of it does not pile up behind this one.
//!
//! POST-1: what one thread tells a component, sends and asks it through its post, the component hears in that order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::dev::Request;
use actix::fut::wrap_future;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};

/// So many messages are one turn of a component.
const BATCH: usize = 4096;

/// A batch waits: the component takes it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Look;

/// The messages that wait for a component: those of each [`Look`] that is on its way.
pub(crate) struct Mail<M>(Arc<Mutex<Waiting<M>>>);

struct Waiting<M> {
    batches: VecDeque<Vec<M>>,
    /// The last batch takes no more: something else is in the mailbox behind its word.
    sealed: bool,
    /// The component has ended: nothing waits any more, and who asked hears that it was not answered.
    closed: bool,
}

impl<M> Mail<M> {
    pub(crate) fn new() -> Mail<M> {
        Mail(Arc::new(Mutex::new(Waiting { batches: VecDeque::new(), sealed: true, closed: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<M>> {
        // Plain data under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one [`Look`] is of, in order.
    pub(crate) fn take<A: Actor<Context = Context<A>>>(&self, ctx: &mut Context<A>) -> Vec<M> {
        let batch = {
            let mut waiting = self.lock();
            waiting.sealed |= waiting.batches.len() <= 1;
            waiting.batches.pop_front().unwrap_or_default()
        };
        if batch.len() >= BATCH {
            ctx.wait(wrap_future(tokio::task::yield_now()));
        }
        batch
    }

    /// The component has ended.
    pub(crate) fn close(&self) {
        let unheard = {
            let mut waiting = self.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.batches)
        };
        // Who waits for an answer is told by the end of what it was to come by.
        drop(unheard);
    }
}

impl<M> Clone for Mail<M> {
    fn clone(&self) -> Mail<M> {
        Mail(Arc::clone(&self.0))
    }
}

/// How a component of this process is told something.
pub(crate) struct Post<A: Actor, M> {
    addr: Addr<A>,
    mail: Mail<M>,
}

impl<A, M> Post<A, M>
where
    A: Actor<Context = Context<A>> + Handler<Look>,
{
    /// The component at that address takes its messages from that mail when it hears [`Look`].
    pub(crate) fn new(addr: Addr<A>, mail: Mail<M>) -> Post<A, M> {
        Post { addr, mail }
    }

    /// One more message for its next turn.
    pub(crate) fn tell(&self, message: M) {
        let mut mail = self.mail.lock();
        if mail.closed {
            drop(mail);
            return drop(message);
        }
        let full = mail.batches.back().is_some_and(|batch| batch.len() >= BATCH);
        if std::mem::replace(&mut mail.sealed, false) || full {
            mail.batches.push_back(vec![message]);
            // Under the lock, as all that goes to the mailbox: else what others tell from here on would wait for this
            // thread, and what they send would pass it.
            self.addr.do_send(Look);
        } else if let Some(batch) = mail.batches.back_mut() {
            batch.push(message);
        }
    }

    /// What the mailbox itself takes.
    pub(crate) fn do_send<T>(&self, message: T)
    where
        T: Message<Result: Send> + Send + 'static,
        A: Handler<T>,
    {
        let mut mail = self.mail.lock();
        mail.sealed = true;
        self.addr.do_send(message);
    }

    /// What the mailbox itself takes, and answers.
    pub(crate) fn send<T>(&self, message: T) -> Request<A, T>
    where
        T: Message<Result: Send> + Send + 'static,
        A: Handler<T>,
    {
        let mut mail = self.mail.lock();
        mail.sealed = true;
        self.addr.send(message)
    }

    /// The mailbox, for whom the order does not matter.
    pub(crate) fn addr(&self) -> &Addr<A> {
        &self.addr
    }
}

impl<A: Actor, M> Clone for Post<A, M> {
    fn clone(&self) -> Post<A, M> {
        Post { addr: self.addr.clone(), mail: self.mail.clone() }
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, Message};

    use super::{BATCH, Look, Mail, Post};
    use crate::env::sim;

    struct Hears(Mail<u32>, Vec<u32>);

    impl Actor for Hears {
        type Context = Context<Self>;
    }

    impl Handler<Look> for Hears {
        type Result = ();

        fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
            self.1.extend(self.0.take(ctx));
        }
    }

    #[test]
    fn what_an_ended_component_did_not_hear_is_dropped() {
        sim::run(1, |_| async {
            let mail = Mail::new();
            let post = Post::new(Hears(Mail::new(), Vec::new()).start(), mail.clone());
            let (tell, hear) = tokio::sync::oneshot::channel::<()>();
            post.tell(Some(tell));
            mail.close();
            assert!(hear.await.is_err());
            let (tell, hear) = tokio::sync::oneshot::channel::<()>();
            post.tell(Some(tell));
            assert!(hear.await.is_err() && mail.lock().batches.is_empty());
        });
    }

    #[derive(Message)]
    #[rtype(result = "Vec<u32>")]
    struct Heard;

    impl Handler<Heard> for Hears {
        type Result = Vec<u32>;

        fn handle(&mut self, _: Heard, _: &mut Context<Self>) -> Vec<u32> {
            self.1.clone()
        }
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Forget;

    impl Handler<Forget> for Hears {
        type Result = u32;

        fn handle(&mut self, _: Forget, _: &mut Context<Self>) -> u32 {
            self.1.pop().unwrap()
        }
    }

    #[test]
    fn batches_are_heard_in_order_and_others_have_their_turn_between_them() {
        sim::run(1, |_| async {
            let mail = Mail::new();
            let post = Post::new(Hears(mail.clone(), Vec::new()).start(), mail);
            let told: Vec<u32> = (0..3 * BATCH as u32 + 7).collect();
            told.iter().for_each(|one| post.tell(*one));
            let (mut turns, mut last) = (0, std::pin::pin!(post.send(Heard)));
            let heard = loop {
                tokio::select! {
                    biased;
                    heard = &mut last => break heard.unwrap(),
                    () = tokio::task::yield_now() => turns += 1,
                }
            };
            assert!(heard == told && turns >= 3, "{turns} turns between");
            // Questions before, at and behind the end of a batch.
            let mut all = told;
            for length in [BATCH - 1, BATCH, BATCH + 1] {
                let more: Vec<u32> = (0..length as u32).collect();
                more.iter().for_each(|one| post.tell(*one));
                let answer = post.send(Heard);
                post.tell(u32::MAX);
                all.extend(more);
                assert!(answer.await.unwrap() == all, "{length} before the question");
                all.push(u32::MAX);
            }
        });
    }

    #[test]
    fn all_is_heard_in_order() {
        sim::run(1, |_| async {
            let mail = Mail::new();
            let post = Post::new(Hears(mail.clone(), Vec::new()).start(), mail);
            let told: Vec<u32> = (0..1000).collect();
            for at in 0..told.len() {
                post.tell(told[at]);
                if at % 100 == 7 {
                    // What is told behind the question is not heard before it.
                    let answer = post.send(Heard);
                    post.tell(u32::MAX);
                    assert_eq!(answer.await.unwrap(), told[..=at]);
                    assert_eq!(post.send(Forget).await.unwrap(), u32::MAX);
                }
            }
            assert_eq!(post.send(Heard).await.unwrap(), told);
        });
    }
}
