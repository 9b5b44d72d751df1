//! A value by a type that says nothing of what is in it.
//!
//! Whether something may be sent to another thread, the compiler finds out type by type, down to the last, in every program
//! that does it with something that leads to a session. It gives up after some hundred, and those of a connection are many.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// A shared `T`, which is as good as that, and at which the compiler looks no further.
#[derive(Debug)]
pub(crate) struct Opaque<T>(Arc<dyn Any + Send + Sync>, PhantomData<fn() -> T>);

impl<T: Send + Sync + 'static> Opaque<T> {
    pub(crate) fn new(value: T) -> Opaque<T> {
        Opaque(Arc::new(value), PhantomData)
    }
}

/// The same of a `Weak<T>`.
#[derive(Debug)]
pub(crate) struct OpaqueWeak<T>(Weak<dyn Any + Send + Sync>, PhantomData<fn() -> T>);

impl<T: Send + Sync + 'static> OpaqueWeak<T> {
    pub(crate) fn of(value: &Arc<T>) -> OpaqueWeak<T> {
        let value: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(value);
        OpaqueWeak(Arc::downgrade(&value), PhantomData)
    }

    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        self.0.upgrade()?.downcast().ok()
    }
}

impl<T> Clone for Opaque<T> {
    fn clone(&self) -> Opaque<T> {
        Opaque(Arc::clone(&self.0), PhantomData)
    }
}

impl<T: 'static> Deref for Opaque<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Some(value) = self.0.downcast_ref() else { unreachable!("it is made of a `T`, above") };
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Opaque, OpaqueWeak};

    #[test]
    fn it_is_as_good_as_what_is_in_it() {
        let text = Opaque::new("text".to_owned());
        assert_eq!((text.len(), &**text.clone()), (4, "text"));
        drop(text);
        let value = Arc::new(7);
        let weak = OpaqueWeak::of(&value);
        assert_eq!(weak.upgrade().as_deref(), Some(&7));
        drop(value);
        assert!(weak.upgrade().is_none());
    }
}
