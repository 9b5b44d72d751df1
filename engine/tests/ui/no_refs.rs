//! What is no ref cannot be got, waited for, cancelled or killed.

async fn wrong(object: actinic::ObjectRef<i64>) -> actinic::Result<()> {
    actinic::get(5).await?;
    actinic::get(vec![1, 2]).await?;
    actinic::wait(&object).await?;
    actinic::wait([1, 2]).await?;
    actinic::cancel(&7).await?;
    actinic::kill(&object).await?;
    Ok(())
}

fn main() {}
