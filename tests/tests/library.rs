//! Remote functions and actors of a library work as those of the program do.

use actinic::prelude::*;
use actinic_tests_apart::{Countdown, half};
use actinic_tests_library::{Tally, four_times, twice};

/// A function of the program with the name of one in the library is another.
mod same {
    #[actinic::remote]
    pub fn twice(value: i64) -> i64 {
        -2 * value
    }
}

/// Makes an actor of the library, inside a task of the program.
#[actinic::remote]
async fn tallies(values: Vec<i64>) -> actinic::Result<i64> {
    let tally = Tally::remote();
    let mut sum = 0;
    for value in values {
        sum = tally.add(twice::remote(value)).await?;
    }
    Ok(sum)
}

modes! {
    /// They run on every worker, call each other, and are made inside tasks.
    2 CPUs, async fn a_librarys_functions_and_actors_run_everywhere(cluster) {
        assert_eq!(twice::remote(4).await?, 8);
        assert_eq!(same::twice::remote(4).await?, -8);
        assert_eq!(four_times::remote(twice::remote(1)).await?, 8);
        let tally: Handle<Tally> = Tally::options().name("tally").remote();
        tally.add(1).await?;
        assert_eq!(actinic::get_actor::<Tally>("tally").await?.add(2).await?, 3);
        assert_eq!(tallies::remote(vec![1, 2, 3]).await?, 12);
    }
}

modes! {
    /// A crate that nothing refers to is not in the program (`start.rs` does not, and looks); to register what it offers is
    /// to refer to it, so that it is in every worker's program too, whenever that is done.
    2 CPUs, async fn a_crate_that_only_its_registration_refers_to_is_there(_cluster) {
        actinic::register::<half>();
        actinic::register::<Countdown>();
        let listed = actinic::inventory();
        for name in ["fn actinic_tests_apart::half ", "actor actinic_tests_apart::Countdown "] {
            assert_eq!(listed.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {listed:?}");
        }
        assert_eq!(half::remote(8).await?, 4);
        let countdown = Countdown::remote(3);
        assert_eq!((countdown.step().await?, countdown.step().await?), (2, 1));
    }
}
