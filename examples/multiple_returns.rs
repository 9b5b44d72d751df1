//! One task, several refs: a tuple split by its type, and a list split by what the call says.

use actinic::prelude::*;

#[actinic::remote(num_returns = 3)]
fn three() -> (i64, String, bool) {
    (1, "two".into(), true)
}

#[actinic::remote(num_returns = _)]
fn split(numbers: Array<i64>, parts: usize) -> Vec<Array<i64>> {
    numbers.chunks(numbers.len().div_ceil(parts)).map(Array::from).collect()
}

#[actinic::remote]
fn sum(numbers: Array<i64>) -> i64 {
    numbers.iter().sum()
}

#[actinic::main]
async fn main() -> actinic::Result<()> {
    let cluster = actinic_examples::init(4).await?;

    let (one, two, yes) = three::remote();
    let values = actinic::get((&one, &two, &yes)).await?;
    println!("{values:?}");
    assert_eq!(values, (1, "two".to_owned(), true));

    let numbers: Array<i64> = (1..=1_000).collect();
    let parts: Vec<ObjectRef<Array<i64>>> = split::options().num_returns(10).remote(&numbers, 10);
    let sums = actinic::get(&parts.iter().map(sum::remote).collect::<Vec<_>>()).await?;
    println!("{} parts: {sums:?}", parts.len());
    assert_eq!(sums.iter().sum::<i64>(), 500_500);

    // A wrong number of values fails every one of the refs.
    let wrong: Vec<ObjectRef<Array<i64>>> = split::options().num_returns(3).remote(&numbers, 10);
    for one in &wrong {
        assert!(one.await.is_err());
    }
    println!("10 values for 3 refs: all {} fail", wrong.len());
    drop((one, two, yes, parts, wrong));
    actinic_examples::finish(cluster).await
}
