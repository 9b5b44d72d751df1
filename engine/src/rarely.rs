//! What few things of a kind need: a box that is made when something is put into it.

/// A default value that takes one word until it is written to. A node may have a million actors, of which each could have
/// much that hardly any has.
#[derive(Debug)]
pub(crate) struct Rarely<T>(Option<Box<T>>);

impl<T> Rarely<T> {
    pub(crate) const fn new() -> Rarely<T> {
        Rarely(None)
    }

    /// What was made, if anything was.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Lets go of what was made.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T: Default> Rarely<T> {
    /// The value, to be written to.
    pub(crate) fn make(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    /// The value; the default stays.
    pub(crate) fn take(&mut self) -> T {
        self.0.take().map(|made| *made).unwrap_or_default()
    }
}

impl<T> Default for Rarely<T> {
    fn default() -> Rarely<T> {
        Rarely::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Rarely;

    #[test]
    fn it_is_made_when_it_is_written_to() {
        let mut some: Rarely<Vec<u8>> = Rarely::new();
        assert_eq!(size_of_val(&some), size_of::<usize>());
        assert!(some.get().is_none() && some.get_mut().is_none() && some.take().is_empty());
        some.make().push(7);
        assert_eq!(some.get(), Some(&vec![7]));
        assert_eq!(some.take(), [7]);
        some.make().push(8);
        some.clear();
        assert!(some.get().is_none());
    }
}
