//! A tuple inside a `Result` that is named by an alias has another length than `num_returns`.

type Pair = (i64, i64);

#[actinic::remote(num_returns = 3)]
fn two() -> Result<Pair, String> {
    Ok((1, 2))
}

fn main() {}
