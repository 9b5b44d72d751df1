//! Another program than the one that the tests of daemons run: on the same cluster, with an actor class of the same
//! name, some of whose methods are the same.

use actinic::prelude::*;

#[actinic::remote]
fn cube(x: u64) -> u64 {
    x * x * x
}

/// Has the name of an actor of the other program.
#[derive(Debug, Default)]
pub struct Place;

#[actinic::remote]
impl Place {
    /// Without a state.
    pub fn new() -> Self {
        Place
    }

    /// As in the other program.
    pub fn call(&mut self, bytes: Vec<u8>) -> (u32, String, usize) {
        (0, String::new(), bytes.len())
    }

    /// Of another shape there.
    pub fn count(&mut self, from: String, twice: bool) -> u32 {
        from.len() as u32 + u32::from(twice)
    }

    /// Nothing like it is there.
    pub fn only_here(&self) -> u32 {
        1
    }
}

/// Of this program only.
#[derive(Debug, Default)]
pub struct Elsewhere;

#[actinic::remote]
impl Elsewhere {
    /// Without a state.
    pub fn new() -> Self {
        Elsewhere
    }
}

fn said<T: std::fmt::Debug>(what: &str, came: actinic::Result<T>) {
    match came {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => println!("{what}: {} {error}", format!("{error:?}").split(':').next().unwrap_or_default()),
    }
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    const SOON: Duration = Duration::from_secs(20);
    let cluster = actinic::init().namespace("shared").await?;
    let place: Handle<Place> = actinic::get_actor("place").await?;
    said("cube", actinic::get(&cube::remote(3)).timeout(SOON).await);
    said("call", actinic::get(&place.call(vec![1, 2, 3])).timeout(SOON).await.map(|(calls, _, bytes)| (calls, bytes)));
    said("count", actinic::get(&place.count("a".to_owned(), true)).timeout(SOON).await);
    said("only_here", actinic::get(&place.only_here()).timeout(SOON).await);
    said("class", actinic::get_actor::<Elsewhere>("place").await.map(drop));
    said("call", actinic::get(&place.call(vec![])).timeout(SOON).await.map(|(calls, _, bytes)| (calls, bytes)));
    cluster.shutdown().await
}
