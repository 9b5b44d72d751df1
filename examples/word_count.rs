//! Counts words by map and reduce: each map splits its counts by word, one part for each reduce (W-03).
//!
//! `word_count [MAPS [REDUCES]] [FILE..]`: so many maps a text, and so many reduces; three of each, and a text that
//! comes with the example, unless something else is said. What is no number is a file, and so is all that follows it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZero;

use actinic::prelude::*;

type Counts = BTreeMap<String, u64>;

fn count(text: &str) -> Counts {
    let mut counts = Counts::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

#[actinic::remote(num_returns = _)]
fn map(text: String, parts: usize) -> Vec<Counts> {
    let mut split = vec![Counts::new(); parts];
    for (word, number) in count(&text) {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        split[(hasher.finish() % parts as u64) as usize].insert(word, number);
    }
    split
}

#[actinic::remote]
async fn reduce(parts: Vec<ObjectRef<Counts>>) -> actinic::Result<Counts> {
    let mut counts = Counts::new();
    for part in parts {
        for (word, number) in part.await? {
            *counts.entry(word).or_default() += number;
        }
    }
    Ok(counts)
}

/// Pieces of about the same size, cut between words.
fn cut(text: &str, pieces: usize) -> Vec<String> {
    let mut cut = vec![String::new()];
    for word in text.split_inclusive(char::is_whitespace) {
        if cut.last().is_some_and(|piece| piece.len() >= text.len().div_ceil(pieces)) {
            cut.push(String::new());
        }
        cut.last_mut().expect("there is one").push_str(word);
    }
    cut
}

/// How many maps and reduces the command line says, and the texts in the files that it names.
fn arguments() -> actinic::Result<(usize, usize, Vec<String>)> {
    let is_number = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = std::env::args().skip(1).take_while(is_number).count().min(2);
    let number = |position| match position <= numbers {
        true => actinic_examples::argument(position, NonZero::<usize>::MIN).map(NonZero::get),
        false => Ok(3),
    };
    let read = |file: String| match std::fs::read(&file) {
        // What is no text is no reason to leave out the words around it.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(Error::other(format!("{file}: {error}"))),
    };
    let mut texts = std::env::args().skip(1 + numbers).map(read).collect::<actinic::Result<Vec<String>>>()?;
    if texts.is_empty() {
        texts.push(include_str!("data/zen.txt").to_owned());
    }
    Ok((number(1)?, number(2)?, texts))
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let (maps, reduces, texts) = arguments()?;
    let cluster = actinic_examples::init(4).await?;

    let pieces = texts.iter().flat_map(|text| cut(text, maps));
    let mapped: Vec<Vec<ObjectRef<Counts>>> =
        pieces.map(|piece| map::options().num_returns(reduces).remote(piece, reduces)).collect();
    let reduced: Vec<ObjectRef<Counts>> =
        (0..reduces).map(|r| reduce::remote(mapped.iter().map(|parts| parts[r].clone()).collect::<Vec<_>>())).collect();
    println!("{} maps, {reduces} reduces", mapped.len());
    drop(mapped); // each part goes when its reduce is done with it
    let counts: Counts = actinic::get(&reduced).await?.into_iter().flatten().collect();
    actinic_examples::free_again(&cluster, Duration::from_secs(60), reduces).await?; // their results are kept, no part
    drop(reduced);

    assert_eq!(counts, count(&texts.join("\n")));
    let mut top: Vec<(&String, &u64)> = counts.iter().collect();
    top.sort_by_key(|&(word, number)| (std::cmp::Reverse(number), word));
    println!("{} words, {} different", counts.values().sum::<u64>(), counts.len());
    for (word, number) in top.iter().take(6) {
        println!("{word}: {number}");
    }
    actinic_examples::finish(cluster).await
}
