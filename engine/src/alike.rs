//! What things made one after the other mostly have in common is kept once.

use std::sync::Arc;

/// The value that came last, for those that come next: a node may have a million actors that differ in little.
#[derive(Clone, Debug)]
pub(crate) struct Alike<T>(Option<Arc<T>>);

impl<T: PartialEq> Alike<T> {
    /// The value as it is kept: the one that came last, if it is the same.
    pub(crate) fn share(&mut self, value: T) -> Arc<T> {
        match &self.0 {
            Some(last) if **last == value => Arc::clone(last),
            _ => Arc::clone(self.0.insert(Arc::new(value))),
        }
    }
}

impl<T> Default for Alike<T> {
    fn default() -> Alike<T> {
        Alike(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_as_the_last_is_shared() {
        let mut alike = Alike::default();
        let [a, b, c, d] = ["one", "one", "two", "one"].map(|text| alike.share(text));
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&b, &c) && !Arc::ptr_eq(&a, &d));
        assert_eq!([*a, *b, *c, *d], ["one", "one", "two", "one"]);
    }
}
