//! Private methods that lend from the actor, or take what is lent, are helpers: a handle has nothing to lend from.

use std::borrow::Cow;

use actinic::prelude::*;

pub struct Label(String);

#[actinic::remote]
#[allow(mismatched_lifetime_syntaxes)]
impl Label {
    pub fn new(text: String) -> Self {
        Label(text)
    }

    pub fn len(&self) -> usize {
        self.length(self.text())
    }

    fn text(&self) -> Cow<str> {
        self.0.as_str().into()
    }

    fn length(&self, text: Cow<str>) -> usize {
        text.len()
    }
}

fn main() {}

pub fn calls(label: Handle<Label>) {
    label.len();
    label.text();
    label.length(Cow::Borrowed("a"));
}
