//! Who got an array changes a copy of it, never what others see.

async fn wrong(object: actinic::ObjectRef<actinic::Array<i64>>) -> actinic::Result<()> {
    let mut view = object.await?;
    view[0] = 1;
    view.iter_mut().for_each(|value| *value = 1);
    Ok(())
}

async fn bytes(object: actinic::ObjectRef<actinic::Buffer>) -> actinic::Result<()> {
    let mut view = object.await?;
    view[0] = 1;
    view.fill(0);
    Ok(())
}

fn main() {}
